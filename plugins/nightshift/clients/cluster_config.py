"""Reads the cluster files (`<name>.yaml` in NIGHTSHIFT_CLUSTERS or include/clusters) into a `ClusterPolicy`, and says precisely what is wrong with it.

Unknown keys, wrong units and values out of bounds are refused with file, line and the nearest valid key.
`store`, `pushgateway_url`, `target.package_repository` and the addresses under `alerts` may contain `${NAME}` or `${NAME:-default}`, taken
from the environment, because addresses differ between machines; nothing else is substituted, and secrets have
no place here at all (they live in Airflow connections).

`python -m nightshift.clients.cluster_config` writes the JSON schema for editors.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from nightshift.clients.tables import AddOnEntry
from nightshift.clients.tables import Name as AddOnName
from nightshift.domain.codes import CODES
from nightshift.domain.errors import ConfigError
from nightshift.domain.facts import WorkloadName
from nightshift.domain.gates import GATES
from nightshift.domain.plan import GATE as PLAN_GATE
from nightshift.domain.policy import (
    AlertPolicy,
    ApiUsePolicy,
    CertificatePolicy,
    ClusterPolicy,
    CompatibilityPolicy,
    DiskPolicy,
    DrainPolicy,
    DriftPolicy,
    EtcdLatencyPolicy,
    EtcdStatePolicy,
    EvidencePolicy,
    LimitPolicy,
    NodePolicy,
    Override,
    RehearseWhen,
    Rule,
    SnapshotPolicy,
    TargetPolicy,
    WindowPolicy,
    WorkerPolicy,
)
from nightshift.domain.store_paths import require_store_url
from nightshift.domain.versions import Version, parse_minor

SCHEMA_NAME = "schema.json"
_SHIPPED = Path(__file__).resolve().parents[3] / "include" / "clusters"

_CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_KEY_LINE = re.compile(r"(?P<indent> *)(?P<key>[a-z_]+):(?: +(?P<value>\S.*))?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _substitute(value: object) -> object:
    """Replace ${NAME} and ${NAME:-default} from the environment; an unset one without default is an error."""

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = os.environ.get(name) or default
        if found is None:
            raise ValueError(f"environment variable {name} is not set and has no default (${{{name}:-…}})")
        return found

    if not isinstance(value, str):
        return value
    result = _VARIABLE.sub(replace, value)
    if "${" in result:
        raise ValueError("only ${NAME} and ${NAME:-default} are replaced")
    return result


def _keeps_no_secret(value: object) -> object:
    """Refuse a password that is written down in an address; one from the environment is none of this file's."""
    if isinstance(value, str) and _WRITTEN_PASSWORD.search(value):
        raise ValueError(
            "an address in this file holds a password; give the whole address by the environment, as ${NAME}, "
            "or a store the name of an Airflow connection in front of its bucket"
        )
    return value


def _is_release(text: str) -> str:
    Version.parse(text)
    return text


def _is_minor(text: str) -> str:
    parse_minor(text)
    return text


def _is_iso_date(value: object) -> object:
    """YAML reads 2026-12-24 as a date of its own; both forms are welcome."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return date.fromisoformat(value).isoformat()
    return value


def _as_moment(value: object) -> object:
    """Seconds since the epoch of an ISO date or time; one without an offset is UTC. YAML reads some of them itself."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return value


ConnectionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
_WRITTEN_PASSWORD = re.compile(r"://[^/@\s:]*:(?!\$\{)[^/@\s]*@")
# The last one is asked first, so a secret is looked for in what the file says.
Url = Annotated[
    str,
    BeforeValidator(_substitute),
    BeforeValidator(_keeps_no_secret),
    Field(pattern=r"^(https?://[^\s]+|\$\{.+)$"),
]
StoreUrl = Annotated[
    str,
    BeforeValidator(_substitute),
    BeforeValidator(_keeps_no_secret),
    AfterValidator(require_store_url),
    Field(min_length=1),
]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
IsoDate = Annotated[str, BeforeValidator(_is_iso_date)]
Moment = Annotated[
    float, BeforeValidator(_as_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
Minor = Annotated[str, AfterValidator(_is_minor)]
Release = Annotated[str, AfterValidator(_is_release)]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=150)]
PreflightCheck = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,63}$")]
Cron = Annotated[str, Field(pattern=r"^(@(hourly|daily|weekly|monthly)|\S+( \S+){4})$")]


class _Section(BaseModel):
    """Base of all sections: unknown keys are errors, and "yes" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TargetSection(_Section):
    """Which versions may be aimed at."""

    newest_minor: Minor | None = Field(None, description='Never go beyond this minor, e.g. "1.35".')
    pinned_version: Release | None = Field(None, description='Exactly this release, e.g. "1.34.4".')
    patch_first: bool = Field(
        TargetPolicy.patch_first, description="A newer patch of the running minor goes before the next minor."
    )
    package_repository: Url = Field(
        TargetPolicy.package_repository,
        description="Base address of the per-minor Debian repositories; /v<minor>/deb/ is appended. "
        "${NAME:-default} is replaced from the environment.",
    )

    @model_validator(mode="after")
    def _pin_fits_ceiling(self) -> TargetSection:
        if self.newest_minor and self.pinned_version:
            pinned = parse_minor(Version.parse(self.pinned_version).minor)
            if pinned > parse_minor(self.newest_minor):
                raise ValueError(
                    f"pinned_version {self.pinned_version} is beyond newest_minor {self.newest_minor}"
                )
        return self

    def to_policy(self) -> TargetPolicy:
        """Return the domain's form."""
        return TargetPolicy(**dict(self))


class WindowSection(_Section):
    """When mutating steps may start (UTC)."""

    start: ClockTime = Field(WindowPolicy.start, description='"HH:MM" UTC.')
    end: ClockTime = Field(
        WindowPolicy.end,
        description='"HH:MM" UTC; before start = next morning, equal to start = always open.',
    )
    frozen_dates: list[IsoDate] = Field(
        default_factory=list, description="UTC dates on which nothing starts."
    )

    def to_policy(self) -> WindowPolicy:
        """Return the domain's form."""
        return WindowPolicy(self.start, self.end, tuple(self.frozen_dates))


class EtcdLatencySection(_Section):
    """Thresholds of the etcd gate: a p99 bucket ending above the limit blocks."""

    window_seconds: int = Field(EtcdLatencyPolicy.window_seconds, ge=10, le=1800)
    longest_window_seconds: int = Field(
        EtcdLatencyPolicy.longest_window_seconds,
        ge=10,
        le=3600,
        description="A quiet etcd is watched up to this long, until minimum_samples are there.",
    )
    minimum_samples: int = Field(
        EtcdLatencyPolicy.minimum_samples, ge=20, le=100_000, description="Fewer observations are blind."
    )
    fsync_limit_seconds: float = Field(
        EtcdLatencyPolicy.fsync_limit_seconds, gt=0, le=1, description="WAL fsync."
    )
    commit_limit_seconds: float = Field(
        EtcdLatencyPolicy.commit_limit_seconds, gt=0, le=1, description="Backend commit."
    )
    apply_limit_seconds: float = Field(
        EtcdLatencyPolicy.apply_limit_seconds, gt=0, le=1, description="Apply."
    )
    active_probe: bool = Field(
        EtcdLatencyPolicy.active_probe,
        description="When a quiet etcd gives too few observations, change an annotation of Nightshift's own namespace "
        "5 times a second, so that there is something to measure.",
    )

    def to_policy(self) -> EtcdLatencyPolicy:
        """Return the domain's form."""
        return EtcdLatencyPolicy(**dict(self))


class EtcdStateSection(_Section):
    """How full etcd's database may be, in percent of its quota."""

    quota_warn_percent: float = Field(EtcdStatePolicy.quota_warn_percent, gt=0, le=100)
    quota_block_percent: float = Field(
        EtcdStatePolicy.quota_block_percent,
        gt=0,
        le=100,
        description="From here on no night begins; at 100 the cluster takes no more writes.",
    )

    def to_policy(self) -> EtcdStatePolicy:
        """Return the domain's form."""
        return EtcdStatePolicy(**dict(self))


class DiskSection(_Section):
    """Disk forecast against the kubelet's live thresholds."""

    margin_percent: float = Field(
        DiskPolicy.margin_percent, ge=0, le=30, description="Kept free below every threshold of the kubelet."
    )
    unpacked_factor: float = Field(
        DiskPolicy.unpacked_factor,
        ge=1,
        le=10,
        description="Bytes an image takes unpacked per byte downloaded; the download stays beside it.",
    )
    etcd_copies: int = Field(
        DiskPolicy.etcd_copies,
        ge=1,
        le=20,
        description="Copies of etcd's data that kubeadm may make in one night: one at every attempt.",
    )
    other_growth_bytes: int = Field(
        DiskPolicy.other_growth_bytes,
        ge=0,
        le=2**40,
        description="Logs, evidence and workloads of one night; images, packages and etcd are counted by themselves.",
    )
    scratch_retention_days: int = Field(
        DiskPolicy.scratch_retention_days,
        ge=1,
        le=365,
        description="kubeadm leftovers younger than this stay.",
    )

    def to_policy(self) -> DiskPolicy:
        """Return the domain's form."""
        return DiskPolicy(**dict(self))


class NodeSection(_Section):
    """How calm nodes must be before a night begins."""

    settle_seconds: int = Field(
        NodePolicy.settle_seconds, ge=0, le=3600, description="A node Ready for less than this blocks."
    )
    clock_limit_milliseconds: int = Field(
        NodePolicy.clock_limit_milliseconds,
        ge=50,
        le=60_000,
        description="Most that clocks of two nodes, or of a node and this host, may differ.",
    )

    def to_policy(self) -> NodePolicy:
        """Return the domain's form."""
        return NodePolicy(**dict(self))


class CertificateSection(_Section):
    """How long certificates must still be valid."""

    block_hours: int = Field(
        CertificatePolicy.block_hours, ge=1, le=720, description="One that expires within this blocks."
    )
    warn_leaf_days: int = Field(CertificatePolicy.warn_leaf_days, ge=0, le=3650)
    warn_ca_days: int = Field(CertificatePolicy.warn_ca_days, ge=0, le=3650)

    def to_policy(self) -> CertificatePolicy:
        """Return the domain's form."""
        return CertificatePolicy(**dict(self))


class ApiUseSection(_Section):
    """Which APIs must answer."""

    ignored_api_services: tuple[str, ...] = Field(
        ApiUsePolicy.ignored_api_services,
        strict=False,
        description='APIServices that may be unavailable, e.g. "v1beta1.metrics.k8s.io".',
    )

    def to_policy(self) -> ApiUsePolicy:
        """Return the domain's form."""
        return ApiUsePolicy(**dict(self))


class AlertSection(_Section):
    """Whose alerts keep a night from beginning or going on; without an address none are asked for."""

    prometheus_url: Url | None = Field(
        None, description="Prometheus, also for the rules' PromQL. ${NAME:-default} is replaced."
    )
    alertmanager_url: Url | None = Field(
        None, description="Alertmanager: knows what is silenced. ${NAME:-default} is replaced."
    )
    required: bool = Field(
        AlertPolicy.required, description="One that does not answer is blind; false: it warns."
    )
    severity_label: str = Field(AlertPolicy.severity_label, min_length=1)
    severities: tuple[str, ...] = Field(
        AlertPolicy.severities, strict=False, min_length=1, description="Values of that label that block."
    )
    ignore: tuple[str, ...] = Field(
        AlertPolicy.ignore, strict=False, description="Names of alerts that do not count."
    )
    own_prefixes: tuple[str, ...] = Field(
        AlertPolicy.own_prefixes,
        strict=False,
        description="Alerts whose names begin so are about Nightshift itself and do not count.",
    )

    @model_validator(mode="after")
    def _required_has_an_address(self) -> AlertSection:
        if self.required and not (self.prometheus_url or self.alertmanager_url):
            raise ValueError("required needs prometheus_url or alertmanager_url")
        return self

    def to_policy(self) -> AlertPolicy:
        """Return the domain's form."""
        return AlertPolicy(**dict(self))


def _is_cel(expression: str | None) -> str | None:
    """Refuse what is no CEL. Imported here: its grammar takes 0.15 s to load, and few clusters have such rules."""
    if expression is not None:
        from nightshift.clients.rules_cel import check_syntax

        check_syntax(expression)
    return expression


class RuleEntry(_Section):
    """A rule of the owner: PromQL with a result, or CEL that is true, keeps the night from going on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    promql: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Fires when its result is not empty (a number: when it is not 0)."
    )
    cel: Annotated[str | None, AfterValidator(_is_cel)] = Field(
        None, description="Fires when it is true. It sees cluster, nodes and target."
    )
    message: str = Field(min_length=1, description="What the report says when it fires.")
    outcome: Literal["block", "warn", "hold"] = Field(Rule.outcome)
    resolution: str = Field(Rule.resolution, description="What would make it stop firing.")

    @model_validator(mode="after")
    def _one_expression(self) -> RuleEntry:
        if (self.promql is None) == (self.cel is None):
            raise ValueError(f"rule {self.name} needs exactly one of promql and cel")
        return self

    def to_policy(self) -> Rule:
        """Return the domain's form."""
        return Rule(**dict(self))


class DriftSection(_Section):
    """Settings that run and that ConfigMap kubeadm-config lacks: the upgrade would take them away."""

    reconcile: Literal["upload-config", "block"] = Field(
        DriftPolicy.reconcile,
        description="upload-config: they are written into kubeadm-config before the first node is touched. block: the "
        "night does not begin while there are any.",
    )

    def to_policy(self) -> DriftPolicy:
        """Return the domain's form."""
        return DriftPolicy(**dict(self))


class DrainSection(_Section):
    """Eviction only; these limits bound the wait, they never force."""

    timeout_seconds: int = Field(DrainPolicy.timeout_seconds, ge=30, le=86_400)
    delete_emptydir_data: bool = Field(DrainPolicy.delete_emptydir_data)
    evict_unreplicated: bool = Field(
        DrainPolicy.evict_unreplicated,
        description='Evict bare pods even without the annotation nightshift.io/evict: "true".',
    )
    without_room: Literal["block", "warn"] = Field(
        DrainPolicy.without_room,
        description="What pods do that find no room elsewhere while their node is drained: block the night, or warn.",
    )

    def to_policy(self) -> DrainPolicy:
        """Return the domain's form."""
        return DrainPolicy(**dict(self))


class WorkerSection(_Section):
    """Shape of the worker waves; the first wave is one canary."""

    max_unavailable: int = Field(WorkerPolicy.max_unavailable, ge=1, le=100, description="Nodes at a time.")
    on_failure: Literal["quarantine", "stop"] = Field(
        WorkerPolicy.on_failure,
        description="What happens when a worker behind the canary cannot be drained, upgraded or verified.",
    )
    max_quarantined: int = Field(
        WorkerPolicy.max_quarantined, ge=1, le=100, description="One more in the same night stops it."
    )
    retry_quarantined: bool = Field(
        WorkerPolicy.retry_quarantined,
        description="Try them again in the next night, last. False: leave them out until a person drops the mark.",
    )
    waves: int = Field(WorkerPolicy.waves, ge=1, le=100, description="What does not fit continues tomorrow.")
    stage_at_once: int = Field(
        WorkerPolicy.stage_at_once,
        ge=1,
        le=100,
        description="Workers that fetch packages and images side by side; 1 when nodes share a disk with etcd.",
    )

    def to_policy(self) -> WorkerPolicy:
        """Return the domain's form."""
        return WorkerPolicy(**dict(self))


class QuiesceEntry(_Section):
    """A controller that is quiet while the control plane is upgraded."""

    kind: Literal["Deployment", "StatefulSet", "CronJob"]
    namespace: ObjectName
    name: ObjectName

    def to_policy(self) -> WorkloadName:
        """Return the domain's form."""
        return WorkloadName(self.kind, self.namespace, self.name)


class OverrideEntry(_Section):
    """An owner's word against one finding of one gate; never against what is unknown about etcd, quorum or target."""

    gate: str = Field(description="The gate's name, as in docs/gates.md.")
    code: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]{2,63}$", description="The finding's code, e.g. CERTIFICATE_EXPIRING."
    )
    reason: str = Field(
        min_length=10, max_length=300, description="Why you want to go on; every report says it."
    )
    person: str = Field(min_length=2, max_length=80, description="Who says so; every report says it.")
    until: Moment = Field(
        description="ISO date (its first second, UTC) or time with offset; it counts no more from then on."
    )

    @model_validator(mode="after")
    def _gate_is_known(self) -> OverrideEntry:
        known = sorted({*GATES, PLAN_GATE})
        if self.gate not in known:
            close = difflib.get_close_matches(self.gate, known, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]!r}?" if close else f"gates: {', '.join(known)}"
            raise ValueError(f"there is no gate {self.gate!r}; {hint}")
        return self

    @model_validator(mode="after")
    def _code_is_known(self) -> OverrideEntry:
        if self.code not in CODES:  # it would silently override nothing
            close = difflib.get_close_matches(self.code, sorted(CODES), n=1, cutoff=0.4)
            hint = f"did you mean {close[0]}?" if close else "docs/gates.md lists each gate's codes"
            raise ValueError(f"there is no code {self.code}; {hint}")
        return self

    def to_policy(self) -> Override:
        """Return the domain's form."""
        return Override(**dict(self))


class EvidenceSection(_Section):
    """How long incident reports and their evidence are kept; the ledger is kept for ever."""

    keep_days: int = Field(EvidencePolicy.keep_days, ge=1, le=3650, description="At least so long.")
    keep_runs: int = Field(
        EvidencePolicy.keep_runs,
        ge=1,
        le=1000,
        description="And at least of so many runs that left any, the newest, whatever their age.",
    )

    def to_policy(self) -> EvidencePolicy:
        """Return the domain's form."""
        return EvidencePolicy(**dict(self))


class SnapshotSection(_Section):
    """How long etcd's snapshots (with the PKI) stay in the store; each is as secret as the cluster's keys."""

    keep_days: int = Field(SnapshotPolicy.keep_days, ge=1, le=3650, description="At least so long.")
    keep_runs: int = Field(
        SnapshotPolicy.keep_runs,
        ge=3,  # a night that broke half-way keeps its way back while the next ones go on
        le=1000,
        description="And at least those of so many runs, the newest, whatever their age.",
    )

    def to_policy(self) -> SnapshotPolicy:
        """Return the domain's form."""
        return SnapshotPolicy(**dict(self))


class LimitSection(_Section):
    """Hard time limits of remote work and of leases, in seconds."""

    upgrade_manifests_seconds: int = Field(LimitPolicy.upgrade_manifests_seconds, ge=60, le=7200)
    kubeadm_job_seconds: int = Field(LimitPolicy.kubeadm_job_seconds, ge=300, le=28_800)
    package_job_seconds: int = Field(LimitPolicy.package_job_seconds, ge=60, le=14_400)
    snapshot_job_seconds: int = Field(LimitPolicy.snapshot_job_seconds, ge=60, le=14_400)
    rehearse_job_seconds: int = Field(LimitPolicy.rehearse_job_seconds, ge=60, le=14_400)
    snapshot_max_age_seconds: int = Field(LimitPolicy.snapshot_max_age_seconds, ge=60, le=86_400)
    lease_seconds: int = Field(LimitPolicy.lease_seconds, ge=30, le=3600)
    lease_renew_seconds: int = Field(LimitPolicy.lease_renew_seconds, ge=1, le=600)
    node_ready_seconds: int = Field(LimitPolicy.node_ready_seconds, ge=30, le=7200)
    expected_nodes: int = Field(
        LimitPolicy.expected_nodes,
        ge=1,
        le=5000,
        description="Tasks that visit all nodes, 16 at a time, have time for this many.",
    )

    @model_validator(mode="after")
    def _limits_fit_together(self) -> LimitSection:
        if self.lease_renew_seconds * 3 > self.lease_seconds:
            raise ValueError("lease_renew_seconds must be at most a third of lease_seconds")
        if self.upgrade_manifests_seconds >= self.kubeadm_job_seconds:
            raise ValueError("kubeadm_job_seconds must be more than upgrade_manifests_seconds")
        return self

    def to_policy(self) -> LimitPolicy:
        """Return the domain's form."""
        return LimitPolicy(**dict(self))


class CompatibilitySection(_Section):
    """Add-ons whose support of the target minor is to be known before a minor hop."""

    too_old: Literal["block", "warn"] = Field(
        CompatibilityPolicy.too_old,
        description="What an add-on does whose newer release would support the target minor.",
    )
    pinned: tuple[AddOnName, ...] = Field(
        (),
        strict=False,
        description="Add-ons that you keep at their version: one that does not support the target minor holds the night.",
    )
    addons: tuple[AddOnEntry, ...] = Field(
        (),
        strict=False,
        description="Your own entries, beside include/tables/addons.yaml; one of the same name replaces the shipped one.",
    )

    def to_policy(self) -> CompatibilityPolicy:
        """Return the domain's form."""
        return CompatibilityPolicy(self.too_old, self.pinned, tuple(addon.to_fact() for addon in self.addons))


class ClusterFile(_Section):
    """One cluster: what its owner allows and asks for. The file's name is the cluster's name."""

    kubernetes_connection: ConnectionId = Field(description="Airflow connection of type kubernetes.")
    ssh_connection: ConnectionId = Field(description="Airflow connection of type ssh, with pinned host_keys.")
    store: StoreUrl = Field(
        description="Where ledger, snapshots and evidence go: file:///path, or a URL of Airflow's object storage (s3, gs, abfs). "
        "${NAME:-default} is replaced from the environment."
    )
    pushgateway_url: Url | None = Field(
        None, description="Prometheus Pushgateway. ${NAME:-default} is replaced from the environment."
    )
    probe_image: str = Field(
        ClusterPolicy.probe_image, min_length=1, description="Image of the postflight probe pod."
    )
    accept_api_outage: bool = Field(
        ClusterPolicy.accept_api_outage,
        description="Clusters with fewer than 3 control planes are refused without.",
    )
    control_plane_slots: int = Field(ClusterPolicy.control_plane_slots, ge=1, le=9)
    ignored_preflight_checks: tuple[PreflightCheck, ...] = Field(
        ClusterPolicy.ignored_preflight_checks,
        strict=False,
        description="Errors of these kubeadm preflight checks count as warnings; every name hides a real finding.",
    )
    quiesce: tuple[QuiesceEntry, ...] = Field(
        (),
        strict=False,
        description="Deployments and StatefulSets without replicas, CronJobs suspended, from the first control-plane "
        "node's drain to the last one's end. Enrol again after a change: the right to do it is given by name.",
    )
    overrides: tuple[OverrideEntry, ...] = Field(
        (),
        strict=False,
        description="Findings of gates that an owner takes upon himself, each with reason, person and end. They become "
        "warnings, and every report shows them until they expire.",
    )
    rules: tuple[RuleEntry, ...] = Field(
        (),
        strict=False,
        description="The owner's own rules, asked with the gates; what they may see: docs/operations.md.",
    )
    rehearse: RehearseWhen = Field(
        ClusterPolicy.rehearse,
        description="Before which hops the target's API server is started in isolation, on tonight's snapshot.",
    )
    schedule: Cron | None = Field(ClusterPolicy.schedule, description="Cron in UTC, or null: by hand only.")
    readiness_schedule: Cron | None = Field(
        ClusterPolicy.readiness_schedule,
        description="Cron in UTC of readiness_<cluster>, which asks all gates by day and changes nothing; null: by hand only.",
    )
    target: TargetSection = Field(default_factory=TargetSection.model_construct)
    window: WindowSection = Field(default_factory=WindowSection.model_construct)
    etcd_latency: EtcdLatencySection = Field(default_factory=EtcdLatencySection.model_construct)
    etcd_state: EtcdStateSection = Field(default_factory=EtcdStateSection.model_construct)
    disk: DiskSection = Field(default_factory=DiskSection.model_construct)
    nodes: NodeSection = Field(default_factory=NodeSection.model_construct)
    certificates: CertificateSection = Field(default_factory=CertificateSection.model_construct)
    api_use: ApiUseSection = Field(default_factory=ApiUseSection.model_construct)
    alerts: AlertSection = Field(default_factory=AlertSection.model_construct)
    drift: DriftSection = Field(default_factory=DriftSection.model_construct)
    drain: DrainSection = Field(default_factory=DrainSection.model_construct)
    workers: WorkerSection = Field(default_factory=WorkerSection.model_construct)
    evidence: EvidenceSection = Field(default_factory=EvidenceSection.model_construct)
    snapshots: SnapshotSection = Field(default_factory=SnapshotSection.model_construct)
    limits: LimitSection = Field(default_factory=LimitSection.model_construct)
    compatibility: CompatibilitySection = Field(default_factory=CompatibilitySection.model_construct)

    @model_validator(mode="after")
    def _connections_are_two(self) -> ClusterFile:
        if self.kubernetes_connection.upper() == self.ssh_connection.upper():
            raise ValueError("kubernetes_connection and ssh_connection are one and the same")
        return self

    @model_validator(mode="after")
    def _quiesced_once(self) -> ClusterFile:
        twice = {str(e.to_policy()) for e in self.quiesce if self.quiesce.count(e) > 1}
        if twice:
            raise ValueError(f"quiesce names {', '.join(sorted(twice))} twice")
        return self

    @model_validator(mode="after")
    def _rules_can_be_asked(self) -> ClusterFile:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rules name {', '.join(twice)} twice")
        if any(rule.promql for rule in self.rules) and not self.alerts.prometheus_url:
            raise ValueError("rules with promql need alerts.prometheus_url")
        return self

    def to_policy(self, name: str) -> ClusterPolicy:
        """Return the domain's form."""
        values = {
            key: value.to_policy() if hasattr(value, "to_policy") else value
            for key, value in dict(self).items()
        }
        values["quiesce"] = tuple(entry.to_policy() for entry in self.quiesce)
        values["overrides"] = tuple(entry.to_policy() for entry in self.overrides)
        values["rules"] = tuple(entry.to_policy() for entry in self.rules)
        return ClusterPolicy(name=name, **values)


_SECTIONS = [name for name, field in ClusterFile.model_fields.items() if field.default_factory is not None]


class LoadedClusters(NamedTuple):
    """All clusters of a directory: one broken file must not take the other clusters' nights away."""

    policies: dict[str, ClusterPolicy]  # by cluster name
    errors: dict[str, ConfigError]  # by file name
    salvaged: dict[str, ClusterPolicy]  # by file name, of those errors whose file still names a cluster


def clusters_directory() -> Path:
    """Where the cluster YAMLs lie: NIGHTSHIFT_CLUSTERS, else the project's own include/clusters."""
    return Path(os.environ.get("NIGHTSHIFT_CLUSTERS") or _SHIPPED)


def load_cluster(path: Path) -> ClusterPolicy:
    """Read one cluster's file; its name without the suffix is the cluster's name.

    Raises:
        ConfigError: CONFIG_INVALID, naming file, line and - for an unknown key - the nearest valid one.
    """
    if _CLUSTER_NAME.fullmatch(path.stem) is None:
        raise _invalid(
            path, None, f"{path.stem!r} is no cluster name (a-z, 0-9, - and _, at most 63 characters)."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, None, f"The file cannot be read: {error}.") from error
    root = _compose(path, text)
    if not isinstance(root, yaml.MappingNode):
        raise _invalid(path, 1, "The file is not a mapping of keys to values.")
    _refuse_duplicates(path, root)
    try:
        return ClusterFile.model_validate(yaml.safe_load(text)).to_policy(path.stem)
    except ValidationError as error:
        problems = list(_problems(error, root))
        raise _invalid(path, problems[0][0], " ".join(f"line {n}: {said}" for n, said in problems)) from error


def load_clusters(directory: Path) -> LoadedClusters:
    """Read every `*.yaml` of the directory (not `*.yaml.sample`)."""
    policies: dict[str, ClusterPolicy] = {}
    errors: dict[str, ConfigError] = {}
    salvaged: dict[str, ClusterPolicy] = {}
    for path in sorted(directory.glob("*.yaml")):
        try:
            policies[path.stem] = load_cluster(path)
        except ConfigError as error:
            errors[path.name] = error
            if _CLUSTER_NAME.fullmatch(path.stem):
                salvaged[path.name] = salvage_cluster(path)
    return LoadedClusters(policies, errors, salvaged)


def require_own_connections(path: Path, policy: ClusterPolicy) -> None:
    """Refuse a cluster whose connections are another cluster's too: enrolling one would turn the other's nights to it.

    Raises:
        ConfigError: CONFIG_INVALID, naming both files.
    """
    others = connections_of_others(path)
    for name in (policy.kubernetes_connection, policy.ssh_connection):
        if name.upper() in others:
            raise ConfigError(
                "CONFIG_INVALID",
                f"{path} names the connection {name}, and so does {others[name.upper()]}; nothing was touched.",
                cause="One connection leads to one cluster: the nights of both files would be at the same one.",
                next_step="Give each cluster connections of its own, e.g. nightshift_CLUSTER_kubernetes and "
                "nightshift_CLUSTER_ssh.",
            )


def connections_of_others(path: Path) -> dict[str, str]:
    """Connections that the other clusters' files beside `path` name -> the file; in capitals, as variables have them."""
    found: dict[str, str] = {}
    for other in sorted(path.parent.glob("*.yaml")):
        if other.name == path.name or _CLUSTER_NAME.fullmatch(other.stem) is None:
            continue
        said = _read_somehow(other)
        names = (said.get("kubernetes_connection"), said.get("ssh_connection"))
        found.update((name.upper(), other.name) for name in names if isinstance(name, str))
    return found


def _read_somehow(path: Path) -> dict[str, Any]:
    """A file's keys; line by line when it is no YAML."""
    try:
        whole = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        whole = None
    return whole if isinstance(whole, dict) else _read_lines(path)


def salvage_cluster(path: Path) -> ClusterPolicy:
    """Return what can still be read of a file that `load_cluster` refuses; the shipped defaults for the rest.

    Enough to give a cluster back (connections) and to keep the shape of its DAG (slots, waves); never enough to
    touch a node. Read line by line, because the file may be no YAML at all.
    """
    usual = {
        "kubernetes_connection": f"nightshift_{path.stem}_kubernetes",
        "ssh_connection": f"nightshift_{path.stem}_ssh",
        "store": _usual_store(),
    }
    found = {**usual, **_read_lines(path)}
    while found != usual:  # every round takes away at least one value
        try:
            return ClusterFile.model_validate(found).to_policy(path.stem)
        except ValidationError as error:
            for problem in error.errors():
                _take_away(found, problem["loc"])
            found = {**usual, **found}
    return ClusterPolicy(path.stem, usual["kubernetes_connection"], usual["ssh_connection"], usual["store"])


def _usual_store() -> str:
    """NIGHTSHIFT_STORE, unless it is no address of a store itself."""
    try:
        return require_store_url(os.environ.get("NIGHTSHIFT_STORE", ""))
    except ValueError:
        return "file:///var/lib/nightshift/store"


def _read_lines(path: Path) -> dict[str, Any]:
    """Read every line `key: value`, in its section when it is indented; what is neither is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, Any] = {}
    section: dict[str, Any] = {}
    for match in filter(None, map(_KEY_LINE.fullmatch, lines)):
        try:
            value = yaml.safe_load(match["value"] or "")
        except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: 2026-02-30
            continue
        if match["indent"]:
            section[match["key"]] = value
        elif value is None and match["key"] in _SECTIONS:
            section = found[match["key"]] = {}
        else:
            found[match["key"]] = value
    return found


def _take_away(found: dict[str, Any], location: tuple[int | str, ...]) -> None:
    """Drop the value a validation error is about: the key itself, or the whole section."""
    top = str(location[0])
    if len(location) > 1 and isinstance(found.get(top), dict):
        found[top].pop(str(location[1]), None)
    else:
        found.pop(top, None)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a cluster file, for editors."""
    schema = ClusterFile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Nightshift cluster",
    }


def write_schema(directory: Path) -> Path:
    """Write the schema beside the cluster files, all or nothing; return its path."""
    path = directory / SCHEMA_NAME
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def _compose(path: Path, text: str) -> yaml.Node | None:
    """Parse into nodes, which know their lines."""
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise _invalid(path, line, f"It is not YAML: {getattr(error, 'problem', None) or error}.") from error
    return root


def _refuse_duplicates(path: Path, node: yaml.Node) -> None:
    """Refuse a key given twice: YAML libraries silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(path, item)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if str(key.value) in seen:
            raise _invalid(path, line, f"Key {key.value!r} was given before, in line {seen[str(key.value)]}.")
        seen[str(key.value)] = line
        _refuse_duplicates(path, value)


def _problems(error: ValidationError, root: yaml.MappingNode) -> Iterator[tuple[int, str]]:
    """Say each validation error with its line, in the order of the file."""
    said = []
    for problem in error.errors():
        location = problem["loc"]
        dotted = ".".join(str(part) for part in location)
        if problem["type"] == "extra_forbidden":
            text = f"unknown key {dotted!r}{_nearest(location)}."
        elif problem["type"] == "missing":
            text = f"key {dotted!r} is missing."
        else:
            # YAML reads an unquoted 23:00 as 1380 and 1.40 as 1.4.
            hint = "; write it in quotes" if problem["type"] == "string_type" else ""
            text = f"{dotted or 'the file'}: {problem['msg']} (it is {problem['input']!r}{hint})."
        said.append((_line_of(root, location), text))
    yield from sorted(said)


def _nearest(location: tuple[int | str, ...]) -> str:
    """Name the valid key that looks most like the unknown one."""
    model: type[BaseModel] = ClusterFile
    for part in location[:-1]:
        if isinstance(part, int):  # an item of a list, whose model is known already
            continue
        annotation = model.model_fields[part].annotation
        for found in (annotation, *get_args(annotation)):
            if isinstance(found, type) and issubclass(found, BaseModel):
                model = found
    close = difflib.get_close_matches(str(location[-1]), list(model.model_fields), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}" if close else f"; valid keys: {', '.join(model.model_fields)}"


def _line_of(root: yaml.Node, location: tuple[int | str, ...]) -> int:
    """Return the line of the deepest part of the location that is in the file."""
    node, line = root, root.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _invalid(path: Path, line: int | None, what: str) -> ConfigError:
    where = f"{path}:{line}" if line is not None else str(path)
    return ConfigError(
        "CONFIG_INVALID",
        f"{where}: {what}",
        cause="The cluster's YAML does not follow its schema.",
        next_step=f"Correct {path.name}; {SCHEMA_NAME} beside it lists every key with its bounds.",
    )


if __name__ == "__main__":
    sys.stdout.write(f"{write_schema(_SHIPPED)}\n")
