"""Whether a mutating night may start now, by the owner's calendar."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from nightshift.domain.policy import WindowPolicy
from nightshift.domain.verdicts import Outcome, Verdict

GATE = "window"
# A scheduled night may wait this long for Airflow to come up; later it is no night any more.
LATEST_START = timedelta(hours=2)


def check_window(policy: WindowPolicy, now: datetime) -> Verdict:
    """Say whether the window is open at this moment (an aware datetime).

    A closed window is a hold, not a block: nobody has to do anything, the next night comes.
    """
    moment = now.astimezone(UTC)
    said = f"{moment:%Y-%m-%d %H:%M} UTC"
    if moment.date().isoformat() in policy.frozen_dates:
        return Verdict(
            GATE,
            Outcome.HOLD,
            "DATE_FROZEN",
            f"{moment.date().isoformat()} is frozen by this cluster's policy.",
            cause="The date is listed under window.frozen_dates.",
            resolution="Wait for the next date that is not frozen, or take the date off the list.",
            value=said,
            threshold=", ".join(policy.frozen_dates),
        )
    if not _is_inside(moment.time(), _parse(policy.start), _parse(policy.end)):
        return Verdict(
            GATE,
            Outcome.HOLD,
            "WINDOW_CLOSED",
            f"It is {moment:%H:%M} UTC, outside the window {policy.start}-{policy.end} UTC.",
            cause="Nothing starts outside the window of this cluster's policy.",
            resolution=f"Start the run between {policy.start} and {policy.end} UTC, or change window in the YAML.",
            value=said,
            threshold=f"{policy.start}-{policy.end} UTC",
        )
    return Verdict(GATE, Outcome.PASS, "OK", f"The window is open ({said}).", value=said)


def check_late_start(planned: datetime | None, now: datetime) -> Verdict:
    """Say whether a scheduled run still starts in its night; `planned` None: started by hand, always welcome.

    Airflow starts the last missed run the moment a DAG is unpaused or the scheduler is back, whatever the hour.
    """
    if planned is None or now - planned <= LATEST_START:
        return Verdict(GATE, Outcome.PASS, "OK", "The run starts when it was meant to.")
    hours = (now - planned).total_seconds() / 3600
    return Verdict(
        GATE,
        Outcome.HOLD,
        "NIGHT_MISSED",
        f"This run was due {planned:%Y-%m-%d %H:%M} UTC, {hours:.1f} hours ago.",
        cause="The DAG was paused or Airflow was down at that time; it starts the missed run as soon as it can.",
        resolution="Wait for the next night, or trigger a run by hand.",
        value=f"{hours:.1f} h",
        threshold=f"{LATEST_START.total_seconds() / 3600:.0f} h",
    )


def _parse(text: str) -> time:
    hours, minutes = text.split(":")
    return time(int(hours), int(minutes))


def _is_inside(moment: time, start: time, end: time) -> bool:
    """Start belongs to the window, end does not; equal: always, end before start: past midnight."""
    if start == end:
        return True
    if start < end:
        return start <= moment < end
    return moment >= start or moment < end
