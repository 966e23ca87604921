from __future__ import annotations

from typing import Any

import pytest
from tests.unit.domain.builders import node

from nightshift.domain.gates import node_health
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
    verdict = node_health.check([*others, node(name, **changes)])
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert name in verdict.message
        assert "w9" not in verdict.message


def test_pass_counts_ready_nodes() -> None:
    assert node_health.check([node("cp1"), node("w1")]).value == "2 of 2 Ready"


@pytest.mark.parametrize("nodes", [[], [node("w1")]])
def test_no_control_plane_is_blind(nodes: list[Any]) -> None:
    assert node_health.check(nodes).outcome is Outcome.BLIND


def test_all_odd_nodes_are_named_worst_first() -> None:
    verdict = node_health.check(
        [
            node("cp1"),
            node("w1", is_unschedulable=True),
            node("w2", is_ready=False),
            node("w3", pressures=("PIDPressure",)),
        ]
    )
    assert verdict.outcome is Outcome.BLOCK
    order = [verdict.message.index(name) for name in ("w2", "w3", "w1")]
    assert order == sorted(order)
    assert len(verdict.evidence["findings"]) == 3
