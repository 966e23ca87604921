"""What an upgrade will download, and what a node has of it already; sizes in bytes as downloaded (compressed)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nightshift.domain.round import NodeTopic, Topic


@dataclass(frozen=True)
class NodeImages:
    """What a node need not download.

    Args:
        images: references, "registry.k8s.io/pause:3.10.1".
        blobs: digests of layers and manifests; empty where the runtime does not tell.
        packages: versions that are staged, "1.35.4-1.1".
    """

    images: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TargetImage:
    """One image that tonight's target needs.

    Args:
        name: "kube-apiserver".
        reference: with registry and tag; None: no tag is known for that release.
        is_everywhere: workers need it, too.
        layers: digest -> size, from the registry's manifest; None: it was not told.
        recorded_bytes: what such an image took in the releases measured; counted when `layers` is None.
    """

    name: str
    reference: str | None
    is_everywhere: bool
    recorded_bytes: int
    layers: Mapping[str, int] | None = None


@dataclass(frozen=True)
class TargetImages:
    """All of them.

    Args:
        images: what the target needs.
        problem: why sizes are recorded ones; "" when the registry told all it was asked.
    """

    images: tuple[TargetImage, ...]
    problem: str = ""


NODE_IMAGES = NodeTopic[NodeImages]("node_images", "the images a node has")
TARGET_IMAGES = Topic[TargetImages]("target_images", "the sizes of the target's images")
