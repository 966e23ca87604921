"""When a cluster's schedule comes next: cron as Airflow reads it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from croniter import croniter

_MOST_STARTS = 1000  # looked at; an owner who freezes more of them has no next night to be told


def next_start(schedule: str, after: datetime, frozen_dates: Collection[str] = ()) -> datetime | None:
    """The first start after a moment that does not fall on a frozen date; None when there is none to be found.

    Args:
        schedule: cron in UTC, five fields or "@daily" and its like, as `schedule` in the cluster's file.
        after: an aware datetime.
        frozen_dates: ISO dates on which nothing starts.
    """
    starts = croniter(schedule, after.astimezone(UTC))
    for _ in range(_MOST_STARTS):
        start: datetime = starts.get_next(datetime)
        if start.date().isoformat() not in frozen_dates:
            return start
    return None
