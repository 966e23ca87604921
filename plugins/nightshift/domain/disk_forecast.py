"""How full each file system of a node will be during an upgrade, and how right the forecast was afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nightshift.domain.facts import KubeletThresholds, MountFacts, NodeFacts, NodeProbe
from nightshift.domain.facts.images import NodeImages, TargetImage
from nightshift.domain.policy import DiskPolicy
from nightshift.domain.quantities import parse_quantity

# What the node probe asks about, and which of the kubelet's file systems it is.
ROOT_PATH = "/"
IMAGE_PATHS = (
    "/var/lib/containerd",
    "/var/lib/containers",
)  # imagefs of containerd and of CRI-O; the probe has one
KUBELET_PATH = "/var/lib/kubelet"  # nodefs
ETCD_PATH = "/var/lib/etcd"
ETCD_LOG_PATH = "/var/lib/etcd/member/wal"  # asked about only where etcd was told to keep it elsewhere
SCRATCH_PATH = "/etc/kubernetes/tmp"  # kubeadm's copies of etcd's data
LOG_PATH = "/var/log"
STATE_PATH = "/var/lib/nightshift"  # staged packages, snapshot bundles

SIGNALS = {KUBELET_PATH: "nodefs"} | dict.fromkeys(IMAGE_PATHS, "imagefs")

# Packages of one version (kubeadm, kubelet, kubectl), measured on 1.35.4: 70 MB; two versions stay.
PACKAGE_BYTES = 72 * 10**6
# dpkg unpacks a package beside the one it replaces, and staging takes kubeadm out of its package: 75 MB each.
INSTALL_BYTES = 150 * 10**6
INODES_PER_IMAGE = 1500  # measured: 5,400 files for 15 images, nearly all of them kube-proxy's Debian
ETCD_LOG_BYTES = (
    2 * 64 * 2**20
)  # a restarted etcd cuts a segment of its log, and makes the next one beside it
SNAPSHOT_COPIES = 2  # of etcd's data while its snapshot is proven and packed


@dataclass(frozen=True)
class Growth:
    """One thing that will be written.

    Args:
        path: below which it is written, of those above.
        what: for people: "1.2 GiB of images".
        size_bytes: how much.
        stays: the part of it that is still there after a night without a retry.
        is_fetched: it comes over the network.
    """

    path: str
    what: str
    size_bytes: int
    stays: int
    is_fetched: bool = False


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade brings to every node.

    Args:
        images: the target's; empty when there is nothing to upgrade to.
        is_due: there is something to upgrade to, or nobody knows.
        package_version: "1.35.4-1.1"; None: not known.
        is_snapshot_due: etcd's snapshot of the night is still to be taken.
        bundles: node -> bytes of the snapshot that will stay there, uncompressed; empty when nobody knows which node takes it.
    """

    images: tuple[TargetImage, ...]
    is_due: bool
    package_version: str | None = None
    is_snapshot_due: bool = True
    bundles: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limit:
    """Highest share of a mount that may be used, in percent, and where that comes from."""

    percent: float
    source: str


@dataclass(frozen=True)
class Forecast:
    """One mount of one node during the upgrade, as far as it can be foreseen."""

    node: str
    mount: MountFacts
    paths: tuple[str, ...]
    growth: tuple[Growth, ...]
    limit: Limit
    is_judged: bool  # something grows here, the kubelet watches it, or it is etcd's
    inodes_needed: int
    directories: tuple[str, ...] = ()  # where `paths` lie on this node

    @property
    def growth_bytes(self) -> int:
        """All that is written, retries included."""
        return sum(part.size_bytes for part in self.growth)

    @property
    def fetched_bytes(self) -> int:
        """What comes over the network, as it lies on the disk."""
        return sum(part.size_bytes for part in self.growth if part.is_fetched)

    @property
    def stays_bytes(self) -> int:
        """What is still there after a night without a retry."""
        return sum(part.stays for part in self.growth)

    @property
    def used_bytes(self) -> int:
        """What is used now, reserved blocks included, as the kubelet counts."""
        return self.mount.size_bytes - self.mount.available_bytes

    @property
    def percent(self) -> float:
        """Used share after the growth, in percent."""
        return self.mount.used_percent + 100.0 * self.growth_bytes / max(self.mount.size_bytes, 1)

    @property
    def missing_bytes(self) -> int:
        """How much must be freed to get below the limit."""
        return max(0, round((self.percent - self.limit.percent) / 100.0 * self.mount.size_bytes))

    @property
    def room(self) -> float:
        """Percent left below the limit."""
        return self.limit.percent - self.percent

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data, for the verdict's evidence and `compare`."""
        return {
            "paths": list(self.directories),
            "now_percent": round(self.mount.used_percent, 1),
            "forecast_percent": round(self.percent, 1),
            "limit_percent": round(self.limit.percent, 1),
            "limit_source": self.limit.source,
            "growth_bytes": self.growth_bytes,
            "growth": {part.what: part.size_bytes for part in self.growth},
            "used_bytes": self.used_bytes,
            "after_bytes": self.used_bytes + self.stays_bytes,
        }


def thresholds_of(configz: Mapping[str, Any]) -> KubeletThresholds | None:
    """The disk part of a kubelet's live configuration; None when it is not what a kubelet says."""
    high, low = configz.get("imageGCHighThresholdPercent"), configz.get("imageGCLowThresholdPercent")
    if not isinstance(high, int | float) or not isinstance(low, int | float):
        return None
    hard, soft = configz.get("evictionHard") or {}, configz.get("evictionSoft") or {}
    if not isinstance(hard, Mapping) or not isinstance(soft, Mapping):
        return None
    return KubeletThresholds(float(high), float(low), _texts(hard), _texts(soft))


def _texts(values: Mapping[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


def parse_threshold(text: str, whole: int) -> float | None:
    """Read an eviction threshold ("10%", "1Gi", "500M") as percent of `whole`; None when it is neither."""
    try:
        if text.endswith("%"):
            return float(text[:-1])
        return 100.0 * float(parse_quantity(text)) / max(whole, 1)
    except ValueError:
        return None


def forecast_node(
    node: NodeFacts,
    probe: NodeProbe,
    limits: KubeletThresholds,
    images: NodeImages | None,
    upgrade: Upgrade,
    policy: DiskPolicy,
) -> list[Forecast]:
    """Forecast every file system of a node.

    Args:
        node: the node.
        probe: its mounts, and the size of etcd's data.
        limits: the live thresholds of its kubelet.
        images: what it has already; None: not known, everything counts as still to come.
        upgrade: what comes.
        policy: factor, copies, margin.
    """
    asked = {mount.path for mount in probe.mounts}
    images_at = image_path(asked)
    missing = [image for image in upgrade.images if _is_missing(node, images, image)]
    growth = list(_growth(node, probe, images, missing, upgrade, policy)) if upgrade.is_due else []
    forecasts = []
    for mount, paths, directories in _by_mount_point(probe.mounts):
        here = tuple(part for part in growth if _landing(part.path, asked) in paths and part.size_bytes > 0)
        inodes = INODES_PER_IMAGE * len(missing) if images_at in paths and upgrade.is_due else 0
        is_etcd = node.is_control_plane and not {ETCD_PATH, ETCD_LOG_PATH}.isdisjoint(paths)
        is_judged = bool(here) or is_etcd or any(path in SIGNALS for path in paths)
        limit = _limit(mount, paths, limits, policy)
        forecasts.append(Forecast(node.name, mount, paths, here, limit, is_judged, inodes, directories))
    return forecasts


def image_path(asked: Iterable[str]) -> str:
    """The one of the paths asked about under which the node's runtime keeps images; containerd's when there is none."""
    return next((path for path in asked if path in IMAGE_PATHS), IMAGE_PATHS[0])


def _landing(path: str, asked: Iterable[str]) -> str:
    """The path asked about that something written here falls under; what nobody asked about lies on the root."""
    return path if path in asked else ROOT_PATH


def _by_mount_point(
    mounts: Sequence[MountFacts],
) -> Iterator[tuple[MountFacts, tuple[str, ...], tuple[str, ...]]]:
    """Group the paths asked about, and where they really lie, by file system."""
    points = dict.fromkeys(mount.mount_point for mount in mounts)
    for point in points:
        here = [mount for mount in mounts if mount.mount_point == point]
        yield here[0], tuple(mount.path for mount in here), tuple(mount.where for mount in here)


def _is_missing(node: NodeFacts, images: NodeImages | None, image: TargetImage) -> bool:
    if not (node.is_control_plane or image.is_everywhere):
        return False
    return images is None or image.reference not in images.images


def download_bytes(missing: Iterable[TargetImage], images: NodeImages | None) -> int:
    """What a node would download of images it has not; a layer that it has, or that two of them share, counts once."""
    blobs = images.blobs if images else frozenset()
    layers: dict[str, int] = {}
    recorded = 0
    for image in missing:
        if image.layers is None:
            recorded += image.recorded_bytes
        else:
            layers |= image.layers
    return recorded + sum(size for digest, size in layers.items() if digest not in blobs)


def _growth(
    node: NodeFacts,
    probe: NodeProbe,
    images: NodeImages | None,
    missing: Sequence[TargetImage],
    upgrade: Upgrade,
    policy: DiskPolicy,
) -> Iterator[Growth]:
    # The blob stays in containerd's content store beside the unpacked snapshot.
    kept = round(download_bytes(missing, images) * (1 + policy.unpacked_factor))
    asked = {mount.path for mount in probe.mounts}
    yield Growth(image_path(asked), f"{len(missing)} images", kept, kept, is_fetched=True)
    if not (images and upgrade.package_version in images.packages):
        yield Growth(STATE_PATH, "packages", PACKAGE_BYTES, PACKAGE_BYTES, is_fetched=True)
    yield Growth(ROOT_PATH, "packages while they are installed", INSTALL_BYTES, 0)
    yield Growth(LOG_PATH, "logs and whatever else a night leaves", policy.other_growth_bytes, 0)
    if node.is_control_plane and ETCD_PATH in asked:
        path = ETCD_LOG_PATH if ETCD_LOG_PATH in asked else ETCD_PATH
        yield Growth(path, "the log of a restarted etcd", ETCD_LOG_BYTES, 0)
    if node.is_control_plane and probe.etcd_data_bytes:
        data = probe.etcd_data_bytes
        copies = f"{policy.etcd_copies} copies of etcd's data by kubeadm"
        yield Growth(SCRATCH_PATH, copies, policy.etcd_copies * data, data)
        if upgrade.is_snapshot_due:
            size, bundle = SNAPSHOT_COPIES * data, upgrade.bundles.get(node.name, 0)
            yield Growth(STATE_PATH, "the snapshot of etcd while it is proven", size, bundle)


def _limit(mount: MountFacts, paths: Sequence[str], limits: KubeletThresholds, policy: DiskPolicy) -> Limit:
    """Return the lowest limit that holds on this file system, the policy's margin already taken off."""
    margin = policy.margin_percent
    candidates = [Limit(100.0 - margin, f"a full disk minus {margin:g} % margin")]
    if image_path(paths) in paths:
        high = limits.image_gc_high_percent
        candidates.append(Limit(high - margin, f"image GC high {high:g} % minus {margin:g} % margin"))
    for path, file_system in SIGNALS.items():
        signal = f"{file_system}.available"
        for word, thresholds in (("eviction", limits.eviction_hard), ("soft eviction", limits.eviction_soft)):
            text = thresholds.get(signal) if path in paths else None
            free = parse_threshold(text, mount.size_bytes) if text is not None else None
            if free is not None:
                source = f"{word} {signal}<{text} minus {margin:g} % margin"
                candidates.append(Limit(100.0 - free - margin, source))
    return min(candidates, key=lambda limit: limit.percent)


def compare(
    forecast: Mapping[str, Mapping[str, Any]], probes: Mapping[str, NodeProbe]
) -> dict[str, dict[str, dict[str, float]]]:
    """How right the forecast was: {node: {mount: {forecast_bytes, used_bytes, error_percent}}}.

    Args:
        forecast: the disk gate's evidence before the night: node -> mount point -> `Forecast.to_dict`.
        probes: nodes that were upgraded, as they are now.

    The error is that of the use foreseen (without retries), in percent of the use found; above 0: too much was foreseen.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for node, probe in probes.items():
        said = forecast.get(node, {})
        for mount, _, _ in _by_mount_point(probe.mounts):
            if mount.mount_point in said:
                expected = int(said[mount.mount_point]["after_bytes"])
                used = mount.size_bytes - mount.available_bytes
                found.setdefault(node, {})[mount.mount_point] = {
                    "forecast_bytes": expected,
                    "used_bytes": used,
                    "error_percent": round(100.0 * (expected - used) / max(used, 1), 1),
                }
    return found
