"""etcd's own metrics text to one `EtcdSample`. What is absent or not a number becomes None, never zero."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from nightshift.domain.facts import EtcdSample, HistogramSample

_FSYNC = "etcd_disk_wal_fsync_duration_seconds"
_COMMIT = "etcd_disk_backend_commit_duration_seconds"
_APPLY = "etcd_server_apply_duration_seconds"
_GAUGES = (
    "process_start_time_seconds",
    "etcd_server_slow_apply_total",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_has_leader",
    "etcd_server_is_leader",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_server_quota_backend_bytes",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total",
)
_VERSION = "etcd_server_version"
_WANTED = (_FSYNC, _COMMIT, _APPLY, *_GAUGES, _VERSION)


def parse_etcd_metrics(text: str, member: str, taken: float) -> EtcdSample | None:
    """Read one member's metrics.

    Args:
        text: Prometheus text format.
        member: node name.
        taken: when it was read, seconds since the epoch.

    Returns:
        None when this is not etcd's metrics at all (empty, an error page, half a text).
    """
    try:
        samples = _samples(text)
    except ValueError:
        return None
    values = {name: _number(samples.get(name, ())) for name in _GAUGES}
    started = values["process_start_time_seconds"]
    if started is None:
        return None
    version = next((s.labels.get("server_version") for s in samples.get(_VERSION, ()) if s.value == 1), None)
    return EtcdSample(
        member=member,
        taken=taken,
        process_start=started,
        wal_fsync=_histogram(_FSYNC, samples),
        backend_commit=_histogram(_COMMIT, samples),
        apply=_histogram(_APPLY, samples),
        slow_apply_total=values["etcd_server_slow_apply_total"],
        leader_changes_total=values["etcd_server_leader_changes_seen_total"],
        has_leader=_flag(values["etcd_server_has_leader"]),
        is_leader=_flag(values["etcd_server_is_leader"]),
        server_version=version,
        db_size_bytes=values["etcd_mvcc_db_total_size_in_bytes"],
        quota_bytes=values["etcd_server_quota_backend_bytes"],
        proposals_pending=values["etcd_server_proposals_pending"],
        proposals_committed=values["etcd_server_proposals_committed_total"],
        proposals_failed_total=values["etcd_server_proposals_failed_total"],
    )


def _samples(text: str) -> dict[str, list[Sample]]:
    """Samples by name, only of the families asked for: the whole text has thousands of lines."""
    kept = "\n".join(line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(_WANTED))
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(kept + "\n"):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def _histogram(name: str, samples: dict[str, list[Sample]]) -> HistogramSample | None:
    """One histogram, its label sets (apply: by version, operation, success) added up."""
    buckets: dict[float, float] = {}
    for sample in samples.get(f"{name}_bucket", ()):
        bound = float(sample.labels.get("le", "nan"))
        buckets[bound] = buckets.get(bound, 0.0) + sample.value
    count = sum(s.value for s in samples.get(f"{name}_count", ()))
    total = sum(s.value for s in samples.get(f"{name}_sum", ()))
    if not buckets or any(map(math.isnan, (*buckets, *buckets.values(), count, total))):
        return None
    return HistogramSample(buckets=tuple(sorted(buckets.items())), count=count, total_seconds=total)


def _number(samples: Iterable[Sample]) -> float | None:
    """The value of a metric without labels; NaN is "unknown"."""
    value = next((s.value for s in samples), None)
    return None if value is None or math.isnan(value) else float(value)


def _flag(value: float | None) -> bool | None:
    """0/1 gauge."""
    return None if value is None else value == 1
