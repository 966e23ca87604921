"""What in the store is old enough to go."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_DAY = 86_400


def expired(made: Mapping[str, float], now: float, keep_days: int, keep_runs: int) -> tuple[str, ...]:
    """Which runs' things go: older than `keep_days`, and not of the newest `keep_runs`.

    Args:
        made: run -> when its youngest was made, seconds since the epoch.
        now: seconds since the epoch.
        keep_days: nothing younger than so many days goes.
        keep_runs: so many runs keep theirs whatever its age.
    """
    by_age = sorted(made, key=lambda run: made[run], reverse=True)
    return tuple(run for run in by_age[keep_runs:] if now - made[run] > keep_days * _DAY)


def expired_snapshots(
    made: Mapping[str, float], bundled: Collection[str], now: float, keep_days: int, keep_runs: int
) -> tuple[str, ...]:
    """Which runs' snapshots go. An entry without its bundle is no way back: it is none of the newest, and goes by its age.

    Args:
        made: run -> when its snapshot was taken, seconds since the epoch.
        bundled: runs whose bundle is there.
        now: seconds since the epoch.
        keep_days: nothing younger than so many days goes.
        keep_runs: so many bundles stay whatever their age.
    """
    whole = {run: at for run, at in made.items() if run in bundled}
    bare = {run: at for run, at in made.items() if run not in bundled}
    return expired(whole, now, keep_days, keep_runs) + expired(bare, now, keep_days, 0)
