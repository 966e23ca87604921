"""Gate: would any mount overflow the kubelet's own limits during the upgrade?

Forecast per node and mount: used now + images, packages and logs of one upgrade (root and container storage)
+ one copy of etcd's data where kubeadm puts it (/etc/kubernetes/tmp, control plane only). Compared with the
*live* thresholds of that kubelet - image garbage collection and hard eviction - minus the policy's margin:
beyond them the kubelet deletes images or evicts pods in the middle of the upgrade. Asked before the night only: later,
what it foresees is there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.facts import KubeletThresholds, MountFacts, NodeFacts, NodeProbe
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy, DiskPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.topics import CONFIGZ, NODES, PROBES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "disk_usage"
TITLE = "Disk forecast"
NEEDS: tuple[AnyTopic, ...] = (NODES, PROBES, CONFIGZ)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT})

# What the node probe asks about, and which of the kubelet's file systems it is.
ROOT_PATH = "/"
IMAGE_PATH = "/var/lib/containerd"  # imagefs
KUBELET_PATH = "/var/lib/kubelet"  # nodefs
ETCD_PATH = "/var/lib/etcd"
SCRATCH_PATH = "/etc/kubernetes/tmp"  # kubeadm's copies of etcd's data

_SIGNALS = {KUBELET_PATH: "nodefs", IMAGE_PATH: "imagefs"}
_UNITS = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|K|M|G|T)?")
_GIB = 2**30


@dataclass(frozen=True)
class _Limit:
    """Highest share of a mount that may be used, in percent, and where that comes from."""

    percent: float
    source: str


@dataclass(frozen=True)
class _Forecast:
    """One mount of one node after the upgrade, as far as it can be foreseen."""

    node: str
    mount: MountFacts
    paths: tuple[str, ...]
    growth_bytes: int
    growth_text: str
    limit: _Limit

    @property
    def percent(self) -> float:
        """Used share after the growth, in percent."""
        return self.mount.used_percent + 100.0 * self.growth_bytes / max(self.mount.size_bytes, 1)

    @property
    def missing_bytes(self) -> int:
        """How much must be freed to get below the limit."""
        return max(0, round((self.percent - self.limit.percent) / 100.0 * self.mount.size_bytes))


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Forecast every mount of every node."""
    nodes, probes, configs = round_.get(NODES), round_.by_node(PROBES), round_.by_node(CONFIGZ)
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    fullest: _Forecast | None = None
    for node in nodes:
        if node.name not in probes or node.name not in configs:  # blind on that node, which `judge` says
            continue
        probe, limits = probes[node.name], kubelet_thresholds(configs[node.name])
        problem = _blind_problem(node, probe, limits)
        if problem or limits is None:
            findings.append(_blind(node.name, problem))
            continue
        forecasts = list(_forecasts(node, probe, limits, policy.disk))
        evidence[node.name] = {f.mount.mount_point: _describe(f) for f in forecasts}
        findings.extend(_overflow(f) for f in forecasts if f.percent > f.limit.percent)
        findings.extend(_inode_findings(node.name, probe, limits, policy.disk))
        for forecast in forecasts:
            if fullest is None or _room(forecast) < _room(fullest):
                fullest = forecast
    if not nodes:
        findings.append(_blind("the cluster", "No node is known."))
    said, against = (_value(fullest), _threshold(fullest)) if fullest else ("", "")
    return conclude(
        NAME,
        findings,
        passed=f"Every mount stays below the kubelets' limits; the fullest would be {said}, limit {against}.",
        value=said,
        threshold=against,
        evidence=evidence,
    )


def kubelet_thresholds(config: Mapping[str, Any]) -> KubeletThresholds | None:
    """The disk part of a kubelet's live configuration; None when it is not what a kubelet says."""
    high, low = config.get("imageGCHighThresholdPercent"), config.get("imageGCLowThresholdPercent")
    if not isinstance(high, int | float) or not isinstance(low, int | float):
        return None
    hard = config.get("evictionHard") or {}
    if not isinstance(hard, Mapping):
        return None
    return KubeletThresholds(float(high), float(low), {str(k): str(v) for k, v in hard.items()})


def _blind_problem(node: NodeFacts, probe: NodeProbe, limits: KubeletThresholds | None) -> str:
    """Say what is not known about this node's disks; "" when all is."""
    if limits is None:
        return "The kubelet's live configuration (configz) names no thresholds."
    asked = {mount.path for mount in probe.mounts if mount.size_bytes > 0}
    needed = [ROOT_PATH, IMAGE_PATH, KUBELET_PATH]
    if node.is_control_plane:
        needed.append(SCRATCH_PATH)
    missing = [path for path in needed if path not in asked]
    if missing:
        return f"No file system size is known for {', '.join(missing)}."
    if node.is_control_plane and ETCD_PATH in asked and probe.etcd_data_bytes is None:
        return "The size of etcd's data directory is not known."
    unparsable = [
        f"{signal}={text}"
        for signal, text in limits.eviction_hard.items()
        if signal.partition(".")[0] in _SIGNALS.values() and parse_threshold(text, 1) is None
    ]
    return f"The eviction threshold {', '.join(unparsable)} could not be understood." if unparsable else ""


def parse_threshold(text: str, whole: int) -> float | None:
    """Read an eviction threshold ("10%", "1Gi", "500M") as percent of `whole`; None when it is neither."""
    if text.endswith("%"):
        try:
            return float(text[:-1])
        except ValueError:
            return None
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    return 100.0 * float(match[1]) * _UNITS[match[2] or ""] / max(whole, 1)


def _forecasts(
    node: NodeFacts, probe: NodeProbe, limits: KubeletThresholds, policy: DiskPolicy
) -> Iterator[_Forecast]:
    for mount, paths in _by_mount_point(probe.mounts):
        growth, text = _growth(node, probe, paths, policy)
        yield _Forecast(node.name, mount, paths, growth, text, _limit(mount, paths, limits, policy))


def _by_mount_point(mounts: Sequence[MountFacts]) -> Iterator[tuple[MountFacts, tuple[str, ...]]]:
    """Group the paths asked about by the file system they lie on."""
    points = dict.fromkeys(mount.mount_point for mount in mounts)
    for point in points:
        here = [mount for mount in mounts if mount.mount_point == point]
        yield here[0], tuple(mount.path for mount in here)


def _growth(node: NodeFacts, probe: NodeProbe, paths: Sequence[str], policy: DiskPolicy) -> tuple[int, str]:
    """Foresee how much this file system grows, in bytes, and by what."""
    growth, parts = 0, []
    if ROOT_PATH in paths or IMAGE_PATH in paths:
        growth += policy.expected_growth_bytes
        parts.append(f"{_gib(policy.expected_growth_bytes)} for images, packages and logs")
    if node.is_control_plane and SCRATCH_PATH in paths and probe.etcd_data_bytes:
        growth += probe.etcd_data_bytes
        parts.append(f"{_gib(probe.etcd_data_bytes)} for kubeadm's copy of etcd")
    return growth, " + ".join(parts)


def _limit(mount: MountFacts, paths: Sequence[str], limits: KubeletThresholds, policy: DiskPolicy) -> _Limit:
    """Return the lowest limit that holds on this file system, the policy's margin already taken off."""
    margin = policy.margin_percent
    candidates = [_Limit(100.0 - margin, f"a full disk minus {margin:g} % margin")]
    if IMAGE_PATH in paths:
        high = limits.image_gc_high_percent
        candidates.append(_Limit(high - margin, f"image GC high {high:g} % minus {margin:g} % margin"))
    for path, file_system in _SIGNALS.items():
        signal = f"{file_system}.available"
        text = limits.eviction_hard.get(signal)
        free = parse_threshold(text, mount.size_bytes) if path in paths and text is not None else None
        if free is not None:
            source = f"eviction {signal}<{text} minus {margin:g} % margin"
            candidates.append(_Limit(100.0 - free - margin, source))
    return min(candidates, key=lambda limit: limit.percent)


def _inode_findings(
    node: str, probe: NodeProbe, limits: KubeletThresholds, policy: DiskPolicy
) -> Iterator[Finding]:
    """Compare free inodes with the kubelet's eviction thresholds; file systems without inode tables say 0."""
    for mount in probe.mounts:
        file_system = _SIGNALS.get(mount.path)
        if file_system is None or mount.inodes == 0:
            continue
        signal = f"{file_system}.inodesFree"
        text = limits.eviction_hard.get(signal, "0%")
        needed = (parse_threshold(text, mount.inodes) or 0.0) + policy.margin_percent
        free = 100.0 * mount.inodes_free / mount.inodes
        if free < needed:
            yield Finding(
                Outcome.BLOCK,
                "DISK_INODES_LOW",
                f"{node}: {mount.mount_point} has {free:.1f} % of its inodes free, "
                f"below {needed:.1f} % (eviction {signal}<{text} plus {policy.margin_percent:g} % margin).",
                "Very many small files, usually old images, logs or job leftovers.",
                f"Remove them on {node} (find which with: du --inodes -xd2 {mount.mount_point} | sort -n).",
                value=f"{free:.1f} % inodes free",
                threshold=f"{needed:.1f} %",
            )


def _overflow(forecast: _Forecast) -> Finding:
    mount = forecast.mount
    growth = f" + {forecast.growth_text}" if forecast.growth_text else ""
    return Finding(
        Outcome.BLOCK,
        "DISK_WOULD_FILL",
        f"{forecast.node}: {mount.mount_point} would be {forecast.percent:.1f} % full "
        f"(now {mount.used_percent:.1f} %{growth}), limit {_threshold(forecast)}.",
        f"{mount.mount_point} ({', '.join(forecast.paths)}) has {_gib(mount.available_bytes)} of "
        f"{_gib(mount.size_bytes)} available.",
        f"Free at least {_gib(forecast.missing_bytes)} on {mount.mount_point} of {forecast.node} "
        "(crictl rmi --prune, old logs, /etc/kubernetes/tmp) or enlarge it.",
        value=f"{forecast.percent:.1f} %",
        threshold=_threshold(forecast),
    )


def _blind(node: str, why: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "DISK_UNKNOWN",
        f"The disks of {node} could not be judged: {why}",
        why,
        "Make the node readable (enrolment, SSH, kubelet on port 10250), then check again.",
    )


def _describe(forecast: _Forecast) -> dict[str, Any]:
    return {
        "paths": list(forecast.paths),
        "now_percent": round(forecast.mount.used_percent, 1),
        "forecast_percent": round(forecast.percent, 1),
        "growth_bytes": forecast.growth_bytes,
        "limit_percent": round(forecast.limit.percent, 1),
        "limit_source": forecast.limit.source,
    }


def _room(forecast: _Forecast) -> float:
    return forecast.limit.percent - forecast.percent


def _value(forecast: _Forecast) -> str:
    return f"{forecast.node} {forecast.mount.mount_point} {forecast.percent:.1f} %"


def _threshold(forecast: _Forecast) -> str:
    return f"{forecast.limit.percent:.1f} % ({forecast.limit.source})"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.2f} GiB"
