from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nightshift.clients.cron import next_start

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "frozen", "expected"),
    [
        pytest.param("0 23 * * *", (), "2026-11-29T23:00", id="tonight"),
        pytest.param("0 12 * * *", (), "2026-11-30T12:00", id="not this very moment"),
        pytest.param("30 1 * * 1-5", (), "2026-11-30T01:30", id="on weekdays"),
        pytest.param("@weekly", (), "2026-12-06T00:00", id="a name"),
        pytest.param("0 23 * * *", ("2026-11-29", "2026-11-30"), "2026-12-01T23:00", id="frozen dates"),
    ],
)
def test_the_next_start(schedule: str, frozen: tuple[str, ...], expected: str) -> None:
    start = next_start(schedule, NOON, frozen)
    assert start is not None
    assert start.isoformat(timespec="minutes") == f"{expected}+00:00"


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert next_start("0 23 * * *", tokyo) == next_start("0 23 * * *", NOON)


def test_who_freezes_every_start_has_no_next_night() -> None:
    dates = [(NOON + timedelta(days=n)).date().isoformat() for n in range(1100)]
    assert next_start("0 23 * * *", NOON, dates) is None
