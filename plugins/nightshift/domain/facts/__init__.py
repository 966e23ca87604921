"""What was observed: frozen values without behaviour. `None` means "could not be known", never "fine"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightshift.domain.facts.placement import Need, Placement, Room, Taint


@dataclass(frozen=True)
class NodeFacts:
    """One Node object of the API, as far as an upgrade cares."""

    name: str
    address: str  # InternalIP
    is_control_plane: bool
    kubelet_version: str  # "1.34.4"
    is_ready: bool | None  # None: condition Unknown or absent
    is_unschedulable: bool
    pressures: tuple[str, ...] = ()  # MemoryPressure, DiskPressure, PIDPressure that are True
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ready_since: float | None = None  # since when Ready has this status, seconds since the epoch
    ready_message: str = ""  # why it has it, in the kubelet's or the node controller's words
    cordoned_since: float | None = None
    cordoned_by: str = ""  # the program that did it, by the name it gave the API: "kubectl"
    taints: tuple[Taint, ...] = ()
    room: Room | None = None  # None: its kubelet has not said


@dataclass(frozen=True)
class NodeAddress:
    """Where a node is reached over SSH, as it was known when it was last asked for."""

    name: str
    address: str  # InternalIP


@dataclass(frozen=True)
class ManifestEntry:
    """One entry of /etc/kubernetes/manifests, parsed as far as it parses."""

    name: str  # file name
    kind: str  # "file", "directory", "symlink", "other"
    mode: str  # "600"
    owner: str  # "root:root"
    size_bytes: int
    modified: float  # seconds since the epoch
    sha256: str
    pod_name: str | None = None  # None: not parseable as a pod, see parse_error
    pod_namespace: str | None = None
    parse_error: str | None = None
    command: tuple[str, ...] = ()  # first container's command + args
    image: str | None = None


@dataclass(frozen=True)
class RunningProcess:
    """A control-plane process as the kernel shows it."""

    name: str  # kube-apiserver, kube-controller-manager, kube-scheduler, etcd
    pid: int
    argv: tuple[str, ...]


@dataclass(frozen=True)
class MountFacts:
    """One file system that matters to the upgrade; sizes in bytes."""

    path: str  # what we asked about, by its usual name: /var/lib/etcd
    mount_point: str
    size_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int
    directory: str = ""  # where that lies on this node: etcd's --data-dir, the runtime's root; "" = as usual

    @property
    def where(self) -> str:
        """The directory that was measured."""
        return self.directory or self.path

    @property
    def used_percent(self) -> float:
        """Used share in percent, computed as the kubelet does: (capacity - available) / capacity."""
        return (
            100.0 * (self.size_bytes - self.available_bytes) / self.size_bytes if self.size_bytes else 100.0
        )


@dataclass(frozen=True)
class ScratchEntry:
    """One entry of /etc/kubernetes/tmp."""

    name: str
    modified: float  # seconds since the epoch
    size_bytes: int
    is_directory: bool


ENDED_BADLY = ("failed", "lost")  # of a job's states


class Confidential(str):
    """An argument of a job that no list of processes and no log may show, e.g. a configuration; one per job at most."""

    __slots__ = ()


@dataclass(frozen=True)
class JobFacts:
    """One node-side job unit (`nightshift-<step>.service`) and what it left behind."""

    step: str
    state: str  # "running", "succeeded", "failed", "lost" (died without writing its end), "absent"
    exit_code: int | None
    run_id: str  # who started it, see domain/owner.py
    token: int
    arguments: tuple[str, ...]
    started: float
    finished: float | None
    rebooted: bool = False  # the machine booted after the job started and before it ended


@dataclass(frozen=True)
class NodeProbe:
    """Everything read on a node in one round over SSH."""

    node: str
    boot_id: str
    clock: float  # the node's time, seconds since the epoch
    kubelet_version: str | None  # of the binary on disk
    kubeadm_version: str | None  # None: there is none; "": it does not say
    kubectl_version: str | None
    mounts: tuple[MountFacts, ...]
    manifests: tuple[ManifestEntry, ...]
    processes: tuple[RunningProcess, ...]
    scratch: tuple[ScratchEntry, ...]
    etcd_data_bytes: int | None
    kubeadm_pids: tuple[int, ...]
    jobs: tuple[JobFacts, ...]
    token: int  # highest fencing token the node has seen, 0 = none


@dataclass(frozen=True)
class KubeletThresholds:
    """The live `/configz` of one kubelet, as far as disks go: percent used (GC), percent free (eviction)."""

    image_gc_high_percent: float
    image_gc_low_percent: float
    eviction_hard: Mapping[str, str]  # signal -> quantity or percentage, as the kubelet reports it
    eviction_soft: Mapping[str, str] = field(default_factory=dict)  # the same, after a grace period


@dataclass(frozen=True)
class HistogramSample:
    """A Prometheus histogram at one moment: cumulative counts by upper bound (seconds; inf last)."""

    buckets: tuple[tuple[float, float], ...]
    count: float
    total_seconds: float


@dataclass(frozen=True)
class EtcdSample:
    """One member's metrics at one moment."""

    member: str  # node name
    taken: float  # seconds since the epoch
    process_start: float
    wal_fsync: HistogramSample | None
    backend_commit: HistogramSample | None
    apply: HistogramSample | None
    slow_apply_total: float | None
    leader_changes_total: float | None
    has_leader: bool | None
    is_leader: bool | None
    server_version: str | None
    db_size_bytes: float | None
    quota_bytes: float | None
    proposals_pending: float | None = None
    proposals_committed: float | None = None  # of the cluster; only grows
    proposals_failed_total: float | None = None


@dataclass(frozen=True)
class LeaseFacts:
    """The cluster's Lease: who is at it, since when, and the token that only grows."""

    holder: str  # see domain/owner.py; "" = nobody
    token: int
    acquired: float | None
    renewed: float | None
    duration_seconds: int
    fenced_owner: str = ""  # the last owner a recovery fenced, see domain/takeover.py
    fenced_at: float | None = None

    def is_live(self, now: float) -> bool:
        """Tell whether somebody holds the Lease and renewed it in time. `now` in seconds since the epoch."""
        return bool(self.holder) and self.renewed is not None and now < self.renewed + self.duration_seconds


@dataclass(frozen=True)
class PackageFacts:
    """What a package repository offers for one minor."""

    minor: str  # "1.35"
    versions: tuple[str, ...]  # package versions of kubeadm, e.g. "1.35.4-1.1"
    error: str | None = None  # why it could not be known


@dataclass(frozen=True)
class PodFacts:
    """One pod."""

    namespace: str
    name: str
    uid: str
    phase: str
    controller: str | None  # "ReplicaSet/web-…", None = bare pod
    controller_kind: str | None
    is_mirror: bool
    is_terminating: bool
    has_emptydir: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node: str = ""  # "" = not bound to one yet
    is_ready: bool = True
    need: Need = field(default_factory=Need)
    placement: Placement = field(default_factory=Placement)

    @property
    def workload(self) -> str:
        """Whom people know it by: "Deployment shop/web", "pod shop/lonely"."""
        if self.controller is None:
            return f"pod {self.namespace}/{self.name}"
        kind, _, name = self.controller.partition("/")
        template = self.labels.get("pod-template-hash")
        if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
            kind, name = "Deployment", name.removesuffix(f"-{template}")
        return f"{kind} {self.namespace}/{name}"


@dataclass(frozen=True)
class BudgetFacts:
    """One PodDisruptionBudget; a selector that is None selects no pod, `{}` every pod."""

    namespace: str
    name: str
    selector: Mapping[str, Any] | None
    disruptions_allowed: int
    current_healthy: int
    desired_healthy: int
    expected_pods: int
    always_evicts_unready: bool = False  # unhealthyPodEvictionPolicy: AlwaysAllow
    is_computed: bool = True  # the disruption controller has seen this budget as it is now
    sync_error: str = (
        ""  # why the disruption controller cannot count it (condition DisruptionAllowed, SyncFailed)
    )


@dataclass(frozen=True)
class WorkloadName:
    """A controller that can be made quiet for a while: "Deployment", "StatefulSet" or "CronJob", and where it is."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """For people: "Deployment shop/web"."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class WorkloadFacts:
    """One such controller as it is now."""

    name: WorkloadName
    uid: str
    version: str  # resourceVersion, for compare-and-swap
    setting: int | bool  # wanted replicas; of a CronJob: whether it is suspended
    running: int  # replicas there are, those on their way out not counted; of a CronJob: jobs at work
