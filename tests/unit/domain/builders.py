"""Facts of a small healthy cluster, to be changed by one field per test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nightshift.domain.facts import (
    BudgetFacts,
    EtcdSample,
    HistogramSample,
    KubeletThresholds,
    ManifestEntry,
    MountFacts,
    NodeFacts,
    NodeProbe,
    PodFacts,
    RunningProcess,
)
from nightshift.domain.gates import GATES
from nightshift.domain.gates.judging import judge
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment, Reading, Round, Unread
from nightshift.domain.verdicts import Verdict

POLICY = ClusterPolicy("lab", "kube", "ssh", "/store")
NOW = 1_000_000.0
AWAY = Unread("NODE_UNREACHABLE", "It did not answer.", "It is powered off.", "Start it.")

INF = float("inf")
DISK_BOUNDS = (*(0.001 * 2**n for n in range(14)), INF)
APPLY_BOUNDS = (*(0.0001 * 2**n for n in range(20)), INF)
GIB = 2**30


def node(name: str, version: str = "1.34.4", **changes: Any) -> NodeFacts:
    plain = NodeFacts(
        name=name,
        address="10.0.0.1",
        is_control_plane=name.startswith("cp"),
        kubelet_version=version,
        is_ready=True,
        is_unschedulable=False,
    )
    return replace(plain, **changes)


def components(version: str = "1.34.4", **changes: str) -> dict[str, str]:
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    return {**dict.fromkeys(names, version), "etcd": "3.6.5-0", **changes}


def histogram(bounds: tuple[float, ...], observations: dict[float, float] | None = None) -> HistogramSample:
    """Build a sample from observations per value in seconds."""
    seen = observations or {}
    buckets = tuple((bound, sum(n for value, n in seen.items() if value <= bound)) for bound in bounds)
    return HistogramSample(buckets, sum(seen.values()), sum(v * n for v, n in seen.items()))


def etcd(member: str = "cp1", taken: float = 0.0, **changes: Any) -> EtcdSample:
    plain = EtcdSample(
        member=member,
        taken=taken,
        process_start=-1000.0,
        wal_fsync=histogram(DISK_BOUNDS),
        backend_commit=histogram(DISK_BOUNDS),
        apply=histogram(APPLY_BOUNDS),
        slow_apply_total=0.0,
        leader_changes_total=1.0,
        has_leader=True,
        is_leader=True,
        server_version="3.6.5",
        db_size_bytes=1e7,
        quota_bytes=2e9,
        proposals_pending=0.0,
        proposals_committed=100.0,
        proposals_failed_total=3.0,
    )
    return replace(plain, **changes)


def etcd_after(
    fsync: dict[float, float] | None = None,
    commit: dict[float, float] | None = None,
    apply: dict[float, float] | None = None,
    **changes: Any,
) -> EtcdSample:
    """Build the second sample of a member; 200 fast observations wherever none are given."""
    fast = {0.003: 200.0}
    changed = {
        "taken": 60.0,
        "wal_fsync": histogram(DISK_BOUNDS, fsync or fast),
        "backend_commit": histogram(DISK_BOUNDS, commit or fast),
        "apply": histogram(APPLY_BOUNDS, apply or {0.0003: 200.0}),
        **changes,
    }
    return etcd(**changed)


def mount(path: str, used_percent: float = 40.0, size: int = 100 * GIB, **changes: Any) -> MountFacts:
    plain = MountFacts(
        path=path,
        mount_point="/",
        size_bytes=size,
        available_bytes=round(size * (1 - used_percent / 100)),
        inodes=1_000_000,
        inodes_free=900_000,
    )
    return replace(plain, **changes)


def thresholds(**changes: Any) -> KubeletThresholds:
    plain = KubeletThresholds(
        85.0,
        80.0,
        {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
        },
    )
    return replace(plain, **changes)


def manifest(component: str, **changes: Any) -> ManifestEntry:
    plain = ManifestEntry(
        name=f"{component}.yaml",
        kind="file",
        mode="600",
        owner="root:root",
        size_bytes=4000,
        modified=0.0,
        sha256="0",
        pod_name=component,
        pod_namespace="kube-system",
        command=(component, "--v=2"),
        image=f"registry.k8s.io/{component}:v1.34.4",
    )
    return replace(plain, **changes)


CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


def probe(name: str = "cp1", **changes: Any) -> NodeProbe:
    is_control_plane = name.startswith("cp")
    running = CONTROL_PLANE if is_control_plane else ()
    paths = ["/", "/var/lib/containerd", "/var/lib/kubelet"]
    if is_control_plane:
        paths += ["/var/lib/etcd", "/etc/kubernetes/tmp"]
    plain = NodeProbe(
        node=name,
        boot_id="b",
        clock=1_000_000.0,
        kubelet_version="1.34.4",
        kubeadm_version="1.34.4",
        kubectl_version="1.34.4",
        mounts=tuple(mount(path) for path in paths),
        manifests=tuple(manifest(c) for c in running),
        processes=tuple(RunningProcess(c, i + 10, (c, "--v=2")) for i, c in enumerate(running)),
        scratch=(),
        etcd_data_bytes=GIB if is_control_plane else None,
        kubeadm_pids=(),
        jobs=(),
        token=0,
    )
    return replace(plain, **changes)


def pod(name: str = "web-1", **changes: Any) -> PodFacts:
    plain = PodFacts(
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        phase="Running",
        controller="ReplicaSet/web",
        controller_kind="ReplicaSet",
        is_mirror=False,
        is_terminating=False,
        has_emptydir=False,
        labels={"app": "web"},
    )
    return replace(plain, **changes)


def budget(name: str = "web", **changes: Any) -> BudgetFacts:
    plain = BudgetFacts(
        namespace="default",
        name=name,
        selector={"matchLabels": {"app": "web"}},
        disruptions_allowed=1,
        current_healthy=3,
        desired_healthy=2,
        expected_pods=3,
    )
    return replace(plain, **changes)


def round_of(
    *, moment: Moment = Moment.NIGHT, nodes_ahead: tuple[str, ...] = (), taken: float = NOW, **facts: Any
) -> Round:
    """A round with these facts by topic; in a mapping by node, None is a node that did not answer."""
    readings = {}
    for name, value in facts.items():
        silent: list[str] = []
        if isinstance(value, Mapping):
            silent = [node for node, fact in value.items() if fact is None]
            value = {node: fact for node, fact in value.items() if fact is not None}
        readings[name] = Reading(taken, value=value, problems=dict.fromkeys(silent, AWAY))
    return Round(moment, NOW, readings, nodes_ahead)


def judged(gate: str, policy: ClusterPolicy = POLICY, **facts: Any) -> Verdict:
    """What the gate says to `round_of(**facts)`."""
    return judge(GATES[gate], round_of(**facts), policy)
