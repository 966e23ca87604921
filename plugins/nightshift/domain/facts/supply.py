"""What the night will have to download, and whether it is there: packages and images of the target."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nightshift.domain.round import Topic


class Supplied(StrEnum):
    """What became of one question to a repository or registry."""

    FOUND = "found"
    MISSING = "missing"  # it answers that it has no such thing
    REFUSED = "refused"  # packages: not signed by the node's key; images: asks for a login
    AWAY = "away"  # no answer, or one that says nothing about it


@dataclass(frozen=True)
class SupplyItem:
    """One answer.

    Args:
        kind: "repository", "package" or "image".
        name: "v1.35", "kubeadm=1.35.4-1.1", "registry.k8s.io/etcd:3.6.6-0".
        state: see `Supplied`.
        detail: address, status or the program's own words.
    """

    kind: str
    name: str
    state: Supplied
    detail: str = ""


@dataclass(frozen=True)
class ReleasePins:
    """Images kubeadm of these releases asks for beside its own; an entry of include/tables/releases.yaml.

    Args:
        first: first release it was read from, "1.35.4".
        last: last one; only these two and what lies between are known.
        etcd: tag, "3.6.6-0".
        coredns: tag, "v1.13.1".
        pause: tag, "3.10.1".
        source: address of the constants.
    """

    first: str
    last: str
    etcd: str
    coredns: str
    pause: str
    source: str


@dataclass(frozen=True)
class SupplyFacts:
    """All answers of one round, from one control-plane node.

    Args:
        node: who asked.
        items: repository, packages, images.
        unasked: images whose tags nobody knows before the target's own kubeadm is there: "etcd", …
    """

    node: str
    items: tuple[SupplyItem, ...]
    unasked: tuple[str, ...] = ()


SUPPLY = Topic[SupplyFacts]("supply", "the package repository and the image registry")
