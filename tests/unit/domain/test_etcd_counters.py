from __future__ import annotations

from typing import Any

import pytest
from tests.unit.domain.builders import etcd

from nightshift.domain.gates.etcd_counters import judge_counters

UNKNOWN = ("blind", "ETCD_UNREADABLE")
QUIET = {"proposals_pending": 0.0, "proposals_committed": 100.0, "proposals_failed_total": 3.0}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param({}, {}, [], id="nothing happened"),
        pytest.param(
            {}, {"leader_changes_total": 2.0}, [("warn", "ETCD_LEADER_CHANGED")], id="one leader change"
        ),
        pytest.param({}, {"leader_changes_total": 3.0}, [("block", "ETCD_LEADER_CHANGED")], id="two"),
        pytest.param({"leader_changes_total": 9.0}, {"leader_changes_total": 1.0}, [UNKNOWN], id="reset"),
        pytest.param({"leader_changes_total": None}, {}, [UNKNOWN], id="absent at first"),
        pytest.param(
            {"proposals_failed_total": None},
            {"leader_changes_total": 3.0},
            [UNKNOWN, ("block", "ETCD_LEADER_CHANGED")],
            id="absent beside one that tells",
        ),
        pytest.param({}, {"proposals_failed_total": 7.0}, [], id="four failed"),
        pytest.param(
            {}, {"proposals_failed_total": 8.0}, [("warn", "ETCD_PROPOSALS_FAILED")], id="five failed"
        ),
        pytest.param(
            {"proposals_pending": 4.0},
            {"proposals_pending": 6.0},
            [("block", "ETCD_PROPOSALS_STUCK")],
            id="stuck",
        ),
        pytest.param(
            {"proposals_pending": 4.0},
            {"proposals_pending": 6.0, "proposals_committed": 101.0},
            [],
            id="moving",
        ),
        pytest.param({"proposals_pending": 4.0}, {}, [], id="done"),
        pytest.param({}, {"proposals_pending": 6.0}, [], id="just come"),
        pytest.param(
            {"proposals_pending": 4.0, "proposals_committed": None},
            {"proposals_pending": 6.0},
            [UNKNOWN],
            id="not known to move",
        ),
    ],
)
def test_counters(old: dict[str, Any], new: dict[str, Any], said: list[tuple[str, str]]) -> None:
    before, after = etcd(**{**QUIET, **old}), etcd(taken=60.0, **{**QUIET, **new})
    findings = list(judge_counters(before, after))
    assert [(f.outcome.value, f.code) for f in findings] == said
    for finding in findings:
        assert "cp1" in finding.message
        assert finding.resolution


NAMES = {
    "leader_changes_total": "etcd_server_leader_changes_seen_total",
    "proposals_failed_total": "etcd_server_proposals_failed_total",
    "proposals_pending": "etcd_server_proposals_pending",
    "proposals_committed": "etcd_server_proposals_committed_total",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_a_counter_that_does_not_tell_is_blind(name: str, value: float | None, when: str) -> None:
    gone = {**QUIET, name: value}
    before = etcd(**(QUIET if when == "after" else gone))
    after = etcd(taken=60.0, **(QUIET if when == "before" else gone))
    (finding,) = judge_counters(before, after)
    assert (finding.outcome.value, finding.code) == UNKNOWN
    assert finding.message.endswith(f"over the window: {NAMES[name]}.")
