from __future__ import annotations

from typing import Any

import pytest
from tests.unit.domain.builders import budget, pod

from nightshift.domain.drain import plan_drain, require_drainable, selector_matches
from nightshift.domain.errors import DrainBlockedError
from nightshift.domain.policy import DrainPolicy

POLICY = DrainPolicy()
BARE: dict[str, Any] = {"controller": None, "controller_kind": None}
DAEMON: dict[str, Any] = {"controller": "DaemonSet/agent", "controller_kind": "DaemonSet"}


@pytest.mark.parametrize(
    ("changes", "policy", "where"),
    [
        pytest.param({}, {}, "evict", id="managed"),
        pytest.param({"is_mirror": True, **BARE}, {}, "skip", id="mirror pod"),
        pytest.param(DAEMON, {}, "skip", id="DaemonSet"),
        pytest.param({**DAEMON, "phase": "Failed"}, {}, "evict", id="finished DaemonSet pod"),
        pytest.param({"has_emptydir": True}, {}, "evict", id="emptyDir allowed by default"),
        pytest.param(
            {"has_emptydir": True}, {"delete_emptydir_data": False}, "blockers", id="emptyDir protected"
        ),
        pytest.param(
            {"has_emptydir": True, "phase": "Succeeded"},
            {"delete_emptydir_data": False},
            "evict",
            id="finished pod's emptyDir",
        ),
        pytest.param(BARE, {}, "blockers", id="bare pod"),
        pytest.param(
            {**BARE, "annotations": {"nightshift.io/evict": "true"}}, {}, "evict", id="annotated bare"
        ),
        pytest.param(
            {**BARE, "annotations": {"nightshift.io/evict": "false"}}, {}, "blockers", id="annotated against"
        ),
        pytest.param(BARE, {"evict_unreplicated": True}, "evict", id="bare pods by policy"),
        pytest.param({**BARE, "phase": "Succeeded"}, {}, "evict", id="finished bare pod"),
        pytest.param({**BARE, "is_terminating": True}, {}, "evict", id="bare pod already going"),
    ],
)
def test_one_pod(changes: dict[str, Any], policy: dict[str, Any], where: str) -> None:
    plan = plan_drain([pod(**changes)], [], DrainPolicy(**policy))
    found = [name for name in ("evict", "skip", "blockers", "tight") if getattr(plan, name)]
    assert found == [where]


STRUCTURAL: dict[str, Any] = {
    "disruptions_allowed": 0,
    "current_healthy": 3,
    "desired_healthy": 3,
    "expected_pods": 3,
}


@pytest.mark.parametrize(
    ("budgets", "changes", "where"),
    [
        pytest.param([budget()], {}, ["evict"], id="budget allows"),
        pytest.param([budget(**STRUCTURAL)], {}, ["blockers"], id="can never allow"),
        pytest.param(
            [budget(**{**STRUCTURAL, "current_healthy": 2})], {}, ["blockers"], id="never, and one is ill too"
        ),
        pytest.param(
            [budget(disruptions_allowed=0, current_healthy=2)],
            {},
            ["evict", "tight"],
            id="not now, maybe later",
        ),
        pytest.param([budget(), budget("second")], {}, ["blockers"], id="two budgets: eviction refuses"),
        pytest.param([budget(), budget("second", namespace="other")], {}, ["evict"], id="other namespace"),
        pytest.param(
            [budget(), budget("second", selector={"matchLabels": {"app": "db"}})],
            {},
            ["evict"],
            id="other pods",
        ),
        pytest.param(
            [budget(disruptions_allowed=0, is_computed=False, sync_error="no scale")],
            {},
            ["blockers"],
            id="nobody can count it",
        ),
        pytest.param(
            [budget(disruptions_allowed=0, sync_error="no scale")],
            {},
            ["blockers"],
            id="nobody can count it any more",
        ),
        pytest.param([budget(**STRUCTURAL, selector=None)], {}, ["evict"], id="no selector selects no pod"),
        pytest.param(
            [budget(**STRUCTURAL)], {"phase": "Pending"}, ["evict"], id="pending pods ask no budget"
        ),
        pytest.param([budget(**STRUCTURAL)], {"is_terminating": True}, ["evict"], id="going already"),
        pytest.param([budget(**STRUCTURAL)], {"phase": "Failed"}, ["evict"], id="finished"),
        pytest.param([budget(**STRUCTURAL)], DAEMON, ["skip"], id="stays anyway"),
    ],
)
def test_budgets(budgets: list[Any], changes: dict[str, Any], where: list[str]) -> None:
    plan = plan_drain([pod(**changes)], budgets, POLICY)
    assert [name for name in ("evict", "skip", "blockers", "tight") if getattr(plan, name)] == where


def test_refusal_names_pods_budgets_and_the_way_out() -> None:
    plan = plan_drain([pod("web-1"), pod("bare", labels={}, **BARE)], [budget(**STRUCTURAL)], POLICY)
    with pytest.raises(DrainBlockedError) as caught:
        require_drainable("w1", plan)
    text = str(caught.value)
    assert caught.value.code == "DRAIN_BLOCKED"
    for part in (
        "w1",
        "default/web-1",
        "default/web can never allow",
        "3 healthy, 3 required of 3",
        "default/bare",
    ):
        assert part in text
    assert "nightshift.io/evict" in caught.value.next_step


def test_refusal_without_budgets_and_no_refusal() -> None:
    with pytest.raises(DrainBlockedError, match="Waiting would not help; nothing was evicted"):
        require_drainable("w1", plan_drain([pod(**BARE)], [], POLICY))
    require_drainable("w1", plan_drain([pod()], [budget()], POLICY))


def test_order_is_stable() -> None:
    pods = [pod("b"), pod("a"), pod("c", namespace="another")]
    assert [p.name for p in plan_drain(pods, [], POLICY).evict] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "x"}}, False),
        ({"matchLabels": None, "matchExpressions": None}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "none", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, True),
        (
            {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}],
            },
            False,
        ),
    ],
)
def test_selectors(selector: dict[str, Any] | None, expected: bool) -> None:
    assert selector_matches(selector, {"app": "web"}) is expected
