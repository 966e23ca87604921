"""Where drained pods could run meanwhile: the scheduler's filters, as far as they are about nodes and room.

Looked at: cordons, taints, nodeSelector, required node affinity, required anti-affinity, the nodes a volume can be reached
from, and requests of CPU, memory and pods. Not looked at: required affinity to other pods, topology spread, host ports,
devices. What is left out makes this more hopeful than the scheduler, never less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.drain import DrainPlan, budgets_that_count
from nightshift.domain.facts import BudgetFacts, NodeFacts, PodFacts
from nightshift.domain.facts.placement import (
    Apart,
    Need,
    Placement,
    Requirement,
    Taint,
    Term,
    Terms,
    Toleration,
    VolumeFacts,
)

_FINISHED = ("Succeeded", "Failed")
_STATE = "node.kubernetes.io/"  # taints that say how a node is now, not whom it is for


class Cluster:
    """Nodes, the pods on them and the volumes, ordered so that thousands of pods are quickly asked about."""

    def __init__(
        self, nodes: Sequence[NodeFacts], pods: Iterable[PodFacts], volumes: Mapping[str, VolumeFacts]
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._volumes = volumes
        self._on: dict[str, list[PodFacts]] = {node.name: [] for node in nodes}
        for pod in pods:
            if pod.node in self._on:
                self._on[pod.node].append(pod)
        self._free = {node.name: self._free_on(node) for node in nodes}
        self._emptiest = sorted(self._free, key=lambda name: self._free[name][1], reverse=True)
        self._homes: dict[Placement, frozenset[str]] = {}
        self._apart: dict[tuple[str, Apart], frozenset[str]] = {}

    def on(self, node: str) -> Sequence[PodFacts]:
        """The pods bound to a node."""
        return self._on.get(node, ())

    def homes(self, pod: PodFacts, away: Collection[str]) -> frozenset[str]:
        """Names of the nodes where this pod may run by all rules; the nodes `away` may be among them.

        Pods on nodes that are `away` are not in the way of its anti-affinity. Room is not asked, nor whether a node takes
        pods at this moment.
        """
        rules = pod.placement
        found = self._homes.get(rules)
        if found is None:
            found = frozenset(name for name, node in self.nodes.items() if not self._refusal(rules, node))
            self._homes[rules] = found
        for apart in rules.apart:
            found = found - self._occupied(pod.namespace, apart, away)
        return found

    def is_tied(self, pod: PodFacts, away: Collection[str]) -> bool:
        """Tell whether no other node may run this pod while the nodes `away` are drained."""
        return all(name in away for name in self.homes(pod, away))

    def why_nowhere(self, pod: PodFacts, away: Collection[str]) -> str:
        """Say, in a few words, what keeps a pod from every other node."""
        reasons = (self._refusal(pod.placement, n) for name, n in self.nodes.items() if name not in away)
        counted = dict.fromkeys(reason or "its anti-affinity" for reason in reasons)
        return ", ".join(counted) or "there is no other node"

    def without_room(self, pods: Iterable[PodFacts], away: Collection[str]) -> list[PodFacts]:
        """Return the pods that find no room on the nodes they may run on; largest first, each on the emptiest.

        Pods that may run nowhere by their own rules are not among them.
        """
        left: dict[str, tuple[int, int, int]] = {}
        homeless = []
        for pod in sorted(
            pods, key=lambda p: (-p.need.memory_bytes, -p.need.cpu_millis, p.namespace, p.name)
        ):
            homes = self.homes(pod, away)
            # The emptiest first: as long as there is room, one of the first nodes asked has it.
            for name in self._emptiest:
                cpu, memory, count = left.get(name) or self._free[name]
                if name not in away and name in homes and _fits(pod.need, (cpu, memory, count)):
                    left[name] = (cpu - pod.need.cpu_millis, memory - pod.need.memory_bytes, count - 1)
                    break
            else:
                if not all(name in away for name in homes):
                    homeless.append(pod)
        return homeless

    def free_text(self, away: Collection[str]) -> str:
        """What is left on each other node, for people; at most three of them."""
        there = [name for name in self._emptiest if name not in away]
        there.sort(key=lambda name: bool(self.nodes[name].taints))  # those that take anything first
        said = [self._room_text(self.nodes[name]) for name in there[:3]]
        return ", ".join(said) or "there is no other node"

    def _room_text(self, node: NodeFacts) -> str:
        if why := _takes_nothing(node):
            return f"{node.name} {why}"
        cpu, memory, _ = self._free[node.name]
        shunned = next((t.key for t in node.taints if t.effect != "PreferNoSchedule"), "")
        return f"{node.name} has {_cores(cpu)} CPU and {_mib(memory)} of memory left" + (
            f" for pods that tolerate {shunned}" if shunned else ""
        )

    def _free_on(self, node: NodeFacts) -> tuple[int, int, int]:
        if node.room is None or _takes_nothing(node):
            return 0, 0, 0
        there = [pod for pod in self._on[node.name] if pod.phase not in _FINISHED]
        return (
            node.room.cpu_millis - sum(pod.need.cpu_millis for pod in there),
            node.room.memory_bytes - sum(pod.need.memory_bytes for pod in there),
            node.room.pods - len(there),
        )

    def _refusal(self, rules: Placement, node: NodeFacts) -> str:
        """Why this node does not take such a pod; "" when it does."""
        if any(node.labels.get(key) != value for key, value in rules.selector):
            return f"nodeSelector {', '.join(f'{k}={v}' for k, v in rules.selector)}"
        if rules.terms and not _selects(rules.terms, node):
            return "required node affinity"
        for claim in rules.claims:
            volume = self._volumes.get(claim)
            if volume and volume.terms and not _selects(volume.terms, node):
                return f"volume {volume.name} of claim {claim}"
        taint = next((t for t in node.taints if _repels(t, rules.tolerations)), None)
        return f"taint {taint.key} of {node.name}" if taint else ""

    def _occupied(self, namespace: str, apart: Apart, away: Collection[str]) -> frozenset[str]:
        """Names of the nodes whose topology domain holds pods that the anti-affinity shuns; drained nodes hold none."""
        holders = self._apart.get((namespace, apart))
        if holders is None:
            spaces = apart.namespaces or (namespace,)
            holders = frozenset(
                name
                for name, pods in self._on.items()
                if any(p.namespace in spaces and _holds(apart.selector, p.labels) for p in pods)
            )
            self._apart[namespace, apart] = holders
        domains = {self.nodes[name].labels.get(apart.topology_key) for name in holders.difference(away)}
        domains.discard(None)
        return frozenset(
            n for n, node in self.nodes.items() if node.labels.get(apart.topology_key) in domains
        )


def comes_back(pod: PodFacts) -> bool:
    """Tell whether something starts this pod again elsewhere, so that it needs a place."""
    return pod.controller is not None and not pod.is_terminating and pod.phase not in _FINISHED


@dataclass(frozen=True)
class Stuck:
    """A budget that a drain would wait for in vain.

    Args:
        budget: the budget.
        pods: its pods on the drained nodes that cannot run elsewhere meanwhile; more than it allows to be away.
    """

    budget: BudgetFacts
    pods: tuple[PodFacts, ...]


def stuck_budgets(
    waiting: Sequence[PodFacts], plans: Sequence[DrainPlan], budgets: Sequence[BudgetFacts]
) -> list[Stuck]:
    """Budgets whose pods wait (cannot come up elsewhere) in greater number than the budget allows.

    The first such pods go, their replacements stay Pending, the budget allows no more, and the drain waits for nothing.
    """
    evicted = {pod.uid for plan in plans for pod in plan.evict}
    by_budget: dict[str, tuple[BudgetFacts, list[PodFacts]]] = {}
    for pod in waiting:
        matching = budgets_that_count(pod, budgets) if pod.uid in evicted else []
        for budget in matching[:1]:
            key = f"{budget.namespace}/{budget.name}"
            by_budget.setdefault(key, (budget, []))[1].append(pod)
    return [
        Stuck(budget, tuple(pods))
        for budget, pods in by_budget.values()
        if 0 < budget.disruptions_allowed < len(pods)  # one that allows none now is told as such
    ]


def _takes_nothing(node: NodeFacts) -> str:
    """Why no new pod is put on this node at this moment; "" when it takes some."""
    if node.is_unschedulable:
        return "is cordoned"
    if node.is_ready is not True:
        return "is not Ready"
    state = next(
        (t for t in node.taints if t.key.startswith(_STATE) and t.effect != "PreferNoSchedule"), None
    )
    return f"has the taint {state.key}" if state else ""


def _fits(need: Need, free: tuple[int, int, int]) -> bool:
    cpu, memory, count = free
    return (
        count > 0
        and (need.cpu_millis == 0 or need.cpu_millis <= cpu)
        and (need.memory_bytes == 0 or need.memory_bytes <= memory)
    )


def _repels(taint: Taint, tolerations: Sequence[Toleration]) -> bool:
    is_for_some = taint.effect in ("NoSchedule", "NoExecute") and not taint.key.startswith(_STATE)
    return is_for_some and not _tolerates(tolerations, taint)


def _tolerates(tolerations: Sequence[Toleration], taint: Taint) -> bool:
    return any(
        t.effect in ("", taint.effect)
        and t.key in ("", taint.key)
        and (t.operator == "Exists" or (t.key != "" and t.value == taint.value))
        for t in tolerations
    )


def _selects(terms: Terms, node: NodeFacts) -> bool:
    return any(all(_meets(r, node.labels, node.name) for r in term) for term in terms)


def _holds(selector: Term, labels: Mapping[str, str]) -> bool:
    return all(_meets(requirement, labels, "") for requirement in selector)


def _meets(requirement: Requirement, labels: Mapping[str, str], name: str) -> bool:
    value = name if requirement.is_field else labels.get(requirement.key)
    operator, values = requirement.operator, requirement.values
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    try:  # Gt, Lt
        return value is not None and (
            int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
        )
    except (ValueError, IndexError):
        return False


def _cores(millis: int) -> str:
    return f"{max(0, millis) / 1000:g}"


def _mib(size_bytes: int) -> str:
    return f"{max(0, size_bytes) / 2**20:.0f} MiB"
