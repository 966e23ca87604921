from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nightshift.domain.policy import WindowPolicy
from nightshift.domain.verdicts import Outcome
from nightshift.domain.window import check_late_start, check_window


@pytest.mark.parametrize(
    ("start", "end", "moment", "is_open"),
    [
        ("00:00", "00:00", "12:34", True),
        ("22:00", "04:00", "23:00", True),
        ("22:00", "04:00", "03:59", True),
        ("22:00", "04:00", "04:00", False),
        ("22:00", "04:00", "21:59", False),
        ("01:00", "05:00", "01:00", True),
        ("01:00", "05:00", "05:00", False),
        ("01:00", "05:00", "00:59", False),
    ],
)
def test_window(start: str, end: str, moment: str, is_open: bool) -> None:
    now = datetime.fromisoformat(f"2026-11-23T{moment}:00+00:00")
    verdict = check_window(WindowPolicy(start, end), now)
    assert verdict.outcome is (Outcome.PASS if is_open else Outcome.HOLD)
    if not is_open:
        assert verdict.code == "WINDOW_CLOSED"
        assert moment in verdict.message
        assert f"{start}-{end}" in verdict.message


def test_frozen_date_wins_over_an_open_window() -> None:
    verdict = check_window(WindowPolicy(frozen_dates=("2026-12-24",)), datetime(2026, 12, 24, 23, tzinfo=UTC))
    assert (verdict.outcome, verdict.code) == (Outcome.HOLD, "DATE_FROZEN")
    assert "2026-12-24" in verdict.message


def test_other_time_zones_are_converted_before_anything_is_compared() -> None:
    berlin = timezone(timedelta(hours=1))
    policy = WindowPolicy("22:00", "23:00", ("2026-12-24",))
    assert (
        check_window(policy, datetime(2026, 12, 24, 0, 30, tzinfo=berlin)).code == "WINDOW_CLOSED"
    )  # 23:30 UTC, 23rd
    assert check_window(policy, datetime(2026, 12, 23, 23, 30, tzinfo=berlin)).outcome is Outcome.PASS
    assert check_window(policy, datetime(2026, 12, 25, 0, 30, tzinfo=berlin)).code == "DATE_FROZEN"


@pytest.mark.parametrize(
    ("late", "outcome"),
    [
        (None, Outcome.PASS),
        (timedelta(0), Outcome.PASS),
        (timedelta(hours=2), Outcome.PASS),
        (timedelta(hours=2, seconds=1), Outcome.HOLD),
        (timedelta(days=3), Outcome.HOLD),
    ],
)
def test_a_missed_night_is_held(late: timedelta | None, outcome: Outcome) -> None:
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    verdict = check_late_start(None if late is None else now - late, now)
    assert verdict.outcome is outcome
    if outcome is Outcome.HOLD:
        assert verdict.code == "NIGHT_MISSED"
        assert "was due" in verdict.message
