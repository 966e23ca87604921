from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import GIB, POLICY, judged, mount, node, probe, thresholds

from nightshift.domain.facts import KubeletThresholds, NodeProbe
from nightshift.domain.gates.disk_usage import parse_threshold
from nightshift.domain.verdicts import Outcome, Verdict


def check(found: NodeProbe | None, limits: KubeletThresholds | None = None, **policy: Any) -> Verdict:
    name = found.node if found else "w1"
    changed = replace(POLICY, disk=replace(POLICY.disk, **policy))
    said = {name: config(limits or thresholds())}
    return judged("disk_usage", changed, nodes=(node(name),), probes={name: found}, configz=said)


def config(limits: KubeletThresholds | None) -> dict[str, Any]:
    """As the kubelet's /configz says it; a kubelet that says something else entirely for None."""
    if limits is None:
        return {"kind": "Status"}
    return {
        "imageGCHighThresholdPercent": limits.image_gc_high_percent,
        "imageGCLowThresholdPercent": limits.image_gc_low_percent,
        "evictionHard": dict(limits.eviction_hard),
    }


def worker(used_percent: float, size: int = 100 * GIB, **changes: Any) -> NodeProbe:
    paths = ("/", "/var/lib/containerd", "/var/lib/kubelet")
    return probe("w1", mounts=tuple(mount(p, used_percent, size, **changes) for p in paths))


# One file system of 100 GiB, growth 2 GiB: image GC 85 % - 2 % margin leaves 83 %, so 81 % now is the edge.
@pytest.mark.parametrize(
    ("used", "outcome"),
    [(40.0, Outcome.PASS), (80.9, Outcome.PASS), (81.1, Outcome.BLOCK), (99.0, Outcome.BLOCK)],
)
def test_forecast_against_image_gc(used: float, outcome: Outcome) -> None:
    assert check(worker(used)).outcome is outcome


def test_block_names_node_mount_number_limit_and_remedy() -> None:
    verdict = check(worker(85.0))
    assert verdict.code == "DISK_WOULD_FILL"
    assert "w1: / would be 87.0 % full (now 85.0 % + 2.00 GiB for images" in verdict.message
    assert "83.0 % (image GC high 85 % minus 2 % margin)" in verdict.message
    assert "Free at least 4.00 GiB on / of w1" in verdict.resolution
    assert verdict.value == "87.0 %"


def test_exactly_at_the_limit_is_still_allowed() -> None:
    size = 100 * GIB
    at_limit = replace(mount("/"), available_bytes=17 * GIB, size_bytes=size)  # 83 % used, limit 83 %
    full = probe("w1", mounts=tuple(replace(at_limit, path=m.path) for m in probe("w1").mounts))
    assert check(full, expected_growth_bytes=0).outcome is Outcome.PASS
    assert check(full, expected_growth_bytes=GIB).outcome is Outcome.BLOCK


def test_the_live_thresholds_decide() -> None:
    assert check(worker(70.0), thresholds(image_gc_high_percent=70.0)).outcome is Outcome.BLOCK
    strict = thresholds(eviction_hard={"nodefs.available": "40%"})
    assert "eviction nodefs.available<40%" in check(worker(70.0), strict).message
    quantity = thresholds(eviction_hard={"imagefs.available": "30Gi"})
    assert "imagefs.available<30Gi" in check(worker(70.0), quantity).message
    unset = thresholds(image_gc_high_percent=100.0, eviction_hard={})
    assert check(worker(90.0), unset).outcome is Outcome.PASS
    assert "a full disk" in check(worker(97.0), unset).message


def test_growth_and_margin_come_from_the_policy() -> None:
    assert check(worker(75.0), expected_growth_bytes=9 * GIB).outcome is Outcome.BLOCK
    assert check(worker(75.0), margin_percent=10.0).outcome is Outcome.BLOCK


def test_etcd_copy_is_added_on_a_control_plane() -> None:
    full = tuple(replace(m, available_bytes=22 * GIB) for m in probe("cp1").mounts)  # 78 % used, limit 83 %
    assert check(probe("cp1", mounts=full, etcd_data_bytes=2 * GIB)).outcome is Outcome.PASS
    verdict = check(probe("cp1", mounts=full, etcd_data_bytes=4 * GIB))
    assert verdict.outcome is Outcome.BLOCK
    assert "4.00 GiB for kubeadm's copy of etcd" in verdict.message


def test_each_mount_is_judged_on_its_own() -> None:
    separate = probe(
        "cp1",
        mounts=(
            mount("/", 50.0),
            mount("/var/lib/kubelet", 50.0),
            mount("/var/lib/containerd", 50.0, mount_point="/var/lib/containerd"),
            mount("/etc/kubernetes/tmp", 97.5, mount_point="/etc/kubernetes/tmp"),
            mount("/var/lib/etcd", 50.0, mount_point="/var/lib/etcd"),
        ),
    )
    verdict = check(separate)
    assert verdict.outcome is Outcome.BLOCK
    assert "cp1: /etc/kubernetes/tmp would be" in verdict.message
    assert "/var/lib/etcd would" not in verdict.message
    assert verdict.evidence["cp1"]["/var/lib/containerd"]["growth_bytes"] == 2 * GIB
    assert verdict.evidence["cp1"]["/var/lib/etcd"]["growth_bytes"] == 0


def test_inodes() -> None:
    verdict = check(worker(10.0, inodes_free=60_000))
    assert verdict.code == "DISK_INODES_LOW"
    assert "6.0 % of its inodes free, below 7.0 %" in verdict.message
    assert check(worker(10.0, inodes_free=70_000)).outcome is Outcome.PASS
    assert check(worker(10.0, inodes=0, inodes_free=0)).outcome is Outcome.PASS  # btrfs says 0


@pytest.mark.parametrize(
    ("found", "limits", "why"),
    [
        pytest.param(worker(10.0), None, "configz", id="thresholds unknown"),
        pytest.param(probe("w1", mounts=()), thresholds(), "No file system size", id="nothing measured"),
        pytest.param(worker(10.0, size=0), thresholds(), "No file system size", id="zero size"),
        pytest.param(
            probe("cp1", mounts=probe("w1").mounts),
            thresholds(),
            "/etc/kubernetes/tmp",
            id="scratch unmeasured",
        ),
        pytest.param(probe("cp1", etcd_data_bytes=None), thresholds(), "etcd's data", id="etcd size unknown"),
        pytest.param(
            worker(10.0), thresholds(eviction_hard={"nodefs.available": "lots"}), "lots", id="odd threshold"
        ),
        pytest.param(
            worker(10.0), thresholds(eviction_hard={"imagefs.available": "x%"}), "x%", id="odd percentage"
        ),
    ],
)
def test_unknown_is_blind(found: NodeProbe, limits: KubeletThresholds | None, why: str) -> None:
    name = found.node
    verdict = judged("disk_usage", nodes=(node(name),), probes={name: found}, configz={name: config(limits)})
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "DISK_UNKNOWN")
    assert why in verdict.message


def test_a_node_nobody_asked_and_no_node_are_blind() -> None:
    assert judged("disk_usage", nodes=(node("w1"),), probes={}, configz={}).outcome is Outcome.BLIND
    assert judged("disk_usage", nodes=(), probes={}, configz={}).outcome is Outcome.BLIND


def test_a_node_that_did_not_answer_is_blind_in_its_own_words_and_the_full_one_is_still_named() -> None:
    limits = {"w1": config(thresholds()), "w2": config(thresholds())}
    nodes = (node("w1"), node("w2"))
    verdict = judged("disk_usage", nodes=nodes, probes={"w1": None, "w2": full_w2()}, configz=limits)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_UNREACHABLE")
    assert "w2: / would be" in verdict.message
    assert verdict.evidence["found"] == {"outcome": "block", "code": "DISK_WOULD_FILL"}


def full_w2() -> NodeProbe:
    return replace(worker(90.0), node="w2")


def test_pass_says_the_tightest_mount() -> None:
    probes = {"w1": worker(40.0), "cp1": probe("cp1")}
    both = dict.fromkeys(probes, config(thresholds()))
    verdict = judged("disk_usage", nodes=(node("w1"), node("cp1")), probes=probes, configz=both)
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == "cp1 / 43.0 %"  # + 1 GiB of etcd beside the 2 GiB every node gets


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("10%", 10.0),
        ("512", 50.0),
        ("0.5Ki", 50.0),
        ("1k", 97.65625),
        ("1Mi", 102400.0),
        ("", None),
        ("1Xi", None),
    ],
)
def test_thresholds_in_every_notation(text: str, percent: float | None) -> None:
    assert parse_threshold(text, 1024) == percent
