"""Fencing in the Lease: the recovery takes the Lease from the run, and the run's old processes never get it back.

The process of a task lives on for seconds after the task was marked as failed. Its token is not enough to know it
by: it could ask for a new one. So the Lease remembers who was fenced and when, and a try of that run's task that
had begun before that moment claims nothing. A try that begins later (a cleared task, a retry) claims as ever.
"""

from __future__ import annotations

from nightshift.domain.facts import LeaseFacts
from nightshift.domain.owner import is_recovery, recovery_of, run_behind


def fence(lease: LeaseFacts, own: str | None, by: str, now: float, seconds: int) -> LeaseFacts:
    """Return the Lease as a recovery holds it from now on.

    Args:
        lease: as it is, held by a run, by a recovery that ended half-way, or by nobody.
        own: the owner that ends itself; None for the sweeper.
        by: who recovers, for the name of the recovery when nobody holds the Lease.
        now: seconds since the epoch.
        seconds: how long the Lease lives without being renewed.
    """
    run = run_behind(lease.holder) or own
    is_resumed = is_recovery(lease.holder) and own != run
    if run is None or is_resumed:  # whoever there was to fence was fenced when the first recovery came
        fenced_owner, fenced_at = lease.fenced_owner, lease.fenced_at
    else:
        fenced_owner, fenced_at = run, now
    return LeaseFacts(
        holder=recovery_of(run or by),
        token=lease.token + 1,
        acquired=now,
        renewed=now,
        duration_seconds=seconds,
        fenced_owner=fenced_owner,
        fenced_at=fenced_at,
    )


def is_fenced(lease: LeaseFacts, owner: str, began: float) -> bool:
    """Tell whether a try of `owner` that began then (seconds since the epoch) must not claim the Lease any more."""
    return lease.fenced_at is not None and owner == lease.fenced_owner and began <= lease.fenced_at
