from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from tests.unit.domain.builders import node
from tests.unit.domain.etcd_builders import MIB, NOW, ask, control_planes, member, states, status

from nightshift.domain.facts.etcd import EtcdState, EtcdStatus
from nightshift.domain.policy import ClusterPolicy, EtcdStatePolicy
from nightshift.domain.round import Moment, Reading, Unread
from nightshift.domain.verdicts import Outcome

GATE = "etcd_state"
ALARM = "memberID:1002 alarm:NOSPACE"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("moment", list(Moment))
def test_a_healthy_etcd_passes(count: int, moment: Moment) -> None:
    verdict = ask(GATE, states(count), moment=moment)
    assert (verdict.outcome, verdict.code) == (Outcome.PASS, "OK")
    assert "2.0 % of its quota" in verdict.message


@pytest.mark.parametrize(
    ("changed", "outcome", "code", "words"),
    [
        pytest.param(EtcdState("stopped"), "block", "ETCD_MEMBER_DOWN", ("cp2", "no etcd process"), id="stopped"),
        pytest.param(EtcdState("absent"), "block", "ETCD_MEMBER_DOWN", ("cp2", "no etcd process"), id="absent on one"),
        pytest.param(EtcdState("silent"), "block", "ETCD_MEMBER_DOWN", ("cp2", "does not answer"), id="silent"),
        pytest.param(status("cp2", leader_id=None), "block", "ETCD_NO_LEADER", ("cp2", "no leader"), id="no leader"),
        pytest.param(status("cp2", applied_index=4001), "pass", "OK", ("whole",), id="999 behind"),
        pytest.param(status("cp2", applied_index=4000), "block", "ETCD_BACKLOG", ("cp2", "1000"), id="1000 behind"),
        pytest.param(status("cp2", errors=(ALARM,)), "block", "ETCD_ALARM", ("NOSPACE", "cp2"), id="alarm"),
        pytest.param(
            status("cp2", errors=("memberID:7 alarm:CORRUPT",)), "block", "ETCD_ALARM", ("CORRUPT", "7"), id="stranger's alarm"
        ),
        pytest.param(status("cp2", errors=("disk is odd",)), "block", "ETCD_ALARM", ("cp2", "disk is odd"), id="other words"),
        pytest.param(status("cp2", database_bytes=1433 * MIB, in_use_bytes=1400 * MIB), "pass", "OK", (), id="69.97 %"),
        pytest.param(
            status("cp2", database_bytes=1434 * MIB, in_use_bytes=1400 * MIB), "warn", "ETCD_QUOTA_NEAR", ("cp2", "70.0 %"), id="70 %"
        ),
        pytest.param(
            status("cp2", database_bytes=1741 * MIB, in_use_bytes=1700 * MIB),
            *("block", "ETCD_QUOTA_NEAR", ("cp2", "85.0 %", "2048 MiB", "85 %")),
            id="85 %",
        ),
        pytest.param(
            status("cp2", database_bytes=9000 * MIB, in_use_bytes=9000 * MIB, quota_bytes=-1), "pass", "OK", (), id="no quota"
        ),
        pytest.param(status("cp2", database_bytes=100 * MIB, in_use_bytes=1 * MIB), "pass", "OK", (), id="small and hollow"),
        pytest.param(
            status("cp2", database_bytes=200 * MIB, in_use_bytes=110 * MIB), "warn", "ETCD_FRAGMENTED", ("cp2", "45 %"), id="45 % free"
        ),
        pytest.param(status("cp2", database_bytes=200 * MIB, in_use_bytes=111 * MIB), "pass", "OK", (), id="44.5 % free"),
        pytest.param(status("cp2", version="3.6.6"), "warn", "ETCD_VERSIONS_DIFFER", ("cp1 3.6.5", "cp2 3.6.6"), id="mixed"),
        pytest.param(status("cp2", version="3.5.24"), "warn", "ETCD_VERSIONS_DIFFER", ("3.5.24",), id="one minor"),
        pytest.param(status("cp2", version="3.4.1"), "block", "ETCD_VERSIONS_DIFFER", ("3.4.1",), id="two minors"),
    ],
)  # fmt: skip
def test_one_member(changed: EtcdState | EtcdStatus, outcome: str, code: str, words: tuple[str, ...]) -> None:
    verdict = ask(GATE, states(cp2=changed))
    assert (verdict.outcome.value, verdict.code) == (outcome, code)
    for word in words:
        assert word in verdict.message
    if outcome != "pass":
        assert verdict.cause
        assert verdict.resolution
        assert verdict.threshold


def test_fragmentation_warns_that_defrag_stops_the_member() -> None:
    hollow = status("cp2", database_bytes=200 * MIB, in_use_bytes=50 * MIB)
    assert "answers nobody while it defragments" in ask(GATE, states(cp2=hollow)).resolution


@pytest.mark.parametrize("version", ["3.6.6", "3.5.24"])
def test_versions_may_differ_while_the_nodes_are_upgraded(version: str) -> None:
    mixed = states(cp2=status("cp2", version=version))
    assert ask(GATE, mixed, moment=Moment.PLACE, ahead=("cp3",)).outcome is Outcome.PASS


def test_an_alarm_that_all_members_report_is_said_once() -> None:
    verdict = ask(GATE, states(**{n: status(n, errors=(ALARM,)) for n in ("cp1", "cp2", "cp3")}))
    assert verdict.message == "etcd has the alarm NOSPACE for member cp2."


def test_corrupt_is_not_answered_with_disarm() -> None:
    verdict = ask(GATE, states(cp2=status("cp2", errors=("memberID:1002 alarm:CORRUPT",))))
    assert "disarm" not in verdict.resolution


@pytest.mark.parametrize(
    ("members", "words"),
    [
        pytest.param([member("cp1"), member("cp2"), member("cp3", name="")], "never started", id="unstarted"),
        pytest.param(
            [member("cp1"), member("cp2"), member("cp3", is_learner=True)], "cp3 is a learner", id="learner"
        ),
        pytest.param(
            [member("cp1"), member("cp2"), member("cp3"), member("cp4")],
            "cp4 (https://10.1.0.4:2380) is on no",
            id="stranger",
        ),
        pytest.param(
            [member("cp1"), member("cp2")],
            "node cp3 has no etcd member; the members are cp1, cp2",
            id="missing",
        ),
    ],
)
def test_members_are_the_control_planes(members: list, words: str) -> None:
    found = {n: status(n, members=tuple(members)) for n in ("cp1", "cp2", "cp3")}
    verdict = ask(GATE, states(**found))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "ETCD_MEMBERS_WRONG")
    assert words in verdict.message
    assert verdict.message.count(words) == 1


def test_a_member_with_another_name_is_known_by_its_address() -> None:
    renamed = tuple(member(n, name=f"etcd-{n}") for n in ("cp1", "cp2", "cp3"))
    verdict = ask(GATE, states(**{n: status(n, members=renamed) for n in ("cp1", "cp2", "cp3")}))
    assert verdict.outcome is Outcome.PASS


def test_limits_are_the_owners() -> None:
    policy = ClusterPolicy("lab", "k", "s", "file:///s", etcd_state=EtcdStatePolicy(1.0, 2.5))
    assert ask(GATE, states(), policy=policy).outcome is Outcome.WARN
    tighter = replace(policy, etcd_state=EtcdStatePolicy(1.0, 1.9))
    assert ask(GATE, states(), policy=tighter).outcome is Outcome.BLOCK


def test_an_external_etcd_is_blind() -> None:
    verdict = ask(GATE, {n: EtcdState("absent") for n in ("cp1", "cp2", "cp3")})
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "ETCD_UNREADABLE")


def test_a_node_that_cannot_be_asked_is_blind_and_hides_nothing() -> None:
    found = states(cp2=status("cp2", errors=(ALARM,)))
    del found["cp3"]
    unread = Unread("NODE_UNREACHABLE", "cp3 does not answer.", "", "")
    verdict = ask(GATE, Reading(NOW, found, problems={"cp3": unread}), nodes=control_planes())
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_UNREACHABLE")
    assert "NOSPACE" in verdict.message
    assert "cp3 has no etcd member" not in verdict.message


def test_a_cluster_whose_only_member_is_away_has_no_external_etcd() -> None:
    unread = Unread("NODE_UNREACHABLE", "cp1 does not answer.", "", "")
    verdict = ask(GATE, Reading(NOW, {}, problems={"cp1": unread}), nodes=control_planes(1))
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_UNREACHABLE")
    assert "external" not in f"{verdict.message} {verdict.cause}"
    assert [finding["code"] for finding in verdict.evidence["findings"]] == ["NODE_UNREACHABLE"]


def test_a_cluster_without_a_control_plane_node_is_blind() -> None:
    verdict = ask(GATE, {}, nodes=(node("w1"),))
    assert verdict.outcome is Outcome.BLIND


def test_no_answer_at_all_is_blind() -> None:
    away = Reading(NOW, problem=Unread("API_UNREACHABLE", "away", "", ""))
    assert ask(GATE, away, nodes=control_planes()).outcome is Outcome.BLIND


def test_no_combination_of_trouble_passes() -> None:
    """Whatever else is so: a member that is not known to be well never lets the gate pass."""
    seeded = random.Random(5)
    bad = [
        *(EtcdState(c) for c in ("absent", "stopped", "silent")),
        *(
            EtcdState("answers", status("cp2", **c))
            for c in ({"leader_id": None}, {"errors": (ALARM,)}, {"applied_index": 0})
        ),
    ]
    for trouble, moment in itertools.product(bad, Moment):
        for _ in range(20):
            others = {n: status(n, version=f"3.6.{seeded.randint(0, 9)}") for n in ("cp1", "cp3")}
            asked = states(**others, cp2=trouble)
            if seeded.random() < 0.5:
                del asked[seeded.choice(["cp1", "cp3"])]
            verdict = ask(GATE, asked, moment=moment, nodes=(*control_planes(), node("w1")))
            assert verdict.outcome in (Outcome.BLOCK, Outcome.BLIND)
