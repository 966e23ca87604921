from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import node
from tests.unit.domain.gate_rounds import NOW, POLICY, round_of

from nightshift.domain.facts import NodeFacts
from nightshift.domain.gates import node_health
from nightshift.domain.policy import NodePolicy
from nightshift.domain.round import Moment
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Outcome, Verdict


def verdict_of(*nodes: NodeFacts, moment: Moment = Moment.NIGHT, ahead: tuple[str, ...] = ()) -> Verdict:
    return node_health.check(round_of({NODES: nodes}, moment, ahead), POLICY)


@pytest.mark.parametrize(
    ("name", "changes", "outcome", "code"),
    [
        ("w1", {}, Outcome.PASS, "OK"),
        ("w1", {"is_ready": False}, Outcome.BLOCK, "NODE_NOT_READY"),
        ("w1", {"is_ready": None}, Outcome.BLIND, "NODE_STATE_UNKNOWN"),
        ("w1", {"pressures": ("DiskPressure",)}, Outcome.BLOCK, "NODE_UNDER_PRESSURE"),
        ("w1", {"is_unschedulable": True}, Outcome.WARN, "NODE_CORDONED"),
        ("cp1", {"is_unschedulable": True}, Outcome.BLOCK, "NODE_CORDONED"),
        (
            "cp1",
            {"is_unschedulable": True, "annotations": {"nightshift.io/owner": "run"}},
            Outcome.PASS,
            "OK",
        ),
    ],
)
def test_one_odd_node(name: str, changes: dict[str, Any], outcome: Outcome, code: str) -> None:
    others = [node("cp9"), node("w9")]
    verdict = verdict_of(*others, node(name, **changes))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert name in verdict.message
        assert "w9" not in verdict.message


def test_pass_counts_ready_nodes() -> None:
    assert verdict_of(node("cp1"), node("w1")).value == "2 of 2 Ready"


@pytest.mark.parametrize("nodes", [[], [node("w1")]])
def test_no_control_plane_is_blind(nodes: list[Any]) -> None:
    assert verdict_of(*nodes).outcome is Outcome.BLIND


def test_all_odd_nodes_are_named_worst_first() -> None:
    verdict = verdict_of(
        node("cp1"),
        node("w1", is_unschedulable=True),
        node("w2", is_ready=False),
        node("w3", pressures=("PIDPressure",)),
    )
    assert verdict.outcome is Outcome.BLOCK
    order = [verdict.message.index(name) for name in ("w2", "w3", "w1")]
    assert order == sorted(order)
    assert len(verdict.evidence["findings"]) == 3


@pytest.mark.parametrize(
    ("age", "moment", "ahead", "outcome"),
    [
        (29, Moment.NIGHT, (), Outcome.BLOCK),
        (31, Moment.NIGHT, (), Outcome.PASS),
        (-5, Moment.NIGHT, (), Outcome.BLOCK),  # the API server's clock is a little ahead of ours
        (20, Moment.PLACE, ("w1",), Outcome.WARN),
        (20, Moment.PLACE, ("w2",), Outcome.PASS),  # our own restarts let it flip
        (31, Moment.PLACE, ("w1",), Outcome.PASS),
    ],
)
def test_a_node_that_was_away_a_moment_ago(
    age: float, moment: Moment, ahead: tuple[str, ...], outcome: Outcome
) -> None:
    verdict = verdict_of(node("cp1"), node("w1", ready_since=NOW - age), moment=moment, ahead=ahead)
    assert verdict.outcome is outcome
    if outcome is not Outcome.PASS:
        assert verdict.code == "NODE_NOT_SETTLED"
        assert f"w1 is Ready for {max(age, 0)} s only" in verdict.message
        assert f"Look again in {30 - max(age, 0)} s" in verdict.resolution


def test_how_long_nodes_must_be_calm_is_the_owners_choice() -> None:
    policy = replace(POLICY, nodes=NodePolicy(settle_seconds=0))
    nodes = (node("cp1", ready_since=NOW - 1),)
    assert node_health.check(round_of({NODES: nodes}), policy).outcome is Outcome.PASS


def test_a_node_that_is_not_ready_is_not_also_called_restless() -> None:
    verdict = verdict_of(node("cp1"), node("w1", is_ready=False, ready_since=NOW - 1))
    assert [f["code"] for f in verdict.evidence["findings"]] == ["NODE_NOT_READY"]


def test_the_kubelets_own_words_and_the_cordons_author_are_told() -> None:
    said = "KubeletNotReady: container runtime is down"
    assert said in verdict_of(node("cp1"), node("w1", is_ready=False, ready_message=said)).cause
    cordoned = node("cp1", is_unschedulable=True, cordoned_by="kubectl", cordoned_since=NOW)
    assert "cordoned by somebody else with kubectl since 2026-09-21" in verdict_of(cordoned).message
