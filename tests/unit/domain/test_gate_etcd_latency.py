from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import (
    APPLY_BOUNDS,
    DISK_BOUNDS,
    etcd,
    etcd_after,
    histogram,
    judged,
    node,
)

from nightshift.domain.etcd_window import TOO_FEW
from nightshift.domain.facts import EtcdSample, HistogramSample
from nightshift.domain.gates import etcd_latency
from nightshift.domain.policy import EtcdLatencyPolicy
from nightshift.domain.verdicts import Outcome, Verdict

POLICY = EtcdLatencyPolicy()


def check(after: EtcdSample | None, before: EtcdSample | None = None) -> Verdict:
    return compare({"cp1": before or etcd()}, {"cp1": after})


def compare(
    before: Mapping[str, EtcdSample | None],
    after: Mapping[str, EtcdSample | None],
    members: tuple[str, ...] = (),
) -> Verdict:
    names = members or sorted({*before, *after})
    nodes = (*(node(name) for name in names), node("w1"))
    return judged("etcd_latency", nodes=nodes, etcd_before=before, etcd_now=after)


@pytest.mark.parametrize(
    ("metric", "observations", "outcome"),
    [
        pytest.param("fsync", {0.1: 200}, Outcome.PASS, id="64-128 ms ends at the limit"),
        pytest.param("fsync", {0.128: 200}, Outcome.PASS, id="exactly the bound"),
        pytest.param("fsync", {0.130: 200}, Outcome.BLOCK, id="128-256 ms"),
        pytest.param("fsync", {0.003: 198, 0.2: 2}, Outcome.PASS, id="1 percent slow is what p99 allows"),
        pytest.param("fsync", {0.003: 197, 0.2: 3}, Outcome.BLOCK, id="more than 1 percent slow"),
        pytest.param("commit", {0.1: 200}, Outcome.PASS, id="commit at the limit"),
        pytest.param("commit", {0.2: 200}, Outcome.BLOCK, id="commit beyond"),
        pytest.param("apply", {0.1024: 200}, Outcome.PASS, id="apply 51.2-102.4 ms"),
        pytest.param("apply", {0.103: 200}, Outcome.BLOCK, id="apply 102.4-204.8 ms"),
        pytest.param("fsync", {0.003: 99}, Outcome.BLIND, id="one observation too few"),
        pytest.param("fsync", {0.003: 100}, Outcome.PASS, id="just enough"),
        pytest.param("fsync", {0.003: 50, 0.2: 1}, Outcome.BLIND, id="few, one slow: not proven"),
        pytest.param(
            "fsync", {0.003: 50, 0.2: 2}, Outcome.BLOCK, id="few, but slow whatever the others were"
        ),
        pytest.param("fsync", {9.0: 20}, Outcome.BLOCK, id="so slow that samples are rare"),
    ],
)
def test_limits(metric: str, observations: dict[float, float], outcome: Outcome) -> None:
    arguments: dict[str, Any] = {metric: observations}
    assert check(etcd_after(**arguments)).outcome is outcome


def test_block_names_member_metric_bucket_and_limit() -> None:
    verdict = check(etcd_after(apply={0.3: 200}, slow_apply_total=7.0, leader_changes_total=3.0))
    assert verdict.code == "ETCD_SLOW"
    for part in ("cp1", "etcd_server_apply_duration_seconds", "204.8-409.6 ms", "102.4 ms"):
        assert part in verdict.message
    assert verdict.value == "204.8-409.6 ms"
    assert verdict.threshold == "102.4 ms"
    assert verdict.evidence["cp1"]["slow_applies"] == 7.0
    assert verdict.evidence["cp1"]["leader_changes"] == 2.0
    assert verdict.cause
    assert verdict.resolution


def test_pass_says_buckets_and_limits() -> None:
    verdict = check(etcd_after())
    assert "cp1 wal_fsync 2-4 ms" in verdict.value
    assert "wal_fsync 128 ms" in verdict.threshold
    assert verdict.evidence["cp1"]["window_seconds"] == 60.0


@pytest.mark.parametrize(
    ("after", "code"),
    [
        pytest.param(None, "NODE_UNREACHABLE", id="member away"),
        pytest.param(etcd_after(process_start=30.0), "ETCD_RESTARTED", id="restarted in the window"),
        pytest.param(etcd_after(process_start=float("nan")), "ETCD_RESTARTED", id="start unknown"),
        pytest.param(etcd_after(has_leader=None), "ETCD_UNREADABLE", id="leader unknown"),
        pytest.param(etcd_after(taken=0.0), "ETCD_UNREADABLE", id="stale second sample"),
        pytest.param(etcd_after(backend_commit=None), "ETCD_UNREADABLE", id="metric absent"),
        pytest.param(etcd_after(fsync={0.003: 3}), TOO_FEW, id="idle"),
        pytest.param(
            etcd_after(apply={0.0003: 200}, slow_apply_total=None),
            "OK",
            id="missing evidence does not matter",
        ),
    ],
)
def test_unknown_is_blind(after: EtcdSample | None, code: str) -> None:
    verdict = check(after)
    assert verdict.code == code
    assert verdict.outcome is (Outcome.PASS if code == "OK" else Outcome.BLIND)


def test_no_leader_blocks() -> None:
    assert check(etcd_after(has_leader=False)).code == "ETCD_NO_LEADER"
    assert check(etcd_after(has_leader=False)).outcome is Outcome.BLOCK


def test_a_member_missing_from_one_side_is_blind() -> None:
    both = {"cp1": etcd_after(), "cp2": etcd_after(member="cp2")}
    verdict = compare({"cp1": etcd()}, both)
    assert verdict.outcome is Outcome.BLIND
    assert "cp2" in verdict.message
    assert "at the window's start" in verdict.message


def test_a_member_that_left_the_cluster_is_not_missed_and_not_judged() -> None:
    before = {"cp1": etcd(), "cp2": etcd("cp2")}
    after = {"cp1": etcd_after(), "cp2": etcd_after(fsync={1.0: 200}, member="cp2")}
    assert compare(before, after, ("cp1",)).outcome is Outcome.PASS
    assert compare(before, after).outcome is Outcome.BLOCK


def test_no_members_at_all_is_blind() -> None:
    assert compare({}, {}).outcome is Outcome.BLIND


def test_blind_leads_but_the_slow_member_is_still_named() -> None:
    before = {"cp1": etcd(), "cp2": etcd("cp2")}
    verdict = compare(before, {"cp1": etcd_after(fsync={1.0: 200}), "cp2": None})
    assert verdict.outcome is Outcome.BLIND
    assert "Also: etcd on cp1 is slow" in verdict.message


def test_observations_outside_every_bucket_are_not_trusted() -> None:
    full = histogram(APPLY_BOUNDS, {0.0003: 150, 100.0: 50})
    lame = HistogramSample(full.buckets[:-1], full.count, full.total_seconds)  # +Inf bucket lost
    start = HistogramSample(histogram(APPLY_BOUNDS).buckets[:-1], 0, 0)
    verdict = check(replace(etcd_after(), apply=lame), etcd(apply=start))
    assert verdict.outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param({"cp1": etcd(taken=100)}, {"cp1": etcd(taken=150)}, True, id="same process"),
        pytest.param({"cp1": etcd(taken=100)}, {"cp1": etcd(taken=160)}, True, id="as long as a window"),
        pytest.param({"cp1": etcd(taken=100)}, {"cp1": etcd(taken=161)}, False, id="too long ago"),
        pytest.param(
            {"cp1": etcd(taken=100), "cp2": etcd("cp2", taken=90)},
            {"cp1": etcd(taken=155), "cp2": etcd("cp2", taken=155)},
            False,
            id="one of them too long ago",
        ),
        pytest.param(
            {"cp1": etcd(taken=100)}, {"cp1": etcd(taken=150, process_start=140)}, False, id="restarted"
        ),
        pytest.param(
            {"cp1": etcd(taken=100)},
            {"cp1": etcd(taken=150), "cp2": etcd(taken=150)},
            False,
            id="a new member",
        ),
        pytest.param({}, {}, False, id="no member known"),
    ],
)
def test_a_window_goes_on_from_an_earlier_sample_of_the_same_members(
    before: dict[str, EtcdSample], now: dict[str, EtcdSample], expected: bool
) -> None:
    assert etcd_latency.continues(before, now, POLICY) is expected


def test_a_disk_that_was_fast_for_long_and_is_slow_now_is_not_outvoted() -> None:
    """Three minutes of 25 fast syncs a second, then a minute of 300 ms each, quicker ones beside them: 0.9 % in all."""
    before, calm, now = (
        etcd(taken=at, wal_fsync=histogram(DISK_BOUNDS, {0.003: fast, 0.3: slow}))
        for at, fast, slow in ((0.0, 0, 0), (180.0, 4500, 0), (240.0, 5455, 50))
    )
    both = {name: getattr(etcd_after(), name) for name in ("backend_commit", "apply")}
    ends = replace(now, **both)
    assert check(ends, before).outcome is Outcome.PASS  # what such a window would say
    assert check(ends, calm).code == "ETCD_SLOW"
    assert not etcd_latency.continues({"cp1": before}, {"cp1": now}, POLICY)
