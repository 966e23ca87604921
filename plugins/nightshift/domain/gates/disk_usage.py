"""Gate: would any file system overflow the kubelet's own limits during the upgrade?

Forecast per node and mount: used now + what the upgrade writes there. Images: the layers that this node has not yet, by the
sizes in the registry's manifests, once as downloaded and once unpacked; sizes that nobody tells are recorded ones, and the
evidence says so. Packages, while they are staged and installed. On control planes kubeadm's copies of etcd's data, one for
every attempt it may take, the log that a restarted etcd allocates, and before the night the snapshot while it is proven.
Logs by the policy. A node on which all of it lies ready already is counted without it. Where images and etcd's data lie,
the container runtime and etcd say themselves.

It *blocks* when that goes beyond the live thresholds of that kubelet (image garbage collection, hard and soft eviction) minus
the policy's margin, in bytes or in inodes: there the kubelet deletes images or evicts pods in the middle of the upgrade.
Etcd's own file system may be full up to that margin. A mount on which nothing grows, which no kubelet watches and on which
etcd has nothing is judged by its inodes only, and its bytes are shown. Before a slot or wave only the nodes behind it count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nightshift.domain.disk_forecast import (
    ETCD_PATH,
    IMAGE_PATHS,
    KUBELET_PATH,
    ROOT_PATH,
    SCRATCH_PATH,
    SIGNALS,
    Forecast,
    Upgrade,
    forecast_node,
    image_path,
    parse_threshold,
    thresholds_of,
)
from nightshift.domain.facts import KubeletThresholds, NodeFacts, NodeProbe
from nightshift.domain.facts.etcd import ETCD, EtcdState
from nightshift.domain.facts.images import NODE_IMAGES, TARGET_IMAGES, NodeImages
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy, DiskPolicy
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.target import TargetKind
from nightshift.domain.target_images import ALL_NAMES, images_of
from nightshift.domain.topics import CONFIGZ, NODES, PROBES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "disk_usage"
TITLE = "Disk forecast"
NEEDS: tuple[AnyTopic, ...] = (NODES, PROBES, CONFIGZ)
WANTS: tuple[AnyTopic, ...] = (TARGET, TARGET_IMAGES, NODE_IMAGES, ETCD)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_GIB = 2**30


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Forecast every mount of every node."""
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    fetched: dict[str, int] = {}
    fullest: Forecast | None = None
    nodes = [n for n in round_.get(NODES) if round_.moment is Moment.NIGHT or n.name in round_.nodes_ahead]
    upgrade, assumed = _upgrade(round_, policy)
    probes, configs, present = round_.by_node(PROBES), round_.by_node(CONFIGZ), _present(round_)
    for node in nodes:
        if node.name not in probes or node.name not in configs:
            continue  # a silent node; whoever asks this gate says so
        probe, limits = probes[node.name], thresholds_of(configs[node.name])
        problem = _blind_problem(node, probe, limits)
        if problem or limits is None:
            findings.append(_blind(node.name, problem))
            continue
        forecasts = forecast_node(node, probe, limits, present.get(node.name), upgrade, policy.disk)
        evidence[node.name] = {f.mount.mount_point: f.to_dict() for f in forecasts}
        fetched[node.name] = sum(forecast.fetched_bytes for forecast in forecasts)
        judged = [forecast for forecast in forecasts if forecast.is_judged]
        findings.extend(_overflow(f) for f in judged if f.percent > f.limit.percent)
        findings.extend(found for f in forecasts for found in _inode_findings(f, limits, policy.disk))
        for forecast in judged:
            if fullest is None or forecast.room < fullest.room:
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
        evidence={
            "forecast": evidence,
            "fetched_bytes": fetched,
            **({"sizes_assumed": assumed} if assumed else {}),
        },
    )


def _upgrade(round_: Round, policy: ClusterPolicy) -> tuple[Upgrade, str]:
    """What comes, and why some sizes are recorded ones ("" when none is)."""
    target = round_.find(TARGET)
    if target is not None and target.kind is TargetKind.NONE:
        return Upgrade((), is_due=False), ""
    found = round_.find(TARGET_IMAGES)
    images, problem = (
        (found.images, found.problem)
        if found
        else (images_of((), ALL_NAMES, policy.probe_image), "the registry was not asked")
    )
    is_night = round_.moment is Moment.NIGHT  # later tonight's snapshot lies on the node already
    package_version = target.package_version if target else None
    return Upgrade(images, True, package_version, is_night, _bundles(round_) if is_night else {}), problem


def _bundles(round_: Round) -> Mapping[str, int]:
    """The node that the snapshot will be taken from, as `steps.snapshot` chooses it, and the size of its database."""
    try:
        etcd = round_.by_node(ETCD)
    except NotRead:
        return {}
    members = [(n.name, etcd.get(n.name, EtcdState("silent")).status) for n in round_.get(NODES)]
    led = [(name, status) for name, status in members if status and status.leader_id]
    led.sort(key=lambda one: one[1].leader_id == one[1].member_id)  # a follower rather than the leader
    return {name: status.database_bytes for name, status in led[:1]}


def _present(round_: Round) -> Mapping[str, NodeImages]:
    try:
        return round_.by_node(NODE_IMAGES)
    except NotRead:
        return {}


def _blind_problem(node: NodeFacts, probe: NodeProbe, limits: KubeletThresholds | None) -> str:
    """Say what is not known about this node's disks; "" when all is."""
    if limits is None:
        return "The kubelet's live configuration (configz) names no thresholds."
    asked = {mount.path for mount in probe.mounts if mount.size_bytes > 0}
    needed = [ROOT_PATH, image_path(mount.path for mount in probe.mounts), KUBELET_PATH]
    if node.is_control_plane:
        needed.append(SCRATCH_PATH)
    if node.is_control_plane and any(process.name == "etcd" for process in probe.processes):
        needed.append(ETCD_PATH)
    missing = [path for path in needed if path not in asked]
    if missing:
        return f"No file system size is known for {', '.join(missing)}."
    if node.is_control_plane and ETCD_PATH in asked and probe.etcd_data_bytes is None:
        return "The size of etcd's data directory is not known."
    unparsable = [
        f"{signal}={text}"
        for signal, text in [*limits.eviction_hard.items(), *limits.eviction_soft.items()]
        if signal.partition(".")[0] in SIGNALS.values() and parse_threshold(text, 1) is None
    ]
    return f"The eviction threshold {', '.join(unparsable)} could not be understood." if unparsable else ""


def _inode_findings(forecast: Forecast, limits: KubeletThresholds, policy: DiskPolicy) -> Iterator[Finding]:
    """Compare the inodes that will be free with the kubelet's thresholds; file systems without inode tables say 0."""
    mount = forecast.mount
    if mount.inodes == 0:
        return
    free = 100.0 * (mount.inodes_free - forecast.inodes_needed) / mount.inodes
    needed, source = _inodes_wanted(forecast, limits)
    needed += policy.margin_percent
    if free < needed:
        now = 100.0 * mount.inodes_free / mount.inodes
        yield Finding(
            Outcome.BLOCK,
            "DISK_INODES_LOW",
            f"{forecast.node}: {mount.mount_point} would have {free:.1f} % of its inodes free (now {now:.1f} %), "
            f"below {needed:.1f} % ({source} plus {policy.margin_percent:g} % margin).",
            "Very many small files, usually old images, logs or job leftovers.",
            f"Remove them on {forecast.node} (find which with: du --inodes -xd2 {mount.mount_point} | sort -n).",
            value=f"{free:.1f} % inodes free",
            threshold=f"{needed:.1f} %",
        )


def _inodes_wanted(forecast: Forecast, limits: KubeletThresholds) -> tuple[float, str]:
    """The largest share of free inodes that any threshold asks for here, in percent."""
    wanted = [(0.0, "none left")]
    for path, file_system in SIGNALS.items():
        signal = f"{file_system}.inodesFree"
        for word, thresholds in (("eviction", limits.eviction_hard), ("soft eviction", limits.eviction_soft)):
            if path in forecast.paths and signal in thresholds:
                text = thresholds[signal]
                wanted.append(
                    (parse_threshold(text, forecast.mount.inodes) or 0.0, f"{word} {signal}<{text}")
                )
    return max(wanted, key=lambda one: one[0])


def _overflow(forecast: Forecast) -> Finding:
    mount = forecast.mount
    growth = "".join(f" + {_gib(part.size_bytes)} for {part.what}" for part in forecast.growth)
    return Finding(
        Outcome.BLOCK,
        "DISK_WOULD_FILL",
        f"{forecast.node}: {mount.mount_point} would be {forecast.percent:.1f} % full "
        f"(now {mount.used_percent:.1f} %{growth}), limit {_threshold(forecast)}.",
        f"{mount.mount_point} ({', '.join(forecast.directories)}) has {_gib(mount.available_bytes)} of "
        f"{_gib(mount.size_bytes)} available.",
        f"Free at least {_gib(forecast.missing_bytes)} on {mount.mount_point} of {forecast.node} "
        f"({_remedy(forecast)}) or enlarge it.",
        value=f"{forecast.percent:.1f} %",
        threshold=_threshold(forecast),
    )


def _remedy(forecast: Forecast) -> str:
    """What can be removed on this file system."""
    remedies = {
        **dict.fromkeys(IMAGE_PATHS, "crictl rmi --prune"),
        ROOT_PATH: "old logs",
        SCRATCH_PATH: "old copies in /etc/kubernetes/tmp",
    }
    return (
        ", ".join(text for path, text in remedies.items() if path in forecast.paths)
        or "whatever is not needed"
    )


def _blind(node: str, why: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "DISK_UNKNOWN",
        f"The disks of {node} could not be judged: {why}",
        why,
        "Make the node readable (enrolment, SSH, kubelet on port 10250), then check again.",
    )


def _value(forecast: Forecast) -> str:
    return f"{forecast.node} {forecast.mount.mount_point} {forecast.percent:.1f} %"


def _threshold(forecast: Forecast) -> str:
    return f"{forecast.limit.percent:.1f} % ({forecast.limit.source})"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.2f} GiB"
