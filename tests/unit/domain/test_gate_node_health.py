from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import NOW, POLICY, judged, node

from nightshift.domain.debts import OWNER_ANNOTATION
from nightshift.domain.policy import NodePolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Outcome


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
    verdict = judged("node_health", nodes=(*others, node(name, **changes)))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert name in verdict.message
        assert "w9" not in verdict.message


def test_pass_counts_ready_nodes() -> None:
    assert judged("node_health", nodes=(node("cp1"), node("w1"))).value == "2 of 2 Ready"


@pytest.mark.parametrize("nodes", [[], [node("w1")]])
def test_no_control_plane_is_blind(nodes: list[Any]) -> None:
    assert judged("node_health", nodes=tuple(nodes)).outcome is Outcome.BLIND


def test_all_odd_nodes_are_named_worst_first() -> None:
    verdict = judged(
        "node_health",
        nodes=(
            node("cp1"),
            node("w1", is_unschedulable=True),
            node("w2", is_ready=False),
            node("w3", pressures=("PIDPressure",)),
        ),
    )
    assert verdict.outcome is Outcome.BLOCK
    order = [verdict.message.index(name) for name in ("w2", "w3", "w1")]
    assert order == sorted(order)
    assert len(verdict.evidence["findings"]) == 3


@pytest.mark.parametrize(
    ("moment", "ahead", "outcome"),
    [
        (Moment.NIGHT, (), Outcome.BLOCK),
        (Moment.PLACE, ("w2",), Outcome.PASS),
        (Moment.PLACE, ("w1",), Outcome.BLOCK),
    ],
)
def test_a_worker_set_aside_closes_its_own_place_and_the_next_night_only(
    moment: Moment, ahead: tuple[str, ...], outcome: Outcome
) -> None:
    aside = node("w1", is_ready=False, annotations={QUARANTINE_ANNOTATION: "{}"})
    nodes = (node("cp1"), aside, node("w2"))
    assert judged("node_health", nodes=nodes, moment=moment, nodes_ahead=ahead).outcome is outcome


def test_a_mark_on_a_control_plane_hides_nothing() -> None:
    """None is ever set aside by the night."""
    nodes = (node("cp1", is_ready=False, annotations={QUARANTINE_ANNOTATION: "{}"}), node("w1"))
    verdict = judged("node_health", nodes=nodes, moment=Moment.PLACE, nodes_ahead=("w1",))
    assert verdict.outcome is Outcome.BLOCK


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
    nodes = (node("cp1"), node("w1", ready_since=NOW - age), node("w2"))
    verdict = judged("node_health", nodes=nodes, moment=moment, nodes_ahead=ahead)
    assert verdict.outcome is outcome
    if outcome is not Outcome.PASS:
        assert verdict.code == "NODE_NOT_SETTLED"
        assert f"w1 is Ready for {max(age, 0)} s only" in verdict.message
        assert verdict.look_again is not None
        assert (verdict.look_again.at or 0) >= NOW + 30 - max(age, 0)


def test_how_long_nodes_must_be_calm_is_the_owners_choice() -> None:
    policy = replace(POLICY, nodes=NodePolicy(settle_seconds=0))
    nodes = (node("cp1", ready_since=NOW - 1),)
    assert judged("node_health", policy, nodes=nodes).outcome is Outcome.PASS


def test_a_node_that_is_not_ready_is_not_also_called_restless() -> None:
    nodes = (node("cp1"), node("w1", is_ready=False, ready_since=NOW - 1))
    verdict = judged("node_health", nodes=nodes)
    assert [f["code"] for f in verdict.evidence["findings"]] == ["NODE_NOT_READY"]


def test_the_kubelets_own_words_and_the_cordons_author_are_told() -> None:
    said = "KubeletNotReady: container runtime is down"
    silent = (node("cp1"), node("w1", is_ready=False, ready_message=said))
    assert said in judged("node_health", nodes=silent).cause
    cordoned = node("cp1", is_unschedulable=True, cordoned_by="kubectl", cordoned_since=1_790_000_000.0)
    verdict = judged("node_health", nodes=(cordoned,))
    assert "cordoned by somebody else with kubectl since 2026-09-21" in verdict.message


def test_a_persons_cordon_is_one_also_where_our_mark_was_left() -> None:
    marked = node("cp1", is_unschedulable=True, cordoned_by="kubectl", annotations={OWNER_ANNOTATION: "a"})
    assert judged("node_health", nodes=(marked,)).outcome is Outcome.BLOCK
    ours = replace(marked, cordoned_by="nightshift")
    assert judged("node_health", nodes=(ours,)).outcome is Outcome.PASS
