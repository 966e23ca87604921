"""etcd as a node's own look shows it: the member and its peers, and the device under its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nightshift.domain.round import NodeTopic

DEFAULT_QUOTA_BYTES = 2 * 1024**3  # etcd's own, when --quota-backend-bytes is not set


@dataclass(frozen=True)
class EtcdMember:
    """One entry of the member list."""

    member_id: str
    name: str  # kubeadm's is the node's; "" = it was added and never started
    peer_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True)
class EtcdStatus:
    """What a member that answers says about itself and the cluster.

    Args:
        errors: etcd's own words, an alarm as "memberID:123 alarm:NOSPACE".
        quota_bytes: of the database; 0 or less = unlimited.
        raft_index: of the newest committed entry.
        applied_index: of the newest applied one.
    """

    member_id: str
    version: str
    leader_id: str | None  # None: it knows no leader
    is_learner: bool
    database_bytes: int
    in_use_bytes: int
    quota_bytes: int
    raft_index: int
    applied_index: int
    errors: tuple[str, ...]
    members: tuple[EtcdMember, ...]


@dataclass(frozen=True)
class EtcdState:
    """etcd on one control-plane node.

    Args:
        condition: "absent" (no manifest, no process), "stopped" (a manifest, no process), "silent" (a process that
            does not answer on its own loopback), "answers".
        status: only of one that answers.
    """

    condition: Literal["absent", "stopped", "silent", "answers"]
    status: EtcdStatus | None = None


@dataclass(frozen=True)
class Writer:
    """A process that wrote much in the moment of the look; etcd itself is none."""

    pid: int
    command: str  # the kernel's 15 characters
    unit: str  # systemd unit or "pod namespace/name"; "" = unknown
    written_bytes: int  # within the window
    on_device: (
        bool  # it holds a file of etcd's file system open for writing; else only known to be on this node
    )


@dataclass(frozen=True)
class EtcdDevice:
    """The block device under etcd's data directory, in one moment.

    Args:
        source: what is mounted there, e.g. "/dev/mapper/vg-etcd".
        chain: kernel names from it down to the disk, as far as they can be followed.
        rotates: None = the kernel does not say.
        pressure_percent: share of the last 10 s in which something waited for a disk (PSI); None = unknown.
        window_seconds: in which the writers were watched.
        writers: the largest first.
    """

    source: str
    chain: tuple[str, ...]
    rotates: bool | None
    pressure_percent: float | None
    window_seconds: float
    writers: tuple[Writer, ...]


ETCD = NodeTopic[EtcdState]("etcd", "what etcd says about itself", only_control_planes=True)
ETCD_DEVICE = NodeTopic[EtcdDevice]("etcd_device", "the device under etcd's data", only_control_planes=True)
