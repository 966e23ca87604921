"""Gate: is etcd fast enough to survive an upgrade, on every member, over the settle window?

kubeadm copies etcd's data, restarts it and then waits for the API server above it, so a slow disk turns an
upgrade into an outage. Judged per member from etcd's own histograms (WAL fsync, backend commit, apply), as
what happened *between two samples*: the p99 must fall into a bucket that ends at or below the limit.
Too few observations, a restart in the window or an unreadable member is *blind*, never *healthy*.

In the same window: two or more leader changes, or proposals that wait while none is committed, block; one leader
change, or five and more failed proposals, warn. A slow member is told with the device under its data and with what
else wrote to it at the moment of the second sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.etcd_device import describe_device, describe_writers
from nightshift.domain.facts import EtcdSample, HistogramSample
from nightshift.domain.facts.etcd import ETCD_DEVICE, EtcdDevice
from nightshift.domain.gates.etcd_counters import gained, judge_counters
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.histograms import HistogramDelta, delta
from nightshift.domain.policy import ClusterPolicy, EtcdLatencyPolicy
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.topics import ETCD_BEFORE, ETCD_NOW, NODES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "etcd_latency"
TITLE = "etcd latency"
NEEDS: tuple[AnyTopic, ...] = (NODES, ETCD_BEFORE, ETCD_NOW)
WANTS: tuple[AnyTopic, ...] = (ETCD_DEVICE,)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_QUANTILE = 0.99
_TOLERANCE = 1e-9  # bucket bounds are written in decimal and compared in binary
_RESTART_TOLERANCE_SECONDS = 1.0

# Field of EtcdSample -> what people and dashboards call it.
_METRICS = {
    "wal_fsync": "etcd_disk_wal_fsync_duration_seconds",
    "backend_commit": "etcd_disk_backend_commit_duration_seconds",
    "apply": "etcd_server_apply_duration_seconds",
}


@dataclass(frozen=True)
class _Reading:
    """One histogram of one member over the window."""

    member: str
    metric: str
    limit: float  # seconds
    gained: HistogramDelta

    @property
    def said(self) -> str:
        """The p99 bucket as text."""
        bucket = self.gained.quantile_bucket(_QUANTILE)
        return str(bucket) if bucket else "no observation"

    def is_slow(self, minimum_samples: int) -> bool:
        """Tell whether the p99 lies above the limit, even if all missing observations had been fast.

        A very slow disk also makes observations rare: without the padding it would only be "too few".
        """
        total = max(self.gained.count, minimum_samples)
        allowed = total - math.ceil(_QUANTILE * total)
        slow = sum(n for bucket, n in self.gained.buckets if bucket.upper > self.limit + _TOLERANCE)
        return slow > allowed


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Compare two samples per member."""
    limits, before, after = policy.etcd_latency, round_.by_node(ETCD_BEFORE), round_.by_node(ETCD_NOW)
    current = {node.name for node in round_.get(NODES)}
    members = sorted(
        set(before) & set(after) & current
    )  # on the others the gate is blind, which `judge` says
    devices = _devices(round_)
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    for member in members:
        old, new = before[member], after[member]
        readings = _readings(old, new, limits)
        evidence[member] = _evidence(old, new, readings, devices.get(member))
        findings.extend(
            _judge_state(old, new)
            or (*_judge_readings(member, readings, limits, devices.get(member)), *judge_counters(old, new))
        )
    if not any(node.is_control_plane for node in round_.get(NODES)):
        findings.append(_unreadable("any member", "before"))
    return conclude(
        NAME,
        findings,
        passed=f"etcd is fast enough on {', '.join(members)}: p99 {_said_by_metric(evidence)}.",
        value=_said_by_metric(evidence),
        threshold=", ".join(f"{name} {limit * 1000:.4g} ms" for name, limit in _limits(limits).items()),
        evidence=evidence,
    )


def continues(
    before: Mapping[str, EtcdSample], now: Mapping[str, EtcdSample], policy: EtcdLatencyPolicy
) -> bool:
    """Tell whether a window may begin at the earlier sample `before`: the same members, the same processes, not too old.

    It may not become longer than the policy's: in a longer one the fast observations of before would outnumber those of a
    disk that became slow a moment ago, and its last part cannot be judged alone, for nobody took a sample there.
    """
    if not before or set(before) != set(now):
        return False
    return all(_continues(before[member], now[member], policy) for member in before)


def _continues(old: EtcdSample, new: EtcdSample, policy: EtcdLatencyPolicy) -> bool:
    if _judge_state(old, new):
        return False
    return new.taken - old.taken <= policy.window_seconds


def _devices(round_: Round) -> Mapping[str, EtcdDevice]:
    """What is known about the devices: it explains a verdict and decides none."""
    try:
        return round_.by_node(ETCD_DEVICE)
    except NotRead:
        return {}


def _limits(policy: EtcdLatencyPolicy) -> dict[str, float]:
    return {
        "wal_fsync": policy.fsync_limit_seconds,
        "backend_commit": policy.commit_limit_seconds,
        "apply": policy.apply_limit_seconds,
    }


def _readings(old: EtcdSample, new: EtcdSample, policy: EtcdLatencyPolicy) -> dict[str, _Reading | None]:
    readings: dict[str, _Reading | None] = {}
    for name, limit in _limits(policy).items():
        first: HistogramSample | None = getattr(old, name)
        last: HistogramSample | None = getattr(new, name)
        gained = delta(first, last) if first and last else None
        readings[name] = _Reading(new.member, _METRICS[name], limit, gained) if gained else None
    return readings


def _judge_state(old: EtcdSample, new: EtcdSample) -> list[Finding]:
    """Findings that make the histograms meaningless: restart, stale sample, no leader."""
    if new.taken <= old.taken:
        return [_unreadable(new.member, "after", "The second sample is not newer than the first.")]
    if not abs(new.process_start - old.process_start) <= _RESTART_TOLERANCE_SECONDS:
        return [
            Finding(
                Outcome.BLIND,
                "ETCD_RESTARTED",
                f"etcd on {new.member} restarted within the window.",
                "Its process start time changed between the two samples.",
                "Find out why it restarted (kubelet journal, its previous log), let it run, and check again.",
            )
        ]
    if new.has_leader is None:
        return [_unreadable(new.member, "after", "It does not say whether it has a leader.")]
    if not new.has_leader:
        return [
            Finding(
                Outcome.BLOCK,
                "ETCD_NO_LEADER",
                f"etcd on {new.member} has no leader.",
                "The member lost its quorum or its peers.",
                "Bring the other members and the network between them back, then check again.",
                value="etcd_server_has_leader 0",
                threshold="1",
            )
        ]
    return []


def _judge_readings(
    member: str,
    readings: Mapping[str, _Reading | None],
    policy: EtcdLatencyPolicy,
    device: EtcdDevice | None,
) -> list[Finding]:
    findings: list[Finding] = []
    under = f" Its data lies on {describe_device(device)}. {describe_writers(device)}" if device else ""
    for name, reading in readings.items():
        if reading is None:
            why = f"{_METRICS[name]} is absent or was reset within the window."
            findings.append(_unreadable(member, "after", why))
        elif reading.is_slow(policy.minimum_samples):
            findings.append(_slow(reading, under))
            under = ""  # the same for all three: said once
        elif reading.gained.count < policy.minimum_samples or not _adds_up(reading.gained):
            findings.append(_too_few(reading, policy))
    return findings


def _adds_up(gained: HistogramDelta) -> bool:
    """Tell whether every counted observation is in a bucket (the last bucket must be +Inf)."""
    return math.isclose(sum(n for _, n in gained.buckets), gained.count)


def _slow(reading: _Reading, under: str) -> Finding:
    limit = f"{reading.limit * 1000:.4g} ms"
    return Finding(
        Outcome.BLOCK,
        "ETCD_SLOW",
        f"etcd on {reading.member} is slow: p99 of {reading.metric} lies in {reading.said}, "
        f"the limit is {limit} ({reading.gained.count:.0f} observations).{under}",
        "The disk under etcd answers late (contention, a failing or throttled device), or CPU is short.",
        "Find what uses the disk (iostat, pidstat -d), move it away or wait for it to end; "
        "the gate passes once the p99 bucket ends at or below the limit.",
        value=reading.said,
        threshold=limit,
    )


def _too_few(reading: _Reading, policy: EtcdLatencyPolicy) -> Finding:
    return Finding(
        Outcome.BLIND,
        "ETCD_TOO_FEW_SAMPLES",
        f"etcd on {reading.member}: {reading.gained.count:.0f} observations of {reading.metric} "
        f"in the window, {policy.minimum_samples} are needed for a p99.",
        "The window was too short, or the member hardly took part.",
        "Raise etcd_latency.longest_window_seconds, and look whether the member really gets the writes.",
        value=f"{reading.gained.count:.0f} observations",
        threshold=f"{policy.minimum_samples} observations",
    )


def _unreadable(member: str, when: str, why: str = "") -> Finding:
    moment = "at the start" if when == "before" else "at the end"
    return Finding(
        Outcome.BLIND,
        "ETCD_UNREADABLE",
        f"The metrics of etcd on {member} could not be read {moment} of the window.",
        why or "The node or its metrics endpoint (127.0.0.1:2381) did not answer.",
        "On the node: crictl ps --name etcd; curl http://127.0.0.1:2381/metrics. Then check again.",
    )


def _evidence(
    old: EtcdSample, new: EtcdSample, readings: Mapping[str, _Reading | None], device: EtcdDevice | None
) -> dict[str, Any]:
    return {
        "window_seconds": round(new.taken - old.taken, 1),
        "p99": {name: reading.said if reading else None for name, reading in readings.items()},
        "observations": {
            name: reading.gained.count if reading else None for name, reading in readings.items()
        },
        "slow_applies": gained(old.slow_apply_total, new.slow_apply_total),
        "leader_changes": gained(old.leader_changes_total, new.leader_changes_total),
        "proposals_failed": gained(old.proposals_failed_total, new.proposals_failed_total),
        "proposals_pending": new.proposals_pending,
        "is_leader": new.is_leader,
        "server_version": new.server_version,
        "db_size_bytes": new.db_size_bytes,
        "quota_bytes": new.quota_bytes,
        "device": describe_device(device) if device else None,
        "other_writers": describe_writers(device) if device else None,
        "io_pressure_percent": device.pressure_percent if device else None,
    }


def _said_by_metric(evidence: Mapping[str, Any]) -> str:
    """Say the p99 buckets: "cp1 wal_fsync 2-4 ms, …"."""
    parts: Sequence[str] = [
        f"{member} {name} {said}" for member, data in evidence.items() for name, said in data["p99"].items()
    ]
    return ", ".join(parts)
