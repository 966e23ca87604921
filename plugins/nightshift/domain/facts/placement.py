"""Where a pod may run, by its own rules and its volumes'; hashable, because thousands of pods share a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nightshift.domain.round import Topic


@dataclass(frozen=True)
class Taint:
    """A node's taint; the effect is "NoSchedule", "PreferNoSchedule" or "NoExecute"."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True)
class Toleration:
    """A pod's toleration; "" is any key or any effect."""

    key: str
    operator: str  # "Equal" or "Exists"
    value: str
    effect: str


@dataclass(frozen=True)
class Requirement:
    """One requirement on labels, or on a node's name (`is_field`).

    Args:
        operator: "In", "NotIn", "Exists", "DoesNotExist", "Gt" or "Lt".
    """

    key: str
    operator: str
    values: tuple[str, ...] = ()
    is_field: bool = False


Term = tuple[Requirement, ...]  # all of them must hold
Terms = tuple[Term, ...]  # one of them must hold; () = anywhere


@dataclass(frozen=True)
class Mates:
    """A required affinity or anti-affinity: only, or not, where such pods run.

    `namespaces`: () = the pod's own; those that the term's namespaceSelector selects are already among them.
    """

    topology_key: str
    selector: Term
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostPort:
    """A port of the node; `address` "" = all of its addresses."""

    number: int
    protocol: str  # "TCP", "UDP" or "SCTP"
    address: str = ""


@dataclass(frozen=True)
class Spread:
    """A topology spread constraint that the scheduler must not break (DoNotSchedule).

    Args:
        max_skew: how many more of these pods one domain may have than the emptiest.
        min_domains: with fewer domains the emptiest counts as having none.
        honors_affinity: only nodes that the pod's nodeSelector and node affinity allow are counted.
        honors_taints: cordoned nodes and those with taints that the pod does not tolerate are not counted.
    """

    topology_key: str
    selector: Term
    max_skew: int
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


@dataclass(frozen=True)
class Placement:
    """A pod's rules.

    Args:
        selector: nodeSelector.
        terms: required node affinity.
        tolerations: what it puts up with.
        apart: required anti-affinity to other pods.
        together: required affinity to other pods.
        ports: of the node.
        spreads: topology spread that must be kept.
        claims: its PersistentVolumeClaims, "namespace/name".
    """

    selector: tuple[tuple[str, str], ...] = ()
    terms: Terms = ()
    tolerations: tuple[Toleration, ...] = ()
    apart: tuple[Mates, ...] = ()
    together: tuple[Mates, ...] = ()
    ports: tuple[HostPort, ...] = ()
    spreads: tuple[Spread, ...] = ()
    claims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """What a pod asks for, as the scheduler counts it.

    Args:
        others: every other resource by name, sorted: ephemeral-storage (bytes), hugepages-2Mi (bytes), nvidia.com/gpu.
    """

    cpu_millis: int = 0
    memory_bytes: int = 0
    others: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Room:
    """What a node has to give to pods (`status.allocatable`); `others` as in `Need`: what is not there, it does not have."""

    cpu_millis: int
    memory_bytes: int
    pods: int
    others: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class VolumeFacts:
    """A PersistentVolume that is bound, and the nodes it can be reached from (() = all)."""

    name: str
    terms: Terms


VOLUMES = Topic[Mapping[str, VolumeFacts]]("volumes", "the PersistentVolumes")  # by claim, "namespace/name"
