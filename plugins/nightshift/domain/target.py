"""Which version tonight's hop goes to: patch first, then one minor; never skip, never down, never guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from nightshift.domain.facts import NodeFacts, PackageFacts
from nightshift.domain.policy import TargetPolicy

CONTROL_PLANE_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


class TargetKind(StrEnum):
    """What tonight's hop is."""

    NONE = "none"  # everything known, nothing to do
    PATCH = "patch"
    MINOR = "minor"
    BLIND = "blind"  # something that decides the answer could not be known


@dataclass(frozen=True)
class TargetChoice:
    """Tonight's target, or why there is none.

    Args:
        kind: see `TargetKind`.
        version: release to reach, "1.35.4"; None for NONE and BLIND.
        package_version: exact package, "1.35.4-1.1"; None for NONE and BLIND.
        minor: the minor whose repository is needed, "1.35"; None for NONE and BLIND.
        running: oldest release running anywhere; None when unknown.
        sentence: the choice in one plain sentence.
        nodes_behind: nodes on which something is older than the target.
    """

    kind: TargetKind
    sentence: str
    version: str | None = None
    package_version: str | None = None
    minor: str | None = None
    running: str | None = None
    nodes_behind: tuple[str, ...] = ()

    @property
    def is_hop(self) -> bool:
        """Tell whether there is something to upgrade to."""
        return self.kind in (TargetKind.PATCH, TargetKind.MINOR)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {**asdict(self), "kind": self.kind.value, "nodes_behind": list(self.nodes_behind)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TargetChoice:
        """Rebuild a choice from `to_dict`'s output."""
        return TargetChoice(
            **{**data, "kind": TargetKind(data["kind"]), "nodes_behind": tuple(data["nodes_behind"])}
        )


def repository_url(base: str, minor: str) -> str:
    """Return the address of one minor's Debian repository: ".../v1.35/deb/"."""
    return f"{base.rstrip('/')}/v{minor}/deb/"


def minors_to_ask(
    nodes: Sequence[NodeFacts], components: Mapping[str, Mapping[str, str]], policy: TargetPolicy
) -> tuple[str, ...]:
    """Return the minors whose offers `choose_target` needs; empty when the running versions are unknown."""
    raise NotImplementedError


def choose_target(
    nodes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    offers: Sequence[PackageFacts],
    policy: TargetPolicy,
) -> TargetChoice:
    """Choose tonight's target.

    Args:
        nodes: all nodes of the cluster.
        components: control-plane node -> component -> version of the running image tag
            (`kube-apiserver`, `kube-controller-manager`, `kube-scheduler`; others are ignored).
        offers: what the repository offers for each minor of `minors_to_ask`. `versions=()` without an
            error means: the repository answered that it has no such minor.
        policy: what the owner allows.

    Raises:
        ConfigError: TARGET_SKIPS_MINOR, TARGET_IS_DOWNGRADE or TARGET_UNKNOWN when the policy asks for
            something that cannot be done.
    """
    raise NotImplementedError
