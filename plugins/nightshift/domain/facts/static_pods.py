"""What the probe leaves out about static pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nightshift.domain.round import NodeTopic, Topic


@dataclass(frozen=True)
class Access:
    """Who may change a file or directory: mode ("755") and owner ("root:root")."""

    mode: str
    owner: str


@dataclass(frozen=True)
class PodProcess:
    """Since when a control-plane process runs (seconds since the epoch, the node's clock, within a second) and in which pod.

    `uid` is the kubelet's hash of the pod's file; "" when the process runs in no static pod.
    """

    started: float
    uid: str


@dataclass(frozen=True)
class StaticPodDetails:
    """One node's static-pod directory and processes.

    Args:
        directory: its own access; None when there is none.
        links: by the name of a symbolic link in it, the access of the file it leads to.
        processes: by pid.
    """

    directory: Access | None
    links: Mapping[str, Access]
    processes: Mapping[int, PodProcess]


STATIC_POD_DETAILS = NodeTopic[StaticPodDetails]("static_pod_details", "the static-pod directory")
# By the name of a control plane's static pod ("etcd-cp1"): the kubelet's hash of its file, as the API shows it.
MIRROR_HASHES = Topic[Mapping[str, str]]("mirror_hashes", "the mirror pods of the control planes")
