"""A window over etcd that was kept open may not hide its own last part."""

from __future__ import annotations

from typing import Any

import pytest

from nightshift.domain.etcd_window import TOO_FEW, hidden_findings, last_window_start, look_on_seconds

SLOW = {"outcome": "block", "code": "ETCD_SLOW"}
FEW = {"outcome": "blind", "code": TOO_FEW}
PASSED = {"outcome": "pass", "code": "OK", "evidence": {}}


def said(*findings: dict[str, str]) -> dict[str, Any]:
    return {**findings[0], "evidence": {"findings": list(findings)}}


@pytest.mark.parametrize(
    ("taken", "start"), [(159.9, None), (160.0, 100.0), (174.0, 100.0), (175.0, 115.0), (400.0, 130.0)]
)
def test_the_last_part_is_the_newest_whole_window(taken: float, start: float | None) -> None:
    looks = [{"taken": at} for at in (100.0, 130.0, 115.0)]
    found = last_window_start(looks, taken, 60)
    assert (found["taken"] if found else None) == start


def test_what_the_last_part_says_alone_counts_where_the_whole_opens() -> None:
    assert hidden_findings(PASSED, said(FEW, SLOW)) == [SLOW]
    assert hidden_findings(PASSED, {**SLOW, "evidence": {}}) == [{**SLOW, "evidence": {}}]
    assert hidden_findings({**PASSED, "outcome": "warn"}, said(SLOW)) == [SLOW]


def test_few_observations_of_the_last_part_and_a_whole_that_is_shut_hide_nothing() -> None:
    assert hidden_findings(PASSED, said(FEW)) == []
    assert hidden_findings(PASSED, PASSED) == []
    assert hidden_findings(said(FEW), said(SLOW)) == []


def few(**observations: float | None) -> dict[str, Any]:
    member = {"window_seconds": 60.0, "observations": observations}
    return {**FEW, "evidence": {"cp1": member, "findings": [FEW]}}


@pytest.mark.parametrize(
    ("verdict", "seconds"),
    [
        (few(wal_fsync=90.0, apply=400.0), 8.0),
        (few(wal_fsync=95.0, apply=80.0), 15.0),  # the scarcest needs 18 s; no step is longer
        (few(wal_fsync=99.9), 3.0),
        (few(wal_fsync=0.0, apply=99.0), 15.0),
        (few(wal_fsync=None, apply=90.0), 8.0),
        (few(wal_fsync=None), 15.0),
        (FEW | {"evidence": {}}, 15.0),
    ],
)
def test_the_next_look_comes_when_the_missing_observations_should_be_there(
    verdict: dict[str, Any], seconds: float
) -> None:
    assert look_on_seconds(verdict, 100, 15.0) == pytest.approx(seconds)


def test_who_stays_silent_is_asked_ever_more_rarely() -> None:
    nearly = few(wal_fsync=99.0)
    assert [look_on_seconds(nearly, 100, 15.0, looks) for looks in (1, 2, 4, 6)] == [3.0, 6.0, 12.0, 15.0]
