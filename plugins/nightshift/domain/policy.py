"""One cluster's policy: what its owner allows and asks for. Read from YAML by `clients/cluster_config.py`.

Every field carries its unit in its name. Defaults are the shipped ones; the lab uses them unchanged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from nightshift.domain.facts import WorkloadName
from nightshift.domain.facts.addons import AddOn

RehearseWhen = Literal["always", "minors", "never"]


@dataclass(frozen=True)
class TargetPolicy:
    """Which versions may be aimed at."""

    newest_minor: str | None = None  # never go beyond, e.g. "1.35"; None = the next minor whenever offered
    pinned_version: str | None = (
        None  # exactly this version, e.g. "1.34.4"; None = newest patch of the hop's minor
    )
    patch_first: bool = True  # a newer patch of the running minor goes before the next minor
    package_repository: str = "https://pkgs.k8s.io/core:/stable:"  # the minor is appended: /v1.35/deb/


@dataclass(frozen=True)
class WindowPolicy:
    """When mutating steps may start. Times are UTC, "HH:MM"; an end before the start means next morning."""

    start: str = "00:00"
    end: str = "00:00"  # equal to start: always open
    frozen_dates: tuple[str, ...] = ()  # ISO dates on which nothing starts


@dataclass(frozen=True)
class EtcdLatencyPolicy:
    """Thresholds of the etcd gate: a p99 is said as the histogram bucket it falls into.

    A bucket whose upper bound lies above the limit blocks. Between "healthy" (10/25/50 ms) and
    "page me" (500/250 ms): see docs/adr/0007 and etcd's FAQ and mixin.
    """

    window_seconds: int = 60
    longest_window_seconds: int = 240  # a quiet etcd is watched longer, until minimum_samples are there
    minimum_samples: int = 100
    fsync_limit_seconds: float = 0.128
    commit_limit_seconds: float = 0.128
    apply_limit_seconds: float = 0.1024
    active_probe: bool = (
        False  # a quiet etcd is given some harmless writes of our own, so that there is something to measure
    )


@dataclass(frozen=True)
class EtcdStatePolicy:
    """How full etcd's database may be, in percent of its quota. At 100 the cluster takes no more writes."""

    quota_warn_percent: float = 70.0
    quota_block_percent: float = 85.0


@dataclass(frozen=True)
class DiskPolicy:
    """Disk gate: forecast use must stay below the kubelet's live thresholds minus this margin.

    An image lies twice on a node: its blobs as downloaded, and unpacked. `unpacked_factor` is measured on nodes of the lab
    with the images of 1.34.4 and 1.35.4: 2.95 (control plane) and 2.94 (worker); with one Go binary only it is 3.1.
    """

    margin_percent: float = 2.0
    unpacked_factor: float = 3.0  # bytes unpacked per byte downloaded
    etcd_copies: int = 3  # kubeadm copies etcd's data at every attempt, and deletes none
    other_growth_bytes: int = (
        256 * 1024**2
    )  # logs, evidence and workloads of one night, on the root file system
    scratch_retention_days: int = 3


@dataclass(frozen=True)
class NodePolicy:
    """Node gates: how calm nodes must be before a night begins."""

    settle_seconds: int = 30  # a node Ready for less than this was away a moment ago
    clock_limit_milliseconds: int = 500  # between any two nodes, and between a node and this host


@dataclass(frozen=True)
class CertificatePolicy:
    """Certificate gate: days and hours until a certificate expires."""

    block_hours: int = 24  # this night, and a margin to repair what it leaves
    warn_leaf_days: int = 14  # kubeadm's upgrade renews them, but kubelets' own
    warn_ca_days: int = 30  # nothing renews a CA


@dataclass(frozen=True)
class ApiUsePolicy:
    """API gate. An aggregated API that is away keeps namespaces from being deleted and slows discovery."""

    ignored_api_services: tuple[str, ...] = ()  # these may be away, e.g. "v1beta1.metrics.k8s.io"


@dataclass(frozen=True)
class AlertPolicy:
    """Alert gate: whose alerts count; without an address none are asked for."""

    prometheus_url: str | None = None  # also what the rules' PromQL is asked at
    alertmanager_url: str | None = None  # knows which alerts are silenced
    required: bool = False  # one that does not answer makes the gate blind; else it warns
    severity_label: str = "severity"
    severities: tuple[str, ...] = ("critical",)
    ignore: tuple[str, ...] = ()  # alertnames that do not count
    own_prefixes: tuple[str, ...] = ("k8s_upgrade", "K8sUpgrade", "Nightshift", "nightshift")


@dataclass(frozen=True)
class Rule:
    """A rule of the owner; exactly one of `promql` and `cel` is set. What it may ask: docs/operations.md."""

    name: str
    message: str
    outcome: Literal["block", "warn", "hold"] = "block"
    promql: str | None = None  # fires as an alerting rule does: when its result is not empty
    cel: str | None = None  # fires when it is true
    resolution: str = ""


@dataclass(frozen=True)
class DriftPolicy:
    """What happens with settings that run and that kubeadm-config lacks: the upgrade would take them away."""

    reconcile: Literal["upload-config", "block"] = "upload-config"


@dataclass(frozen=True)
class DrainPolicy:
    """Eviction only; these limits bound the wait, they never force."""

    timeout_seconds: int = 600
    delete_emptydir_data: bool = True
    evict_unreplicated: bool = False  # bare pods without the annotation nightshift.io/evict: "true"
    # Drained pods that the other nodes have no room for are down until their node is back.
    without_room: Literal["block", "warn"] = "block"


@dataclass(frozen=True)
class WorkerPolicy:
    """Shape of the worker waves; the first wave is one canary."""

    max_unavailable: int = 1
    waves: int = 8  # nodes beyond these waves continue tomorrow
    stage_at_once: int = 4  # workers that fetch packages and images side by side
    on_failure: Literal["quarantine", "stop"] = "quarantine"  # of a worker behind the canary
    max_quarantined: int = 1  # more failing workers than this in one night stop it
    retry_quarantined: bool = True  # the next night tries them again, last; else until the mark is dropped


@dataclass(frozen=True)
class EvidencePolicy:
    """How long evidence of failed runs is kept: at least so long, and at least of so many runs."""

    keep_days: int = 90
    keep_runs: int = 20  # the newest runs that left any, whatever their age


@dataclass(frozen=True)
class SnapshotPolicy:
    """How long snapshots stay in the store: at least so long, and at least those of so many runs."""

    keep_days: int = 90
    keep_runs: int = 20  # the newest runs that took any, whatever their age


@dataclass(frozen=True)
class LimitPolicy:
    """Hard time limits of remote work and of leases, in seconds, and what tasks' own limits are made from."""

    upgrade_manifests_seconds: int = 900  # kubeadm's wait for a static pod's hash (its default: 300)
    kubeadm_job_seconds: int = 3600
    package_job_seconds: int = 900
    snapshot_job_seconds: int = 900
    rehearse_job_seconds: int = 900
    snapshot_max_age_seconds: int = 3600  # an older one of the same run is taken anew before anything goes on
    lease_seconds: int = 120
    lease_renew_seconds: int = 10
    node_ready_seconds: int = 300
    expected_nodes: int = 64  # tasks that visit all nodes, 16 at a time, have time for this many


@dataclass(frozen=True)
class Override:
    """One override of the policy.

    Args:
        gate: name of the gate.
        code: the finding's code.
        reason: why the owner wants to go on.
        person: who says so.
        until: seconds since the epoch; from then on it counts no more.
    """

    gate: str
    code: str
    reason: str
    person: str
    until: float

    def __str__(self) -> str:
        """For people: "DISK_WOULD_FILL of disk_usage until 2026-12-01T00:00Z by ann (…)"."""
        return f"{self.code} of {self.gate} until {iso_minute(self.until)} by {self.person} ({self.reason})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {**asdict(self), "until": iso_minute(self.until)}


def iso_minute(seconds: float) -> str:
    """Seconds since the epoch as UTC, to the minute: "2026-12-01T00:00Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")


@dataclass(frozen=True)
class CompatibilityPolicy:
    """Add-ons whose support of the target minor is to be known before a minor hop.

    Args:
        too_old: what an add-on does that a newer release of it would cure.
        pinned: names of add-ons that stay at their version: one that does not bear the target holds the night.
        addons: the owner's own entries; one of the same name replaces the shipped one.
    """

    too_old: Literal["block", "warn"] = "block"
    pinned: tuple[str, ...] = ()
    addons: tuple[AddOn, ...] = ()


@dataclass(frozen=True)
class ClusterPolicy:
    """Everything Nightshift knows about a cluster before it looks at it."""

    name: str
    kubernetes_connection: str
    ssh_connection: str
    store: str  # ObjectStoragePath URL for ledger, snapshots and evidence
    pushgateway_url: str | None = None
    probe_image: str = "registry.k8s.io/e2e-test-images/agnhost:2.53"
    accept_api_outage: bool = False  # single-member control planes are refused without it
    control_plane_slots: int = 3
    ignored_preflight_checks: tuple[str, ...] = ()  # kubeadm's names, e.g. "SystemVerification"; none is best
    quiesce: tuple[WorkloadName, ...] = ()  # quiet while the control plane is upgraded
    overrides: tuple[Override, ...] = ()
    rules: tuple[Rule, ...] = ()
    rehearse: RehearseWhen = "minors"  # start the target's API server in isolation before anything is changed
    schedule: str | None = "0 23 * * *"
    readiness_schedule: str | None = "0 12 * * *"  # by day: what would keep the next night from beginning
    target: TargetPolicy = field(default_factory=TargetPolicy)
    window: WindowPolicy = field(default_factory=WindowPolicy)
    etcd_latency: EtcdLatencyPolicy = field(default_factory=EtcdLatencyPolicy)
    etcd_state: EtcdStatePolicy = field(default_factory=EtcdStatePolicy)
    disk: DiskPolicy = field(default_factory=DiskPolicy)
    nodes: NodePolicy = field(default_factory=NodePolicy)
    certificates: CertificatePolicy = field(default_factory=CertificatePolicy)
    api_use: ApiUsePolicy = field(default_factory=ApiUsePolicy)
    alerts: AlertPolicy = field(default_factory=AlertPolicy)
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    drain: DrainPolicy = field(default_factory=DrainPolicy)
    workers: WorkerPolicy = field(default_factory=WorkerPolicy)
    evidence: EvidencePolicy = field(default_factory=EvidencePolicy)
    snapshots: SnapshotPolicy = field(default_factory=SnapshotPolicy)
    limits: LimitPolicy = field(default_factory=LimitPolicy)
    compatibility: CompatibilityPolicy = field(default_factory=CompatibilityPolicy)
