from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import GIB, mount, node, probe, round_of
from tests.unit.domain.etcd_builders import status

from nightshift.domain.disk_forecast import (
    ETCD_LOG_BYTES,
    INSTALL_BYTES,
    PACKAGE_BYTES,
    compare,
    download_bytes,
    parse_threshold,
)
from nightshift.domain.facts import NodeProbe
from nightshift.domain.facts.etcd import EtcdState, EtcdStatus
from nightshift.domain.facts.images import (
    NodeImages,
    TargetImage,
    TargetImages,
)
from nightshift.domain.gates import GATES, disk_usage
from nightshift.domain.gates.judging import judge
from nightshift.domain.policy import ClusterPolicy, DiskPolicy
from nightshift.domain.round import Moment
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome, Verdict

MB = 10**6
TO_135 = TargetChoice(TargetKind.MINOR, "to 1.35.4", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", ("cp1", "w1"))
NOTHING = TargetChoice(TargetKind.NONE, "nothing")
EVICTION = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
LIVE = {"imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 80, "evictionHard": EVICTION}
# On a worker: 250 MB as downloaded make 1000 MB; with packages, their installation and logs a bit more than 1.3 GiB.
PROXY = TargetImage(
    "kube-proxy", "r/kube-proxy:v1.35.4", True, 64 * MB, {"sha256:base": 50 * MB, "sha256:p": 200 * MB}
)
ETCD = TargetImage("etcd", "r/etcd:3.6.6-0", False, 25 * MB, {"sha256:base": 50 * MB, "sha256:e": 100 * MB})
IMAGES = TargetImages((PROXY, ETCD))
WORKER_BYTES = 4 * 250 * MB + PACKAGE_BYTES + INSTALL_BYTES + DiskPolicy().other_growth_bytes


def policy(**changes: Any) -> ClusterPolicy:
    return ClusterPolicy("lab", "k", "s", "file:///s", disk=replace(DiskPolicy(), **changes))


def check(
    found: NodeProbe | None,
    live: Mapping[str, Any] | None = LIVE,
    images: NodeImages | None = None,
    target: TargetChoice = TO_135,
    sizes: TargetImages | None = IMAGES,
    **changes: Any,
) -> Verdict:
    """The verdict on one node, as the round asks for it."""
    name = found.node if found else "w1"
    facts: dict[str, Any] = {
        "nodes": (node(name),),
        "probes": {} if found is None else {name: found},
        "configz": {} if live is None else {name: live},
        "target": target,
        "node_images": {name: images} if images else {},
    }
    if sizes is not None:
        facts["target_images"] = sizes
    return judge(GATES["disk_usage"], round_of(**facts), policy(**changes))


def worker(used_percent: float, size: int = 100 * GIB, **changes: Any) -> NodeProbe:
    paths = ("/", "/var/lib/containerd", "/var/lib/kubelet")
    return probe("w1", mounts=tuple(mount(p, used_percent, size, **changes) for p in paths))


def at_edge(free_more: int) -> NodeProbe:
    """A worker of 100 GiB with so much more room than the forecast takes: image GC 85 % - 2 % leaves 83 %."""
    plain = worker(0.0)
    free = 17 * GIB + WORKER_BYTES + free_more
    return replace(plain, mounts=tuple(replace(m, available_bytes=free) for m in plain.mounts))


def test_a_roomy_node_passes_and_exactly_at_the_limit_too() -> None:
    assert check(worker(40.0)).outcome is Outcome.PASS
    assert check(at_edge(0)).outcome is Outcome.PASS
    assert check(at_edge(-1)).outcome is Outcome.BLOCK


def test_a_block_names_node_mount_number_growth_limit_and_remedy() -> None:
    verdict = check(worker(84.0))
    assert verdict.code == "DISK_WOULD_FILL"
    assert (
        "w1: / would be 85.4 % full (now 84.0 % + 0.93 GiB for 1 images + 0.07 GiB for packages"
        in verdict.message
    )
    assert "83.0 % (image GC high 85 % minus 2 % margin)" in verdict.message
    assert "Free at least 2.39 GiB on / of w1 (crictl rmi --prune, old logs)" in verdict.resolution
    assert verdict.value == "85.4 %"


def test_layers_that_are_here_or_shared_are_not_downloaded() -> None:
    assert download_bytes([PROXY, ETCD], None) == 350 * MB
    assert download_bytes([PROXY], NodeImages(blobs=frozenset({"sha256:base"}))) == 200 * MB
    assert download_bytes([replace(PROXY, layers=None)], NodeImages()) == 64 * MB


def test_where_everything_is_staged_images_and_packages_count_nothing() -> None:
    staged = NodeImages(frozenset({"r/kube-proxy:v1.35.4"}), packages=frozenset({"1.35.4-1.1"}))
    saved = 4 * 250 * MB + PACKAGE_BYTES
    assert check(at_edge(-saved), images=staged).outcome is Outcome.PASS
    assert check(at_edge(-saved - 1), images=staged).outcome is Outcome.BLOCK
    older = replace(staged, packages=frozenset({"1.34.4-1.1"}))
    assert check(at_edge(-saved), images=older).outcome is Outcome.BLOCK


def test_nothing_grows_when_there_is_nothing_to_upgrade_to() -> None:
    assert check(at_edge(-WORKER_BYTES), target=NOTHING).outcome is Outcome.PASS
    assert check(at_edge(-WORKER_BYTES - 1), target=NOTHING).outcome is Outcome.BLOCK


def test_sizes_that_nobody_tells_are_recorded_ones_and_that_is_written_down() -> None:
    untold = TargetImages((replace(PROXY, layers=None),), "kube-proxy: no registry answers")
    verdict = check(worker(40.0), sizes=untold)
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["sizes_assumed"] == "kube-proxy: no registry answers"
    assert verdict.evidence["forecast"]["w1"]["/"]["growth"]["1 images"] == 4 * 64 * MB
    assert check(worker(40.0), sizes=None).evidence["sizes_assumed"] == "the registry was not asked"
    assert "sizes_assumed" not in check(worker(40.0)).evidence


def test_the_live_thresholds_decide() -> None:
    def live(**changes: Any) -> dict[str, Any]:
        return {**LIVE, **changes}

    assert check(worker(70.0), live(imageGCHighThresholdPercent=70)).outcome is Outcome.BLOCK
    assert (
        "eviction nodefs.available<40%"
        in check(worker(70.0), live(evictionHard={"nodefs.available": "40%"})).message
    )
    quantity = live(evictionHard={"imagefs.available": "30Gi"})
    assert "imagefs.available<30Gi" in check(worker(70.0), quantity).message
    soft = live(evictionSoft={"nodefs.available": "40%"})
    assert "soft eviction nodefs.available<40%" in check(worker(70.0), soft).message
    unset = live(imageGCHighThresholdPercent=100, evictionHard={})
    assert check(worker(90.0), unset).outcome is Outcome.PASS
    assert "a full disk" in check(worker(97.5), unset).message


def test_growth_and_margin_come_from_the_policy() -> None:
    for change in (
        {"other_growth_bytes": 20 * GIB},
        {"margin_percent": 20.0},
        {"unpacked_factor": 100.0},
    ):
        assert check(worker(70.0)).outcome is Outcome.PASS
        assert check(worker(70.0), **change).outcome is Outcome.BLOCK, change


def test_etcd_is_copied_at_every_attempt_and_twice_for_its_snapshot() -> None:
    full = tuple(replace(m, available_bytes=30 * GIB) for m in probe("cp1").mounts)  # 70 % used, limit 83 %
    assert check(probe("cp1", mounts=full, etcd_data_bytes=2 * GIB)).outcome is Outcome.PASS  # 10 GiB
    verdict = check(probe("cp1", mounts=full, etcd_data_bytes=3 * GIB))  # 15 GiB
    assert verdict.outcome is Outcome.BLOCK
    assert "9.00 GiB for 3 copies of etcd's data by kubeadm" in verdict.message
    assert "6.00 GiB for the snapshot of etcd" in verdict.message
    fewer = check(probe("cp1", mounts=full, etcd_data_bytes=3 * GIB), etcd_copies=1)
    assert fewer.outcome is Outcome.PASS


def test_in_front_of_a_slot_the_nights_snapshot_lies_there_already() -> None:
    full = tuple(replace(m, available_bytes=30 * GIB) for m in probe("cp1").mounts)  # 70 % used, limit 83 %
    facts: dict[str, Any] = {
        "nodes": (node("cp1"),),
        "probes": {
            "cp1": probe("cp1", mounts=full, etcd_data_bytes=3 * GIB)
        },  # 9 GiB by kubeadm, 6 by the snapshot
        "configz": {"cp1": LIVE},
        "target": TO_135,
    }
    assert disk_usage.check(round_of(**facts), policy()).outcome is Outcome.BLOCK
    ahead = disk_usage.check(round_of(moment=Moment.PLACE, nodes_ahead=("cp1",), **facts), policy())
    assert ahead.outcome is Outcome.PASS
    assert not any("snapshot" in what for what in ahead.evidence["forecast"]["cp1"]["/"]["growth"])


@pytest.mark.parametrize(
    ("etcd", "takers"),
    [
        ({"cp1": status("cp1"), "cp2": status("cp2"), "cp3": status("cp3")}, ["cp2"]),  # cp1 leads
        ({"cp1": status("cp1"), "cp2": status("cp2", leader_id=None), "cp3": status("cp3")}, ["cp3"]),
        ({"cp1": status("cp1")}, ["cp1"]),
        ({"cp1": status("cp1", leader_id=None)}, []),
        (None, []),
    ],
)
def test_the_snapshot_stays_on_the_node_it_is_taken_from(
    etcd: dict[str, EtcdStatus] | None, takers: list[str]
) -> None:
    names = ("cp1", "cp2", "cp3")
    facts: dict[str, Any] = {
        "nodes": tuple(node(name) for name in names),
        "probes": {name: probe(name, etcd_data_bytes=GIB) for name in names},
        "configz": dict.fromkeys(names, LIVE),
        "target": TO_135,
        "target_images": TargetImages(()),
    }
    if etcd is not None:
        facts["etcd"] = {name: EtcdState("answers", said) for name, said in etcd.items()}
    forecast = disk_usage.check(round_of(**facts), policy()).evidence["forecast"]
    stays = {name: forecast[name]["/"]["after_bytes"] - forecast[name]["/"]["used_bytes"] for name in names}
    plain = PACKAGE_BYTES + GIB  # packages, and one of kubeadm's copies
    bundle = status("cp1").database_bytes
    assert stays == {name: plain + (bundle if name in takers else 0) for name in names}


def test_each_mount_is_judged_on_its_own() -> None:
    separate = probe(
        "cp1",
        mounts=(
            mount("/", 50.0),
            mount("/boot", 99.5, mount_point="/boot"),
            mount("/var/lib/kubelet", 50.0),
            mount("/var/lib/containerd", 50.0, mount_point="/var/lib/containerd"),
            mount("/etc/kubernetes/tmp", 97.5, mount_point="/etc/kubernetes/tmp"),
            mount("/var/lib/etcd", 50.0, mount_point="/var/lib/etcd"),
            mount("/var/lib/nightshift", 50.0, mount_point="/var/lib/nightshift"),
        ),
    )
    verdict = check(separate)
    assert verdict.outcome is Outcome.BLOCK
    assert "cp1: /etc/kubernetes/tmp would be" in verdict.message
    assert "/boot would" not in verdict.message  # nothing of ours is written there
    growth = {m: said["growth_bytes"] for m, said in verdict.evidence["forecast"]["cp1"].items()}
    assert growth == {
        "/": INSTALL_BYTES + DiskPolicy().other_growth_bytes,
        "/boot": 0,
        "/var/lib/containerd": 4 * 350 * MB,
        "/etc/kubernetes/tmp": 3 * GIB,
        "/var/lib/etcd": ETCD_LOG_BYTES,
        "/var/lib/nightshift": PACKAGE_BYTES + 2 * GIB,
    }


def own_mount(asked: str, at: str, used_percent: float, size: int = 10 * GIB, **changes: Any) -> NodeProbe:
    """A control plane on which that lies on a file system of its own."""
    plain = probe("cp1")
    own = mount(asked, used_percent, size, mount_point=at, directory=f"{at}/it", **changes)
    return replace(plain, mounts=(*(m for m in plain.mounts if m.path != asked), own))


@pytest.mark.parametrize(
    ("used", "outcome"),
    [(96.9, Outcome.PASS), (97.1, Outcome.BLOCK), (99.0, Outcome.BLOCK)],  # 1 % for the log; limit 98 %
)
def test_a_full_disk_of_etcds_own_blocks(used: float, outcome: Outcome) -> None:
    verdict = check(own_mount("/var/lib/etcd", "/data", used, 100 * ETCD_LOG_BYTES))
    assert verdict.outcome is outcome
    if outcome is Outcome.BLOCK:
        assert f"cp1: /data would be {used + 1:.1f} % full" in verdict.message
        assert "0.12 GiB for the log of a restarted etcd" in verdict.message
        assert "limit 98.0 % (a full disk minus 2 % margin)" in verdict.message
        assert "/data (/data/it) has" in verdict.cause


def test_etcds_disk_is_judged_also_when_nothing_grows() -> None:
    assert check(own_mount("/var/lib/etcd", "/data", 97.9), target=NOTHING).outcome is Outcome.PASS
    assert check(own_mount("/var/lib/etcd", "/data", 98.1), target=NOTHING).outcome is Outcome.BLOCK


def test_the_log_of_etcd_on_another_disk_is_judged_there() -> None:
    verdict = check(own_mount("/var/lib/etcd/member/wal", "/fast", 97.5))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "DISK_WOULD_FILL")
    growth = verdict.evidence["forecast"]["cp1"]
    assert growth["/fast"]["growth_bytes"] == ETCD_LOG_BYTES
    assert "the log of a restarted etcd" not in growth["/"]["growth"]


def test_what_a_worker_has_there_is_not_its_etcd() -> None:
    left = mount("/var/lib/etcd", 99.5, mount_point="/var/lib/etcd")
    assert check(replace(worker(40.0), mounts=(*worker(40.0).mounts, left))).outcome is Outcome.PASS


def test_images_elsewhere_are_forecast_there() -> None:
    verdict = check(own_mount("/var/lib/containerd", "/data", 82.0, 100 * GIB))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "DISK_WOULD_FILL")
    assert "cp1: /data would be 83.3 % full (now 82.0 % + 1.30 GiB for 2 images)" in verdict.message
    assert verdict.evidence["forecast"]["cp1"]["/data"]["paths"] == ["/data/it"]


def test_inodes_count_on_every_file_system() -> None:
    boot = mount("/boot", 50.0, mount_point="/boot", inodes=1000, inodes_free=19)
    found = check(replace(worker(40.0), mounts=(*worker(40.0).mounts, boot)))
    assert (found.outcome, found.code) == (Outcome.BLOCK, "DISK_INODES_LOW")
    assert "w1: /boot would have 1.9 % of its inodes free" in found.message
    enough = replace(boot, inodes_free=20)
    assert check(replace(worker(40.0), mounts=(*worker(40.0).mounts, enough))).outcome is Outcome.PASS


def test_images_of_crio_lie_elsewhere_and_the_kubelet_watches_them_there() -> None:
    own = "/var/lib/containers"
    full = probe(
        "w1",
        mounts=(
            mount("/", 10.0),
            mount("/var/lib/kubelet", 10.0),
            mount(own, 82.5, mount_point=own, inodes_free=71_499),
        ),
    )
    verdict = check(full)
    assert f"w1: {own} would be 83.4 % full (now 82.5 % + 0.93 GiB for 1 images)" in verdict.message
    assert "83.0 % (image GC high 85 % minus 2 % margin)" in verdict.message
    assert "crictl rmi --prune" in verdict.resolution
    codes = [finding["code"] for finding in verdict.evidence["findings"]]
    assert codes == ["DISK_WOULD_FILL", "DISK_INODES_LOW"]


def test_inodes_that_will_be_used_count() -> None:
    verdict = check(worker(10.0, inodes_free=71_499))  # one image: 1500
    assert verdict.code == "DISK_INODES_LOW"
    assert "would have 7.0 % of its inodes free (now 7.1 %), below 7.0 %" in verdict.message
    assert check(worker(10.0, inodes_free=71_500)).outcome is Outcome.PASS
    assert check(worker(10.0, inodes_free=70_000), target=NOTHING).outcome is Outcome.PASS
    assert check(worker(10.0, inodes=0, inodes_free=0)).outcome is Outcome.PASS  # btrfs says 0


@pytest.mark.parametrize(
    ("found", "live", "why"),
    [
        pytest.param(None, LIVE, "gave no answer", id="node unreachable"),
        pytest.param(worker(10.0), None, "gave no answer", id="thresholds unknown"),
        pytest.param(worker(10.0), {}, "names no thresholds", id="no kubelet's answer"),
        pytest.param(worker(10.0), {**LIVE, "evictionHard": "10%"}, "names no", id="eviction no mapping"),
        pytest.param(probe("w1", mounts=()), LIVE, "No file system size", id="nothing measured"),
        pytest.param(worker(10.0, size=0), LIVE, "No file system size", id="zero size"),
        pytest.param(
            probe("cp1", mounts=probe("w1").mounts), LIVE, "/etc/kubernetes/tmp", id="scratch unmeasured"
        ),
        pytest.param(probe("cp1", etcd_data_bytes=None), LIVE, "etcd's data", id="etcd size unknown"),
        pytest.param(
            probe("cp1", mounts=tuple(m for m in probe("cp1").mounts if m.path != "/var/lib/etcd")),
            LIVE,
            "known for /var/lib/etcd",
            id="etcd runs and its disk is unknown",
        ),
        pytest.param(
            replace(worker(10.0), mounts=worker(10.0).mounts[::2]),
            LIVE,
            "known for /var/lib/containerd",
            id="the runtime does not say where images lie",
        ),
        pytest.param(worker(10.0), {**LIVE, "evictionHard": {"nodefs.available": "lots"}}, "lots", id="odd"),
        pytest.param(
            worker(10.0), {**LIVE, "evictionSoft": {"imagefs.available": "x%"}}, "x%", id="odd soft"
        ),
    ],
)
def test_unknown_is_blind(found: NodeProbe | None, live: Mapping[str, Any] | None, why: str) -> None:
    verdict = check(found, live)
    assert verdict.outcome is Outcome.BLIND
    assert why in verdict.message


def test_no_node_is_blind() -> None:
    facts: dict[str, Any] = {"nodes": (), "probes": {}, "configz": {}}
    assert disk_usage.check(round_of(**facts), policy()).outcome is Outcome.BLIND


def test_before_a_wave_only_the_nodes_behind_it_count() -> None:
    facts: dict[str, Any] = {
        "nodes": (node("w1"), node("w2")),
        "probes": {"w1": worker(40.0), "w2": replace(worker(99.0), node="w2")},
        "configz": {"w1": LIVE, "w2": LIVE},
    }
    first, second = (
        disk_usage.check(round_of(moment=Moment.PLACE, nodes_ahead=(name,), **facts), policy())
        for name in ("w1", "w2")
    )
    assert (first.outcome, second.outcome) == (Outcome.PASS, Outcome.BLOCK)


def test_a_pass_says_the_tightest_mount() -> None:
    verdict = check(worker(40.0))
    assert verdict.value == "w1 / 41.4 %"
    assert verdict.threshold == "83.0 % (image GC high 85 % minus 2 % margin)"


@pytest.mark.parametrize(
    ("text", "percent"),
    [("10%", 10.0), ("7.5%", 7.5), ("1Gi", 1.0), ("1G", 100 / 1.073741824 / 100), ("x", None), ("1Zi", None)],
)
def test_parse_threshold(text: str, percent: float | None) -> None:
    assert parse_threshold(text, 100 * GIB) == (pytest.approx(percent) if percent is not None else None)


def test_the_forecast_is_compared_with_what_was_used() -> None:
    said = check(worker(40.0)).evidence["forecast"]
    stays = 4 * 250 * MB + PACKAGE_BYTES  # no retry, no leftover of the installation
    after = worker(40.0)
    after = replace(
        after, mounts=tuple(replace(m, available_bytes=m.available_bytes - GIB) for m in after.mounts)
    )
    assert compare(said, {"w1": after, "w9": after}) == {
        "w1": {
            "/": {
                "forecast_bytes": 40 * GIB + stays,
                "used_bytes": 41 * GIB,
                "error_percent": round(100 * (stays - GIB) / (41 * GIB), 1),
            }
        }
    }
