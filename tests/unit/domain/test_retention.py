"""What in the store is old enough to go."""

from __future__ import annotations

import pytest

from nightshift.domain.retention import expired, expired_snapshots

DAY = 86_400.0
NOW = 100 * DAY
MADE = {f"{days} days ago": NOW - days * DAY for days in (1, 10, 31, 32, 40)}


@pytest.mark.parametrize(
    ("keep_days", "keep_runs", "gone"),
    [
        (30, 0, ("31 days ago", "32 days ago", "40 days ago")),
        (30, 4, ("40 days ago",)),
        (30, 9, ()),
        (31, 0, ("32 days ago", "40 days ago")),  # a run of exactly 31 days is not older than that
    ],
)
def test_old_and_not_of_the_newest(keep_days: int, keep_runs: int, gone: tuple[str, ...]) -> None:
    assert expired(MADE, NOW, keep_days, keep_runs) == gone


def test_an_entry_without_its_bundle_is_none_of_the_newest() -> None:
    bundled = {"10 days ago", "31 days ago", "40 days ago"}
    gone = expired_snapshots(MADE, bundled, NOW, 30, 2)
    assert gone == ("40 days ago", "32 days ago"), (
        "two bundles stay, and the bare entry of yesterday by its age"
    )
