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
class Apart:
    """A required anti-affinity: not where such pods run. `namespaces`: () = the pod's own."""

    topology_key: str
    selector: Term
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """A pod's rules.

    Args:
        selector: nodeSelector.
        terms: required node affinity.
        tolerations: what it puts up with.
        apart: required anti-affinity to other pods.
        claims: its PersistentVolumeClaims, "namespace/name".
    """

    selector: tuple[tuple[str, str], ...] = ()
    terms: Terms = ()
    tolerations: tuple[Toleration, ...] = ()
    apart: tuple[Apart, ...] = ()
    claims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """What a pod asks for, as the scheduler counts it."""

    cpu_millis: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Room:
    """What a node has to give to pods (`status.allocatable`)."""

    cpu_millis: int
    memory_bytes: int
    pods: int


@dataclass(frozen=True)
class VolumeFacts:
    """A PersistentVolume that is bound, and the nodes it can be reached from (() = all)."""

    name: str
    terms: Terms


VOLUMES = Topic[Mapping[str, VolumeFacts]]("volumes", "the PersistentVolumes")  # by claim, "namespace/name"
