from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nightshift.domain.policy import WindowPolicy
from nightshift.domain.verdicts import Outcome
from nightshift.domain.window import check_fit, check_late_start, check_window


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


NIGHT = WindowPolicy("22:00", "04:00")


@pytest.mark.parametrize(
    ("policy", "moment", "measured", "limit", "fits"),
    [
        pytest.param(NIGHT, "2026-11-24T03:45", 10, 90, True, id="10 min last time, 15 min left"),
        pytest.param(NIGHT, "2026-11-24T03:46", 10, 90, False, id="10 min last time, 14 min left"),
        pytest.param(NIGHT, "2026-11-23T23:00", 10, 90, True, id="the window closes on the next day"),
        pytest.param(NIGHT, "2026-11-24T02:30", None, 90, True, id="never measured, its limits fit"),
        pytest.param(NIGHT, "2026-11-24T02:31", None, 90, False, id="never measured, its limits do not"),
        pytest.param(
            NIGHT, "2026-11-24T01:00", None, 600, True, id="limits longer than the window, first half"
        ),
        pytest.param(
            NIGHT, "2026-11-24T01:01", None, 600, False, id="limits longer than the window, second half"
        ),
        pytest.param(
            NIGHT, "2026-11-24T01:00", 300, 90, True, id="slower than the window is long, first half"
        ),
        pytest.param(WindowPolicy(), "2026-11-24T23:59", None, 90, True, id="always open"),
        pytest.param(
            WindowPolicy(frozen_dates=("2026-11-25",)),
            "2026-11-24T23:45",
            10,
            90,
            True,
            id="fits before a frozen date",
        ),
        pytest.param(
            WindowPolicy(frozen_dates=("2026-11-25",)),
            "2026-11-24T23:46",
            10,
            90,
            False,
            id="runs into a frozen date",
        ),
        pytest.param(
            WindowPolicy("22:00", "04:00", ("2026-11-25",)),
            "2026-11-24T23:46",
            10,
            90,
            False,
            id="frozen comes first",
        ),
        pytest.param(
            WindowPolicy("22:00", "00:00"), "2026-11-24T23:46", 10, 90, False, id="closes at midnight"
        ),
    ],
)
def test_a_node_is_begun_only_if_it_will_be_done_in_time(
    policy: WindowPolicy, moment: str, measured: float | None, limit: float, fits: bool
) -> None:
    known = {} if measured is None else {"w1": measured * 60.0}
    now = datetime.fromisoformat(f"{moment}:00+00:00")
    verdict = check_fit(policy, now, ["w1"], known, limit * 60.0)
    assert verdict.outcome is (Outcome.PASS if fits else Outcome.HOLD)
    assert verdict.code == ("OK" if fits else "NODE_DOES_NOT_FIT")


def test_of_nodes_that_are_begun_together_the_slowest_counts_and_is_named() -> None:
    now = datetime(2026, 11, 24, 3, 40, tzinfo=UTC)
    verdict = check_fit(NIGHT, now, ["w1", "w2"], {"w1": 300.0, "w2": 1200.0}, 5400.0)
    assert (
        verdict.message == "w2 may take 30 min (it took 20 min last time), and the window closes in 20 min."
    )
    verdict = check_fit(NIGHT, now, ["w1", "w3"], {"w1": 300.0}, 5400.0)
    assert (
        verdict.message == "w3 may take 90 min (it was never measured here), and the window closes in 20 min."
    )
    frozen = WindowPolicy(frozen_dates=("2026-11-25",))
    verdict = check_fit(frozen, now.replace(hour=23, minute=55), ["w1"], {"w1": 300.0}, 5400.0)
    assert verdict.message.endswith("and 2026-11-25 (frozen) begins in 5 min.")


def test_when_no_node_is_asked_about_everything_fits() -> None:
    assert check_fit(NIGHT, datetime(2026, 11, 24, 3, 59, tzinfo=UTC), [], {}, 5400.0).outcome is Outcome.PASS
