"""Where drained pods could run meanwhile: the scheduler's filters, as far as they are about nodes and room.

Looked at: cordons, taints, nodeSelector, required node affinity, the nodes a volume can be reached from, requests of all
resources, the number of pods, and what other pods allow (`neighbours`). Not looked at: devices that are claimed
(ResourceClaims), and how many volumes a node can attach. What is left out makes this more hopeful than the scheduler, never
less. A volume that was not found is not "anywhere": ask `unknown_claims`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nightshift.domain.drain import DrainPlan, budgets_that_count
from nightshift.domain.facts import BudgetFacts, NodeFacts, PodFacts
from nightshift.domain.facts.placement import Need, Placement, Taint, Toleration, VolumeFacts
from nightshift.domain.neighbours import FINISHED, Neighbours
from nightshift.domain.requirements import selects

_STATE = "node.kubernetes.io/"  # taints that say how a node is now, not whom it is for
_BYTES = ("ephemeral-storage", "hugepages-")  # resources that are counted in bytes


@dataclass(frozen=True)
class _Left:
    """What a node still has to give; a resource that is not among the others is one it does not have."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    pods: int = 0
    others: Mapping[str, int] = field(default_factory=dict)

    def has(self, need: Need) -> bool:
        return (
            self.pods > 0
            and (need.cpu_millis == 0 or need.cpu_millis <= self.cpu_millis)
            and (need.memory_bytes == 0 or need.memory_bytes <= self.memory_bytes)
            and all(amount <= self.others.get(name, 0) for name, amount in need.others)
        )

    def without(self, need: Need) -> _Left:
        others = self.others
        if need.others:
            others = {**others, **{name: others.get(name, 0) - amount for name, amount in need.others}}
        return _Left(
            self.cpu_millis - need.cpu_millis, self.memory_bytes - need.memory_bytes, self.pods - 1, others
        )


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
        self._emptiest = sorted(self._free, key=lambda name: self._free[name].memory_bytes, reverse=True)
        self._homes: dict[Placement, frozenset[str]] = {}
        self._neighbours = Neighbours(self.nodes, self._on, _counts_for_spread)

    def on(self, node: str) -> Sequence[PodFacts]:
        """The pods bound to a node."""
        return self._on.get(node, ())

    def homes(self, pod: PodFacts, away: Collection[str]) -> frozenset[str]:
        """Names of the nodes where this pod may run by all rules; the nodes `away` may be among them.

        Pods on nodes that are `away` are not in its way. Room is not asked, nor whether a node takes pods at this moment.
        """
        rules = pod.placement
        found = self._homes.get(rules)
        if found is None:
            found = frozenset(name for name, node in self.nodes.items() if not self._refusal(rules, node))
            self._homes[rules] = found
        return found.difference(*self._neighbours.refusals(pod, away).values())

    def unknown_claims(self, pod: PodFacts) -> tuple[str, ...]:
        """The claims of a pod whose volume was not found: nobody can tell from which nodes it can be reached."""
        return tuple(claim for claim in pod.placement.claims if claim not in self._volumes)

    def is_tied(self, pod: PodFacts, away: Collection[str]) -> bool:
        """Tell whether no other node may run this pod while the nodes `away` are drained."""
        return all(name in away for name in self.homes(pod, away))

    def why_nowhere(self, pod: PodFacts, away: Collection[str]) -> str:
        """Say, in a few words, what keeps a pod from every other node."""
        refusals = self._neighbours.refusals(pod, away)
        reasons = [
            self._refusal(pod.placement, node)
            or next((r for r, names in refusals.items() if name in names), "")
            for name, node in self.nodes.items()
            if name not in away
        ]
        return ", ".join(dict.fromkeys(filter(None, reasons))) or "there is no other node"

    def without_room(self, pods: Iterable[PodFacts], away: Collection[str]) -> list[PodFacts]:
        """Return the pods that find no room on the nodes they may run on; largest first, each on the emptiest.

        Pods that ask for what few nodes have come before all others, so that those do not take their place. Pods that may
        run nowhere by their own rules are not among them.
        """
        left: dict[str, _Left] = {}
        homeless = []
        for pod in sorted(pods, key=_by_size):
            homes = self.homes(pod, away)
            # The emptiest first: as long as there is room, one of the first nodes asked has it.
            for name in self._emptiest:
                there = left.get(name) or self._free[name]
                if name not in away and name in homes and there.has(pod.need):
                    left[name] = there.without(pod.need)
                    break
            else:
                if not all(name in away for name in homes):
                    homeless.append(pod)
        return homeless

    def free_text(self, away: Collection[str], others: Collection[str] = ()) -> str:
        """What is left on each other node, also of the resources `others`, for people; at most three of them."""
        there = [name for name in self._emptiest if name not in away]
        there.sort(key=lambda name: bool(self.nodes[name].taints))  # those that take anything first
        said = [self._room_text(self.nodes[name], others) for name in there[:3]]
        return ", ".join(said) or "there is no other node"

    def _room_text(self, node: NodeFacts, others: Collection[str]) -> str:
        if why := _takes_nothing(node):
            return f"{node.name} {why}"
        left = self._free[node.name]
        amounts = [
            f"{_cores(left.cpu_millis)} CPU",
            f"{_mib(left.memory_bytes)} of memory",
            *(amount_text(name, left.others.get(name, 0)) for name in others),
        ]
        shunned = next((t.key for t in node.taints if t.effect != "PreferNoSchedule"), "")
        return f"{node.name} has {', '.join(amounts[:-1])} and {amounts[-1]} left" + (
            f" for pods that tolerate {shunned}" if shunned else ""
        )

    def _free_on(self, node: NodeFacts) -> _Left:
        if node.room is None or _takes_nothing(node):
            return _Left()
        there = [pod for pod in self._on[node.name] if pod.phase not in FINISHED]
        others = dict(node.room.others)
        for pod in there:
            for name, amount in pod.need.others:
                others[name] = others.get(name, 0) - amount
        return _Left(
            node.room.cpu_millis - sum(pod.need.cpu_millis for pod in there),
            node.room.memory_bytes - sum(pod.need.memory_bytes for pod in there),
            node.room.pods - len(there),
            others,
        )

    def _refusal(self, rules: Placement, node: NodeFacts) -> str:
        """Why this node does not take such a pod; "" when it does."""
        if any(node.labels.get(key) != value for key, value in rules.selector):
            return f"nodeSelector {', '.join(f'{k}={v}' for k, v in rules.selector)}"
        if rules.terms and not selects(rules.terms, node):
            return "required node affinity"
        for claim in rules.claims:
            volume = self._volumes.get(claim)
            if volume and volume.terms and not selects(volume.terms, node):
                return f"volume {volume.name} of claim {claim}"
        taint = next((t for t in node.taints if _repels(t, rules.tolerations)), None)
        return f"taint {taint.key} of {node.name}" if taint else ""


def comes_back(pod: PodFacts) -> bool:
    """Tell whether something starts this pod again elsewhere, so that it needs a place."""
    return pod.controller is not None and not pod.is_terminating and pod.phase not in FINISHED


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


def _by_size(pod: PodFacts) -> tuple[bool, int, int, str, str]:
    is_picky = any("/" in name for name, _ in pod.need.others)  # an extended resource: nvidia.com/gpu
    return not is_picky, -pod.need.memory_bytes, -pod.need.cpu_millis, pod.namespace, pod.name


def amount_text(resource: str, amount: int) -> str:
    """So much of a resource, for people: "2 nvidia.com/gpu", "100 MiB of ephemeral-storage"."""
    return f"{_mib(amount)} of {resource}" if resource.startswith(_BYTES) else f"{max(0, amount)} {resource}"


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


def _counts_for_spread(pod: PodFacts, node: NodeFacts, by_affinity: bool, by_taints: bool) -> bool:
    """Whether a topology spread counts this node for such a pod."""
    rules = pod.placement
    if by_affinity and (
        any(node.labels.get(key) != value for key, value in rules.selector)
        or (rules.terms and not selects(rules.terms, node))
    ):
        return False
    return not (by_taints and any(_repels(taint, rules.tolerations) for taint in node.taints))


def _cores(millis: int) -> str:
    return f"{max(0, millis) / 1000:g}"


def _mib(size_bytes: int) -> str:
    return f"{max(0, size_bytes) / 2**20:.0f} MiB"
