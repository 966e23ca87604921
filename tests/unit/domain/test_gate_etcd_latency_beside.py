"""What the etcd gate says beside the histograms: the device and its writers, and the counters of the window."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.domain.builders import etcd, etcd_after, node

from nightshift.domain.facts import EtcdSample
from nightshift.domain.facts.etcd import ETCD_DEVICE, EtcdDevice, Writer
from nightshift.domain.gates import GATES
from nightshift.domain.gates.judging import judge
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment, Reading, Round, Unread
from nightshift.domain.topics import ETCD_BEFORE, ETCD_NOW, NODES
from nightshift.domain.verdicts import Outcome, Verdict

NOW = 60.0
DEVICE = EtcdDevice(
    "/dev/loop3",
    ("loop3",),
    True,
    31.5,
    0.7,
    (Writer(4711, "dd", "x.service", 84 * 1024**2, on_device=True),),
)
SLOW: dict[str, Any] = {"fsync": {0.2: 200}, "commit": {0.2: 200}}


def ask(after: EtcdSample, device: Reading | None = None, before: EtcdSample | None = None) -> Verdict:
    readings = {
        NODES.name: Reading(NOW, value=(node("cp1"), node("w1"))),
        ETCD_BEFORE.name: Reading(NOW, value={"cp1": before or etcd()}),
        ETCD_NOW.name: Reading(NOW, value={"cp1": after}),
    }
    if device is not None:
        readings[ETCD_DEVICE.name] = device
    policy = ClusterPolicy("lab", "k", "s", "file:///s")
    return judge(GATES["etcd_latency"], Round(Moment.NIGHT, NOW, readings), policy)


def test_a_slow_member_is_told_with_its_device_and_who_writes_to_it() -> None:
    verdict = ask(etcd_after(**SLOW), Reading(NOW, value={"cp1": DEVICE}))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "ETCD_SLOW")
    said = (
        "Its data lies on /dev/loop3 (rotating). "
        "Meanwhile dd (pid 4711, unit x.service) wrote 120.0 MiB/s to the same file system."
    )
    assert verdict.message.count(said) == 1, "two slow metrics, one device"
    assert verdict.evidence["cp1"]["device"] == "/dev/loop3 (rotating)"
    assert verdict.evidence["cp1"]["io_pressure_percent"] == 31.5


def test_a_fast_member_has_it_in_the_evidence_only() -> None:
    verdict = ask(etcd_after(), Reading(NOW, value={"cp1": DEVICE}))
    assert verdict.outcome is Outcome.PASS
    assert "loop3" not in verdict.message
    assert "dd (pid 4711" in verdict.evidence["cp1"]["other_writers"]


@pytest.mark.parametrize(
    "device",
    [
        None,
        Reading(NOW, problem=Unread("NODE_UNREACHABLE", "away", "", "")),
        Reading(NOW, value={}, problems={"cp1": Unread("LOOK_INCOMPLETE", "half", "", "")}),
    ],
)
def test_an_unknown_device_decides_nothing(device: Reading | None) -> None:
    assert ask(etcd_after(), device).outcome is Outcome.PASS
    slow = ask(etcd_after(**SLOW), device)
    assert (slow.outcome, slow.code) == (Outcome.BLOCK, "ETCD_SLOW")
    assert "Its data lies" not in slow.message


@pytest.mark.parametrize(
    ("changes", "outcome", "code"),
    [
        ({"leader_changes_total": 2.0}, Outcome.WARN, "ETCD_LEADER_CHANGED"),
        ({"leader_changes_total": 3.0}, Outcome.BLOCK, "ETCD_LEADER_CHANGED"),
        ({"proposals_pending": 3.0, "proposals_committed": 9.0}, Outcome.BLOCK, "ETCD_PROPOSALS_STUCK"),
    ],
)
def test_counters_of_the_window_count(changes: dict[str, float], outcome: Outcome, code: str) -> None:
    before = etcd(proposals_pending=1.0, proposals_committed=9.0)
    verdict = ask(etcd_after(**changes), before=before)
    assert (verdict.outcome, verdict.code) == (outcome, code)


def test_a_restart_explains_its_own_leader_changes() -> None:
    verdict = ask(etcd_after(leader_changes_total=9.0, process_start=10.0))
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "ETCD_RESTARTED")
    assert "leader change" not in verdict.message
