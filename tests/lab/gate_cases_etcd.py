"""etcd: slow, contended, unreadable, alarmed, a member away."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

# A window too short for the minimum of observations: what there is must be slow enough to need no more.
_SHORT = {"etcd_latency": {"window_seconds": 20, "longest_window_seconds": 20}}
# More observations than any etcd of the lab makes in that time.
_NEVER_ENOUGH = {
    "etcd_latency": {"window_seconds": 20, "longest_window_seconds": 20, "minimum_samples": 100_000}
}
_DOWN_IN_HA = {
    "etcd_state": "block",
    "static_pods": "block",  # its manifest is away
    "api_use": "blind",  # the node's API server knows no other etcd
}

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="etcd-slow",
        faults=(("etcd-slow", "300", "cp1"),),
        gate="etcd_latency",
        outcome="block",
        code="ETCD_SLOW",
        words=("cp1", "etcd_disk_wal_fsync_duration_seconds", "128 ms", "/dev/loop"),
    ),
    GateCase(
        name="etcd-slow-with-idle-traffic",
        faults=(("etcd-slow", "900", "cp1"),),
        gate="etcd_latency",
        outcome="block",
        code="ETCD_SLOW",
        words=("cp1", "128 ms"),
        policy=_SHORT,
    ),
    GateCase(
        name="etcd-slow-on-one-of-three",
        faults=(("etcd-slow", "160", "cp2"),),  # above the limit, and its API server still counts as ready
        gate="etcd_latency",
        outcome="block",
        code="ETCD_SLOW",
        words=("etcd on cp2 is slow",),
        profile="ha",
    ),
    GateCase(
        name="disk-contended",
        faults=(("disk-contended", "cp1"),),
        gate="etcd_latency",
        outcome="block",
        code="ETCD_SLOW",
        words=("cp1", "python3", "nslab-disk-contended.service", "MiB/s"),
    ),
    GateCase(
        name="etcd-too-quiet",
        faults=(),
        gate="etcd_latency",
        outcome="blind",
        code="ETCD_TOO_FEW_SAMPLES",
        words=("cp1", "100000 are needed"),
        policy=_NEVER_ENOUGH,
    ),
    GateCase(
        name="etcd-metrics-cut",
        faults=(("etcd-metrics-cut", "cp1"),),
        gate="etcd_latency",
        outcome="blind",
        code="ETCD_METRICS_UNREADABLE",
        words=("cp1",),
    ),
    GateCase(
        name="etcd-alarm-nospace",
        faults=(("etcd-alarm-nospace", "cp1"),),
        gate="etcd_state",
        outcome="block",
        code="ETCD_ALARM",
        words=("NOSPACE", "cp1"),
        no_window="nothing is written any more: etcd has nothing to show, and after 10 s schedulers and controllers end",
    ),
    GateCase(
        name="etcd-quota-near",
        faults=(),
        gate="etcd_state",
        outcome="block",
        code="ETCD_QUOTA_NEAR",
        words=("cp1", "2048 MiB", "0.01 %"),
        policy={"etcd_state": {"quota_warn_percent": 0.01, "quota_block_percent": 0.01}},
    ),
    GateCase(
        name="member-down",
        faults=(("member-down", "cp2"),),
        gate="quorum",
        outcome="block",
        code="QUORUM_AT_RISK",
        words=("cp2 is missing", "2 of 3 are needed"),
        dependants=_DOWN_IN_HA,
        profile="ha",
        no_window="without its API server the node's kubelet is missed after 40 s, and its controller manager ends again and again",
    ),
    GateCase(
        name="outage-not-accepted",
        faults=(),
        gate="quorum",
        outcome="block",
        code="API_OUTAGE_NOT_ACCEPTED",
        words=("1 control-plane node", "accept_api_outage"),
        policy={"accept_api_outage": False},
    ),
)
