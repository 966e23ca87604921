"""Whether a mutating night may start now, by the owner's calendar."""

from __future__ import annotations

from datetime import UTC, datetime, time

from nightshift.domain.policy import WindowPolicy
from nightshift.domain.verdicts import Outcome, Verdict

GATE = "window"


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
            cause="The run started outside the window of this cluster's policy.",
            resolution=f"Start it between {policy.start} and {policy.end} UTC, or change window in the YAML.",
            value=said,
            threshold=f"{policy.start}-{policy.end} UTC",
        )
    return Verdict(GATE, Outcome.PASS, "OK", f"The window is open ({said}).", value=said)


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
