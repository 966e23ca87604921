"""Gate: can every node be drained, and can its pods run elsewhere meanwhile?

Each drain is played through on paper, with the same rules the drain itself uses. It *blocks* for what no waiting cures: a
budget that never allows a disruption (as many pods required as there are, or the disruption controller cannot count it), two budgets over one pod (the eviction API
refuses), a pod without a controller that nobody gave up (`nightshift.io/evict: "true"`), local data that the policy
protects, and a budget whose pods cannot come up on any other node, so that after the first ones the drain waits for ever.

It *warns* of pods that only their own node can run (node selector, affinity, a volume that lies there): the night goes on,
they are down while that node is upgraded; and of budgets that allow no disruption at this moment. It is *blind* when a pod
that would move uses a claim whose volume was not found: from which nodes it can be reached is not known. A budget that selects no
pod hinders nobody and is only written down. Before a slot or wave only the nodes behind it are asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain import drain
from nightshift.domain.drain import DrainPlan, PodNote, plan_drain, selector_matches
from nightshift.domain.facts import BudgetFacts, PodFacts
from nightshift.domain.facts.placement import VOLUMES
from nightshift.domain.gates.drained import BudgetsBySpace, by_namespace, drained_nodes, near_pods
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.placement import Cluster, comes_back, stuck_budgets
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.topics import BUDGETS, NODES, PODS, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "drainability"
TITLE = "Drains"
NEEDS: tuple[AnyTopic, ...] = (NODES, PODS, BUDGETS, VOLUMES)
WANTS: tuple[AnyTopic, ...] = (TARGET,)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_NAMED = 5  # pods or nodes in one message; the evidence has all of them


@dataclass(frozen=True)
class _Kind:
    """What is said about one kind of obstacle."""

    outcome: Outcome
    code: str
    cause: str
    resolution: str


_KINDS: Mapping[str, _Kind] = {
    drain.DEADLOCK: _Kind(
        Outcome.BLOCK,
        "PDB_DEADLOCK",
        "The budget asks for as many healthy pods as the workload has, so none may ever be evicted.",
        "Its owner adds a replica or lowers the budget (kubectl -n {namespace} edit pdb {name}): one pod must be free to go.",
    ),
    drain.SYNC_FAILED: _Kind(
        Outcome.BLOCK,
        "PDB_DEADLOCK",
        "The disruption controller fails on this budget and keeps it at 0; mostly its pods' controller has no scale.",
        "Its owner gives it an integer minAvailable instead of a percentage or maxUnavailable, or deletes it "
        "(kubectl -n {namespace} describe pdb {name} shows the failure).",
    ),
    drain.OVERLAP: _Kind(
        Outcome.BLOCK,
        "PDB_OVERLAP",
        "The eviction API refuses pods that more than one PodDisruptionBudget selects.",
        "Their owner deletes all but one of these budgets, or narrows their selectors.",
    ),
    drain.UNREPLICATED: _Kind(
        Outcome.BLOCK,
        "POD_UNREPLICATED",
        "Nothing starts a pod without a controller again after an eviction.",
        f"Its owner gives it up (kubectl annotate pod NAME {drain.EVICT_ANNOTATION}=true), makes it a Deployment, or the "
        "policy says drain.evict_unreplicated.",
    ),
    drain.LOCAL_DATA: _Kind(
        Outcome.BLOCK,
        "POD_LOCAL_DATA",
        "An eviction deletes what lies in a pod's emptyDir, and drain.delete_emptydir_data forbids that.",
        "Keep the data in a volume that outlives the pod, or allow drain.delete_emptydir_data.",
    ),
    drain.TIGHT: _Kind(
        Outcome.WARN,
        "PDB_TIGHT",
        "Some of the budget's pods are not healthy at this moment.",
        "Make them healthy (kubectl -n {namespace} get pods); a drain waits for it up to drain.timeout_seconds.",
    ),
}


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Play every drain through that lies ahead."""
    all_nodes, pods, budgets = round_.get(NODES), round_.get(PODS), round_.get(BUDGETS)
    cluster = Cluster(all_nodes, pods, round_.get(VOLUMES))
    nodes, near = drained_nodes(round_), by_namespace(budgets)
    plans = {
        node: plan_drain(cluster.on(node), near_pods(cluster.on(node), near), policy.drain) for node in nodes
    }
    findings = [*_obstacles(plans), *_pinned(cluster, plans, near), *_unknown_volumes(cluster, plans)]
    evicted = sum(len(plan.evict) for plan in plans.values())
    return conclude(
        NAME,
        findings,
        passed=f"All {len(nodes)} nodes can be drained: {evicted} pods would be evicted, none of them is in the way.",
        value=f"{evicted} pods",
        evidence={
            "evicted": {node: len(plan.evict) for node, plan in plans.items()},
            "unused_budgets": _unused(budgets, pods),
        },
    )


def _obstacles(plans: Mapping[str, DrainPlan]) -> Iterator[Finding]:
    """One finding for each budget, and for each kind of refusal, however many pods and nodes it concerns."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[str, PodNote]]] = {}
    for node, plan in plans.items():
        for note in (*plan.blockers, *plan.tight):
            found.setdefault((note.kind, note.budgets), []).append((node, note))
    for (kind, budgets), notes in found.items():
        said = _KINDS[kind]
        namespace, _, name = (budgets[0] if budgets else "/").partition("/")
        yield Finding(
            said.outcome,
            said.code,
            _obstacle_message(kind, budgets, notes),
            said.cause,
            said.resolution.replace("{namespace}", namespace).replace("{name}", name),
            value=f"{len(notes)} pods",
            threshold="0",
        )


def _obstacle_message(kind: str, budgets: tuple[str, ...], notes: Sequence[tuple[str, PodNote]]) -> str:
    nodes = _listed(dict.fromkeys(node for node, _ in notes))
    pods = _listed(f"{note.pod.namespace}/{note.pod.name}" for _, note in notes)
    owners = _listed(dict.fromkeys(note.pod.workload for _, note in notes))
    if kind in (drain.UNREPLICATED, drain.LOCAL_DATA):
        return f"{nodes} cannot be drained: {pods} {notes[0][1].reason}."
    reason = notes[0][1].reason
    if kind == drain.OVERLAP:
        return f"{nodes} cannot be drained: {pods} of {owners}: {reason}."
    verb = "would wait" if kind == drain.TIGHT else "cannot be drained"
    return f"{nodes} {verb}: {reason}; it protects {owners} (here {pods})."


def _pinned(cluster: Cluster, plans: Mapping[str, DrainPlan], near: BudgetsBySpace) -> Iterator[Finding]:
    """Pods that may run on no other node while theirs is drained."""
    for node, plan in plans.items():
        away = (node,)
        pinned = [pod for pod in plan.evict if comes_back(pod) and cluster.is_tied(pod, away)]
        if not pinned:
            continue
        for stuck in stuck_budgets(pinned, [plan], near_pods(pinned, near)):
            name = f"{stuck.budget.namespace}/{stuck.budget.name}"
            yield Finding(
                Outcome.BLOCK,
                "PDB_PINNED",
                f"{node} cannot be drained: {len(stuck.pods)} pods of budget {name} may run on no other node "
                f"({_names(stuck.pods)}), and it allows {stuck.budget.disruptions_allowed} to be away.",
                "Evicted pods that cannot come up elsewhere keep the budget used up until the node is back.",
                f"Their owner lets them run on another node, or lets budget {name} allow {len(stuck.pods)}.",
                value=f"{len(stuck.pods)} pods",
                threshold=f"{stuck.budget.disruptions_allowed}",
            )
        yield _pinned_finding(cluster, node, pinned)


def _pinned_finding(cluster: Cluster, node: str, pinned: Sequence[PodFacts]) -> Finding:
    reasons = _listed(dict.fromkeys(cluster.why_nowhere(pod, (node,)) for pod in pinned))
    owners = _listed(dict.fromkeys(pod.workload for pod in pinned))
    return Finding(
        Outcome.WARN,
        "POD_PINNED",
        f"{owners} will be down while {node} is upgraded: {_names(pinned)} may run on no other node ({reasons}).",
        "Their own rules, or their volumes, tie these pods to that node.",
        "Nothing has to be done when that is meant; else let them run on a second node.",
        value=f"{len(pinned)} pods",
        threshold="0",
    )


def _unknown_volumes(cluster: Cluster, plans: Mapping[str, DrainPlan]) -> Iterator[Finding]:
    """Pods of which nobody can tell where they could run."""
    for node, plan in plans.items():
        pods = [pod for pod in plan.evict if comes_back(pod) and cluster.unknown_claims(pod)]
        if not pods:
            continue
        claims = _listed(dict.fromkeys(claim for pod in pods for claim in cluster.unknown_claims(pod)))
        yield Finding(
            Outcome.BLIND,
            "VOLUME_UNKNOWN",
            f"Whether {_names(pods)} can run elsewhere while {node} is drained is not known: no bound PersistentVolume was "
            f"found for {claims}.",
            "The volume was deleted or is not bound any more, though a pod uses it; or it was bound a moment ago.",
            "Look at it: kubectl get pvc -A and kubectl get pv; then ask again.",
            value=f"{len(pods)} pods",
            threshold="0",
        )


def _unused(budgets: Iterable[BudgetFacts], pods: Sequence[PodFacts]) -> list[str]:
    """Budgets that select no pod at all: they protect nothing, and hinder nothing."""
    labels: dict[str, list[Mapping[str, str]]] = {}
    for pod in pods:
        labels.setdefault(pod.namespace, []).append(pod.labels)
    return sorted(
        f"{budget.namespace}/{budget.name}"
        for budget in budgets
        if not any(selector_matches(budget.selector, found) for found in labels.get(budget.namespace, ()))
    )


def _names(pods: Iterable[PodFacts]) -> str:
    return _listed(f"{pod.namespace}/{pod.name}" for pod in pods)


def _listed(words: Iterable[str]) -> str:
    """A list for people, cut where nobody reads on."""
    named = list(words)
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more
