"""Whatever becomes worse on a node, and nothing else: no file system of it comes out with more room, and no block is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.unit.domain.builders import GIB, mount, node, probe, round_of

from nightshift.domain.disk_forecast import (
    ETCD_PATH,
    SCRATCH_PATH,
    Forecast,
    Upgrade,
    forecast_node,
    thresholds_of,
)
from nightshift.domain.facts import MountFacts
from nightshift.domain.facts.images import NodeImages, TargetImage, TargetImages
from nightshift.domain.gates import disk_usage
from nightshift.domain.policy import ClusterPolicy, DiskPolicy
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome

MB = 10**6
VERSION = "1.35.4-1.1"
TARGET = TargetChoice(TargetKind.MINOR, "to 1.35.4", "1.35.4", VERSION, "1.35", "1.34.4", ("cp1", "w1"))
PATHS = (
    "/",
    "/boot",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    ETCD_PATH,
    SCRATCH_PATH,
    "/var/log",
    "/var/lib/nightshift",
)
BLOBS = [f"sha256:{number}" for number in range(6)]
unhurried = settings(deadline=None, max_examples=300)  # the machine is shared


@dataclass(frozen=True)
class Case:
    """All that a node's forecast depends on."""

    name: str
    mounts: tuple[MountFacts, ...]
    etcd_bytes: int
    images: tuple[TargetImage, ...]
    here: NodeImages
    is_snapshot_due: bool
    policy: DiskPolicy
    high: int
    soft: int
    hard: int

    def live(self) -> dict[str, object]:
        """The kubelet's configuration."""
        hard = {f"{fs}.available": f"{self.hard}%" for fs in ("nodefs", "imagefs")}
        hard |= {f"{fs}.inodesFree": "5%" for fs in ("nodefs", "imagefs")}
        soft = {"nodefs.available": f"{self.soft}%"}
        return {
            "imageGCHighThresholdPercent": self.high,
            "imageGCLowThresholdPercent": 1,
            "evictionHard": hard,
            "evictionSoft": soft,
        }

    def forecasts(self) -> dict[str, Forecast]:
        """By mount point."""
        limits = thresholds_of(self.live())
        assert limits is not None
        found = probe(self.name, mounts=self.mounts, etcd_data_bytes=self.etcd_bytes)
        upgrade = Upgrade(self.images, True, VERSION, self.is_snapshot_due)
        said = forecast_node(node(self.name), found, limits, self.here, upgrade, self.policy)
        return {forecast.mount.mount_point: forecast for forecast in said}

    def outcome(self) -> Outcome:
        """What the gate says, before the night."""
        facts = {
            "nodes": (node(self.name),),
            "probes": {self.name: probe(self.name, mounts=self.mounts, etcd_data_bytes=self.etcd_bytes)},
            "configz": {self.name: self.live()},
            "target": TARGET,
            "target_images": TargetImages(self.images),
            "node_images": {self.name: self.here},
        }
        policy = ClusterPolicy("lab", "k", "s", "file:///s", disk=self.policy)
        return disk_usage.check(round_of(**facts), policy).outcome


@st.composite
def mounts(draw: st.DrawFn) -> tuple[MountFacts, ...]:
    """Each path on the root, or on a file system of its own."""
    points = {path: path if draw(st.booleans()) else "/" for path in PATHS}
    disks = {
        point: (draw(st.integers(5, 500)) * GIB, draw(st.integers(0, 98)), draw(st.integers(60_000, 900_000)))
        for point in sorted(set(points.values()))
    }
    return tuple(
        mount(path, used, size, mount_point=point, inodes_free=inodes)
        for path, point in points.items()
        for size, used, inodes in [disks[point]]
    )


# A digest names its content: a layer has the same size in whichever images it is.
SIZES = st.fixed_dictionaries({blob: st.integers(1, 400).map(lambda n: n * MB) for blob in BLOBS})


def _images_of(sizes: dict[str, int]) -> st.SearchStrategy[list[TargetImage]]:
    layers = st.sets(st.sampled_from(BLOBS), min_size=1).map(
        lambda blobs: {b: sizes[b] for b in sorted(blobs)}
    )
    return st.lists(
        st.builds(
            TargetImage,
            name=st.just("i"),
            reference=st.sampled_from(["r/a:1", "r/b:1", "r/c:1"]),
            is_everywhere=st.booleans(),
            recorded_bytes=st.integers(1, 400).map(lambda n: n * MB),
            layers=st.none() | layers,
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda image: image.reference,
    )


CASES = st.builds(
    Case,
    name=st.sampled_from(["cp1", "w1"]),
    mounts=mounts(),
    etcd_bytes=st.integers(1, 8 * GIB),
    images=SIZES.flatmap(_images_of).map(tuple),
    here=st.builds(
        NodeImages,
        images=st.frozensets(st.sampled_from(["r/a:1", "r/b:1", "r/c:1"])),
        blobs=st.frozensets(st.sampled_from(BLOBS)),
        packages=st.sampled_from([frozenset(), frozenset({VERSION})]),
    ),
    is_snapshot_due=st.booleans(),
    policy=st.builds(
        DiskPolicy,
        margin_percent=st.integers(0, 10).map(float),
        unpacked_factor=st.integers(0, 60).map(lambda tenths: tenths / 10),
        etcd_copies=st.integers(1, 5),
        other_growth_bytes=st.integers(0, 5 * GIB),
    ),
    high=st.integers(50, 100),
    soft=st.integers(0, 30),
    hard=st.integers(0, 30),
)


def _fuller(case: Case, much: int, point: str) -> Case:
    taken = much * MB
    changed = tuple(
        replace(m, available_bytes=m.available_bytes - taken) if m.mount_point == point else m
        for m in case.mounts
    )
    return replace(case, mounts=changed)


def _fewer_inodes(case: Case, much: int, point: str) -> Case:
    changed = tuple(
        replace(m, inodes_free=m.inodes_free - much) if m.mount_point == point else m for m in case.mounts
    )
    return replace(case, mounts=changed)


def _new_layer(case: Case, much: int, point: str) -> Case:
    first, *others = case.images
    new = {**(first.layers or {}), "sha256:new": much * MB}
    return replace(case, images=(replace(first, layers=new), *others) if first.layers else case.images)


def _new_image(case: Case, much: int, point: str) -> Case:
    return replace(case, images=(*case.images, TargetImage("n", "r/n:1", True, much * MB)))


def _policy(**grown: Callable[[DiskPolicy, int], float]) -> Callable[[Case, int, str], Case]:
    return lambda case, much, point: replace(
        case, policy=replace(case.policy, **{name: grow(case.policy, much) for name, grow in grown.items()})
    )


WORSE: dict[str, Callable[[Case, int, str], Case]] = {
    "a file system is fuller": _fuller,
    "it has fewer inodes": _fewer_inodes,
    "an image has one layer more": _new_layer,
    "one image more comes": _new_image,
    "no image is there": lambda case, *_: replace(case, here=replace(case.here, images=frozenset())),
    "no blob is there": lambda case, *_: replace(case, here=replace(case.here, blobs=frozenset())),
    "no package is there": lambda case, *_: replace(case, here=replace(case.here, packages=frozenset())),
    "etcd has more data": lambda case, much, _: replace(case, etcd_bytes=case.etcd_bytes + much * MB),
    "the snapshot is due": lambda case, *_: replace(case, is_snapshot_due=True),
    "kubeadm may try again": _policy(etcd_copies=lambda policy, _: policy.etcd_copies + 1),
    "images unpack to more": _policy(unpacked_factor=lambda policy, much: policy.unpacked_factor + much / 10),
    "a night leaves more": _policy(
        other_growth_bytes=lambda policy, much: policy.other_growth_bytes + much * MB
    ),
    "the margin is wider": _policy(margin_percent=lambda policy, _: policy.margin_percent + 1),
    "image GC begins earlier": lambda case, *_: replace(case, high=case.high - 1),
    "soft eviction begins earlier": lambda case, *_: replace(case, soft=case.soft + 1),
    "eviction begins earlier": lambda case, *_: replace(case, hard=case.hard + 1),
}
TINY = 1e-9  # percent; limits are computed in floats


@pytest.mark.no_cover  # many examples of what other tests cover
@unhurried
@given(case=CASES, worse=st.sampled_from(sorted(WORSE)), much=st.integers(1, 400), data=st.data())
def test_what_becomes_worse_is_never_forecast_better(
    case: Case, worse: str, much: int, data: st.DataObject
) -> None:
    point = data.draw(st.sampled_from(sorted({m.mount_point for m in case.mounts})))
    changed = WORSE[worse](case, much, point)
    before, after = case.forecasts(), changed.forecasts()
    assert set(after) == set(before)
    for name, old in before.items():
        new = after[name]
        assert new.percent >= old.percent - TINY, (worse, name)
        assert new.room <= old.room + TINY, (worse, name)
        assert new.growth_bytes >= old.growth_bytes, (worse, name)
        assert new.inodes_needed >= old.inodes_needed, (worse, name)
        assert new.is_judged or not old.is_judged, (worse, name)
    if case.outcome() is Outcome.BLOCK:
        event("it blocks")
        assert changed.outcome() is Outcome.BLOCK, worse


@pytest.mark.no_cover  # many examples of what other tests cover
@unhurried
@given(case=CASES, much=st.integers(1, 400), data=st.data())
def test_each_cause_is_felt_on_its_own_file_system(case: Case, much: int, data: st.DataObject) -> None:
    """Not only never better: what is sure to write more shows as more, where it is written, and nowhere else."""
    case = replace(case, name="cp1", here=NodeImages(), is_snapshot_due=False)
    point = {m.path: m.mount_point for m in case.mounts}
    copies, image = case.policy.etcd_copies * much * MB, round(much * MB * (1 + case.policy.unpacked_factor))
    for worse, path, size in (
        ("etcd has more data", SCRATCH_PATH, copies),
        ("one image more comes", "/var/lib/containerd", image),
        ("a night leaves more", "/var/log", much * MB),
    ):
        before, after = case.forecasts(), WORSE[worse](case, much, "/").forecasts()
        grown = {name: after[name].growth_bytes - before[name].growth_bytes for name in before}
        assert abs(grown[point[path]] - size) <= 1, worse  # one byte of rounding
        assert all(more == 0 for name, more in grown.items() if name != point[path]), worse
