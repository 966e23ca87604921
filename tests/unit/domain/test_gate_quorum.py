from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.domain.builders import components, node
from tests.unit.domain.etcd_builders import NOW, ask, control_planes, member, states, status

from nightshift.domain.facts.etcd import EtcdState
from nightshift.domain.plan import build_plan
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment, Reading, Unread
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import COMPONENTS, TARGET
from nightshift.domain.verdicts import Outcome, fold_verdicts

GATE = "quorum"
STRICT = ClusterPolicy("lab", "k", "s", "file:///s")
LENIENT = replace(STRICT, accept_api_outage=True)
DOWN = EtcdState("stopped")


def target(version: str | None = "1.35.4") -> TargetChoice:
    kind = TargetKind.MINOR if version else TargetKind.NONE
    return TargetChoice(kind=kind, running="1.34.4", version=version, sentence="")


def known(version: str | None = "1.35.4", running: str = "1.34.4") -> dict[str, Reading]:
    found = {f"cp{n}": components(running) for n in range(1, 6)}
    return {TARGET.name: Reading(NOW, target(version)), COMPONENTS.name: Reading(NOW, found)}


def test_three_healthy_members_can_spare_one() -> None:
    verdict = ask(GATE, states())
    assert verdict.outcome is Outcome.PASS
    assert (verdict.value, verdict.threshold) == ("2 members stay", "2 of 3")


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(DOWN, id="stopped"),
        pytest.param(EtcdState("silent"), id="silent"),
        pytest.param(EtcdState("absent"), id="absent"),
        pytest.param(status("cp2", leader_id=None), id="without a leader"),
    ],
)
def test_with_one_of_three_missing_no_other_may_go(missing: EtcdState) -> None:
    verdict = ask(GATE, states(cp2=missing))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "QUORUM_AT_RISK")
    assert verdict.message == ("Without cp1 etcd has 1 healthy member, 2 of 3 are needed: cp2 is missing.")


def test_five_members_bear_one_missing_and_not_two() -> None:
    assert ask(GATE, states(5, cp2=DOWN)).outcome is Outcome.PASS
    assert ask(GATE, states(5, cp2=DOWN, cp3=DOWN)).code == "QUORUM_AT_RISK"


def test_in_front_of_a_slot_its_own_node_counts() -> None:
    """The member that is down may be restarted: etcd loses nothing by it."""
    ill = states(cp2=DOWN)
    assert ask(GATE, ill, moment=Moment.PLACE, ahead=("cp2",)).outcome is Outcome.PASS
    assert ask(GATE, ill, moment=Moment.PLACE, ahead=("cp3",)).code == "QUORUM_AT_RISK"


def test_workers_take_nothing_away() -> None:
    verdict = ask(GATE, states(cp2=DOWN), moment=Moment.PLACE, ahead=("w1",))
    assert verdict.outcome is Outcome.PASS


def test_before_the_night_only_nodes_that_are_due_count() -> None:
    assert ask(GATE, states(cp2=DOWN), more=known()).code == "QUORUM_AT_RISK"
    done = tuple(replace(n, kubelet_version="1.35.4") for n in control_planes())
    verdict = ask(GATE, states(cp2=DOWN), nodes=done, more=known(running="1.35.4"))
    assert verdict.outcome is Outcome.PASS
    assert ask(GATE, states(cp2=DOWN), more=known(version=None)).outcome is Outcome.PASS
    blind = {**known(), TARGET.name: Reading(NOW, TargetChoice(TargetKind.BLIND, ""))}
    assert ask(GATE, states(cp2=DOWN), more=blind).code == "QUORUM_AT_RISK"


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_members_need_the_owners_word(count: int) -> None:
    refused = ask(GATE, states(count), policy=STRICT)
    assert (refused.outcome, refused.code, refused.gate) == (Outcome.BLOCK, "API_OUTAGE_NOT_ACCEPTED", GATE)
    accepted = ask(GATE, states(count), policy=LENIENT)
    assert accepted.outcome is Outcome.PASS
    assert "no quorum and no API" in accepted.message


def test_what_the_plan_says_too_is_said_once() -> None:
    nodes = control_planes(1)
    plan = build_plan(nodes, {"cp1": components()}, target(), STRICT)
    gate = ask(GATE, states(1), nodes=nodes, policy=STRICT, more=known())
    decision = fold_verdicts([plan.verdict, gate], [GATE])
    assert plan.verdict.outcome is gate.outcome is Outcome.BLOCK
    assert decision.sentence == gate.message
    assert decision.code == "API_OUTAGE_NOT_ACCEPTED"


def test_a_single_control_plane_that_is_done_needs_no_word() -> None:
    nodes = (node("cp1", "1.35.4", address="10.1.0.1"), node("w1"))
    assert (
        ask(GATE, states(1), nodes=nodes, more=known(running="1.35.4"), policy=STRICT).outcome is Outcome.PASS
    )


def test_a_learner_is_no_voter() -> None:
    members = (member("cp1"), member("cp2"), member("cp3", is_learner=True))
    found = {n: status(n, members=members) for n in ("cp1", "cp2", "cp3")}
    assert ask(GATE, states(**found), policy=STRICT).code == "API_OUTAGE_NOT_ACCEPTED"


def test_a_member_that_runs_nowhere_counts_as_missing() -> None:
    """Five in the list, three nodes: two ghosts leave no room for a restart."""
    members = tuple(member(f"cp{n}") for n in range(1, 6))
    found = {n: status(n, members=members) for n in ("cp1", "cp2", "cp3")}
    verdict = ask(GATE, states(**found))
    assert verdict.code == "QUORUM_AT_RISK"
    assert "cp4, cp5 are missing" in verdict.message


def test_when_the_lists_disagree_the_longest_counts() -> None:
    alone = status("cp1", members=(member("cp1"),))
    assert ask(GATE, states(cp1=alone, cp2=DOWN), policy=STRICT).code == "QUORUM_AT_RISK"


def test_nobody_answers_is_blind() -> None:
    verdict = ask(GATE, dict.fromkeys(("cp1", "cp2", "cp3"), DOWN))
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "ETCD_UNREADABLE")


def test_a_member_that_cannot_be_asked_is_blind() -> None:
    found = states()
    del found["cp3"]
    unread = Unread("NODE_UNREACHABLE", "cp3 does not answer.", "", "")
    verdict = ask(GATE, Reading(NOW, found, problems={"cp3": unread}), nodes=control_planes())
    assert verdict.outcome is Outcome.BLIND
