"""Add-ons: what the table says they bear, and what the cluster runs."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.round import Topic


@dataclass(frozen=True)
class AddOnRelease:
    """One release line of an add-on and the Kubernetes minors it bears; None = no end on that side is known.

    Args:
        release: major and minor, "3.31"; a version belongs to the line it begins with.
        oldest: first minor, "1.32".
        newest: last minor, "1.35".
    """

    release: str
    oldest: str | None = None
    newest: str | None = None


@dataclass(frozen=True)
class AddOn:
    """One entry of include/tables/addons.yaml or of the cluster's file.

    Args:
        name: for people and for `compatibility.pinned`: "calico".
        images: ends of image names without tag, "calico/node": what tells it apart.
        releases: known release lines, oldest first.
        source: address of the project's own statement.
        strict: False when the project says that other minors may work, too: outside the range only warns.
    """

    name: str
    images: tuple[str, ...]
    releases: tuple[AddOnRelease, ...]
    source: str
    strict: bool = True


@dataclass(frozen=True)
class WorkloadImage:
    """One container image of a Deployment, StatefulSet or DaemonSet."""

    workload: str  # "DaemonSet kube-system/calico-node"
    image: str  # "quay.io/calico/node:v3.31.0"


ADDONS = Topic[tuple[AddOn, ...]]("addons", "the table of add-ons")
WORKLOAD_IMAGES = Topic[tuple[WorkloadImage, ...]]("workload_images", "the images of all workloads")
