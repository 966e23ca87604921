"""Where other pods let a pod run: anti-affinity, affinity, host ports, topology spread.

As the scheduler's filters decide (kube-scheduler, plugins interpodaffinity, nodeports, podtopologyspread), for the moment
in which the nodes `away` are drained: what ran there is gone, and they are cordoned. Pods that move at the same time do
not see each other, and the anti-affinity of pods that already run is not asked: that makes it more hopeful than the
scheduler, never less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from nightshift.domain.facts import NodeFacts, PodFacts
from nightshift.domain.facts.placement import HostPort, Mates, Spread, Term
from nightshift.domain.requirements import holds

Names = frozenset[str]

FINISHED = ("Succeeded", "Failed")
ANTI_AFFINITY = "its anti-affinity"
AFFINITY = "its affinity to other pods"


class Neighbours:
    """The pods on each node, ordered so that thousands of pods are quickly asked about.

    Args:
        nodes: by name.
        pods: by node; finished ones are not in anybody's way.
        takes: whether a node takes such a pod by the pod's rules about nodes (first flag: nodeSelector and node
            affinity only; second: taints too). The spread counts only such nodes.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeFacts],
        pods: Mapping[str, Sequence[PodFacts]],
        takes: Callable[[PodFacts, NodeFacts, bool, bool], bool],
    ) -> None:
        self._nodes, self._takes = nodes, takes
        self._on = {name: [pod for pod in found if pod.phase not in FINISHED] for name, found in pods.items()}
        self._counts: dict[tuple[tuple[str, ...], Term, bool], dict[str, int]] = {}
        self._spreads: dict[tuple[object, ...], Names] = {}

    def refusals(self, pod: PodFacts, away: Collection[str]) -> dict[str, Names]:
        """Reason, for people -> the nodes that it keeps this pod from."""
        rules = pod.placement
        found: dict[str, Names] = {}
        for apart in rules.apart:
            found[ANTI_AFFINITY] = found.get(ANTI_AFFINITY, frozenset()) | self._beside(pod, apart, away)
        for together in rules.together:
            found[AFFINITY] = found.get(AFFINITY, frozenset()) | self._alone(pod, together, away)
        for port in rules.ports:
            found[f"host port {port.number}"] = self._taken(port, away)
        for spread in rules.spreads:
            found[f"topology spread over {spread.topology_key}"] = self._uneven(pod, spread, away)
        return found

    def _beside(self, pod: PodFacts, mates: Mates, away: Collection[str]) -> Names:
        """Nodes in a topology domain that holds such pods."""
        domains = self._domains(pod, mates, away)
        return frozenset(
            n for n, node in self._nodes.items() if node.labels.get(mates.topology_key) in domains
        )

    def _alone(self, pod: PodFacts, mates: Mates, away: Collection[str]) -> Names:
        """Nodes in a topology domain without such pods.

        None when they all run on the drained nodes: then they move as well, and nobody knows yet where to.
        """
        domains = self._domains(pod, mates, away)
        if not domains:
            return frozenset()
        return frozenset(
            n for n, node in self._nodes.items() if node.labels.get(mates.topology_key) not in domains
        )

    def _domains(self, pod: PodFacts, mates: Mates, away: Collection[str]) -> set[str]:
        counts = self._count(mates.namespaces or (pod.namespace,), mates.selector)
        found = {self._nodes[n].labels.get(mates.topology_key) for n in counts if n not in away}
        return {domain for domain in found if domain is not None}

    def _taken(self, port: HostPort, away: Collection[str]) -> Names:
        """Nodes on which a pod has this port."""
        return frozenset(
            name
            for name, pods in self._on.items()
            if name not in away and any(_clash(port, other) for pod in pods for other in pod.placement.ports)
        )

    def _uneven(self, pod: PodFacts, spread: Spread, away: Collection[str]) -> Names:
        """Nodes on which the pod would make the spread more uneven than it may be."""
        rules = (pod.placement.selector, pod.placement.terms, pod.placement.tolerations)
        key = (pod.namespace, holds(spread.selector, pod.labels), spread, rules, tuple(away))
        if key not in self._spreads:
            self._spreads[key] = self._uneven_anew(pod, spread, away)
        return self._spreads[key]

    def _uneven_anew(self, pod: PodFacts, spread: Spread, away: Collection[str]) -> Names:
        counts = self._count((pod.namespace,), spread.selector, with_terminating=False)
        there: dict[str, int] = {}
        for name, node in self._nodes.items():
            domain = node.labels.get(spread.topology_key)
            if domain is None or not self._counts_for(pod, node, spread, away):
                continue
            there[domain] = there.get(domain, 0) + (0 if name in away else counts.get(name, 0))
        least = min(there.values(), default=0) if len(there) >= spread.min_domains else 0
        itself = int(holds(spread.selector, pod.labels))
        full = {domain for domain, count in there.items() if count + itself - least > spread.max_skew}
        return frozenset(
            n
            for n, node in self._nodes.items()
            if (domain := node.labels.get(spread.topology_key)) is None or domain in full
        )

    def _counts_for(self, pod: PodFacts, node: NodeFacts, spread: Spread, away: Collection[str]) -> bool:
        """Whether the spread counts this node's domain; by default also a cordoned one's, which is then the emptiest."""
        if spread.honors_taints and (node.is_unschedulable or node.name in away):
            return False
        return self._takes(pod, node, spread.honors_affinity, spread.honors_taints)

    def _count(
        self, spaces: tuple[str, ...], selector: Term, with_terminating: bool = True
    ) -> dict[str, int]:
        """How many such pods each node has; nodes with none are left out. A spread does not count those that are going."""
        key = (spaces, selector, with_terminating)
        found = self._counts.get(key)
        if found is None:
            counts = {
                name: sum(
                    p.namespace in spaces
                    and holds(selector, p.labels)
                    and (with_terminating or not p.is_terminating)
                    for p in pods
                )
                for name, pods in self._on.items()
            }
            found = self._counts[key] = {n: count for n, count in counts.items() if count}
        return found


def _clash(port: HostPort, other: HostPort) -> bool:
    """Tell whether one node cannot give both: an empty address is all of them."""
    same = (port.number, port.protocol) == (other.number, other.protocol)
    return same and (port.address == other.address or "" in (port.address, other.address))
