"""Gate: can the other nodes carry the pods of the nodes that are drained?

For every node, and for workers in groups of `workers.max_unavailable`, the pods a drain would evict are placed on the rest as
the scheduler would: requests of all resources (CPU, memory, ephemeral-storage, extended ones such as GPUs), the number of
pods, cordons, taints and the pods' own rules respected. Pods that find no room would be Pending until their node is back. By policy (`drain.without_room`) that *blocks* (shipped: a
cluster that cannot lose a node is not ready for a night) or *warns*; a budget that such pods use up *blocks* always, because
the drain would never end. A node that does not say how much it can carry makes the gate *blind*.

Pods that only their own node may run are the gate `drainability`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nightshift.domain.drain import plan_drain
from nightshift.domain.facts import BudgetFacts, NodeFacts, PodFacts
from nightshift.domain.facts.placement import VOLUMES
from nightshift.domain.gates.drained import by_namespace, drained_nodes, near_pods
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.placement import Cluster, amount_text, comes_back, stuck_budgets
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.topics import BUDGETS, NODES, PODS, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "capacity"
TITLE = "Capacity"
NEEDS: tuple[AnyTopic, ...] = (NODES, PODS, BUDGETS, VOLUMES)
WANTS: tuple[AnyTopic, ...] = (TARGET,)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_NAMED = 5


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Place the pods of each drain on the rest."""
    nodes, pods, budgets = round_.get(NODES), round_.get(PODS), round_.get(BUDGETS)
    unknown = [_unknown(node) for node in nodes if node.room is None]
    cluster = Cluster(nodes, pods, round_.get(VOLUMES))
    groups = list(_groups(cluster, round_, policy))
    findings = [*unknown, *_shortages(cluster, groups, budgets, policy)]
    return conclude(
        NAME,
        findings,
        passed=f"Whichever of the {len(drained_nodes(round_))} nodes is drained, the rest has room for its pods.",
        evidence={"drained_together": [list(group) for group in groups if len(group) > 1]},
    )


def _groups(cluster: Cluster, round_: Round, policy: ClusterPolicy) -> Iterator[tuple[str, ...]]:
    """Nodes that are away at the same time: each alone, and of workers as many as may be, those with the largest requests."""
    names = drained_nodes(round_)
    yield from ((name,) for name in names)
    at_once = policy.workers.max_unavailable
    workers = [name for name in names if not cluster.nodes[name].is_control_plane]
    if at_once < 2 or len(workers) < 2:
        return
    weights = {
        name: (
            sum(pod.need.memory_bytes for pod in cluster.on(name)),
            sum(pod.need.cpu_millis for pod in cluster.on(name)),
        )
        for name in workers
    }
    heaviest = {tuple(sorted(workers, key=lambda n: weights[n][by], reverse=True)[:at_once]) for by in (0, 1)}
    yield from sorted(heaviest)


def _shortages(
    cluster: Cluster, groups: Iterable[Sequence[str]], budgets: Sequence[BudgetFacts], policy: ClusterPolicy
) -> Iterator[Finding]:
    near = by_namespace(budgets)
    for group in groups:
        plans = [plan_drain(cluster.on(node), (), policy.drain) for node in group]
        moving = [pod for plan in plans for pod in plan.evict if comes_back(pod)]
        homeless = cluster.without_room(moving, group)
        if not homeless:
            continue
        for stuck in stuck_budgets(homeless, plans, near_pods(homeless, near)):
            name = f"{stuck.budget.namespace}/{stuck.budget.name}"
            yield Finding(
                Outcome.BLOCK,
                "PDB_NO_ROOM",
                f"{_joined(group)} cannot be drained: {len(stuck.pods)} pods of budget {name} find no room elsewhere "
                f"({_names(stuck.pods)}), and it allows {stuck.budget.disruptions_allowed} to be away.",
                "Evicted pods that stay Pending keep the budget used up until the node is back.",
                _resolution(homeless),
                value=f"{len(stuck.pods)} pods",
                threshold=f"{stuck.budget.disruptions_allowed}",
            )
        yield _shortage(cluster, group, homeless, policy)


def _shortage(
    cluster: Cluster, group: Sequence[str], homeless: Sequence[PodFacts], policy: ClusterPolicy
) -> Finding:
    cpu = sum(pod.need.cpu_millis for pod in homeless) / 1000
    memory = sum(pod.need.memory_bytes for pod in homeless) / 2**20
    others: dict[str, int] = {}
    for name, amount in (pair for pod in homeless for pair in pod.need.others):
        others[name] = others.get(name, 0) + amount
    amounts = [
        f"{cpu:g} CPU",
        f"{memory:.0f} MiB of memory",
        *(amount_text(*pair) for pair in others.items()),
    ]
    return Finding(
        Outcome.WARN if policy.drain.without_room == "warn" else Outcome.BLOCK,
        "CAPACITY_SHORT",
        f"While {_joined(group)} is drained, {len(homeless)} of its pods find no room on the other nodes: {_names(homeless)}. "
        f"They ask for {', '.join(amounts[:-1])} and {amounts[-1]}; {cluster.free_text(group, tuple(others))}.",
        "The requests on the other nodes leave too little; these pods would be Pending until the node is back.",
        _resolution(homeless),
        value=f"{len(homeless)} pods",
        threshold="0",
    )


def _resolution(homeless: Sequence[PodFacts]) -> str:
    owners = ", ".join(list(dict.fromkeys(pod.workload for pod in homeless))[:_NAMED])
    return (
        f"Add a node, lower requests or replicas (of {owners}, or of what fills the other nodes), "
        "or accept that they are down meanwhile: drain.without_room: warn."
    )


def _unknown(node: NodeFacts) -> Finding:
    return Finding(
        Outcome.BLIND,
        "CAPACITY_UNKNOWN",
        f"{node.name} does not say how much it can carry (status.allocatable).",
        "Its kubelet has not written it, or something that is no quantity stands there.",
        f"Look at it: kubectl get node {node.name} -o jsonpath='{{.status.allocatable}}'",
    )


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names)


def _names(pods: Sequence[PodFacts]) -> str:
    named = [f"{pod.namespace}/{pod.name}" for pod in pods]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more
