"""Whether a mutating night may start now, by the owner's calendar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from nightshift.domain.look_again import LookAgain, at_moment
from nightshift.domain.policy import WindowPolicy
from nightshift.domain.verdicts import Outcome, Verdict

GATE = "window"
# A scheduled night may wait this long for Airflow to come up; later it is no night any more.
LATEST_START = timedelta(hours=2)
_SLACK = 1.5  # a node may take this much longer than it last took
_DAY = timedelta(days=1)
_DAYS_LOOKED_AT = 366  # for the next time the window opens


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
            look_again=_opening(policy, moment),
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
            look_again=_opening(policy, moment),
        )
    return Verdict(GATE, Outcome.PASS, "OK", f"The window is open ({said}).", value=said)


def check_fit(
    policy: WindowPolicy,
    now: datetime,
    nodes: Sequence[str],
    measured: Mapping[str, float],
    limit_seconds: float,
) -> Verdict:
    """Say whether nodes that are begun together now will be done before the window closes or a frozen date begins.

    A node that was upgraded before may take half as long again as it then took; any other as long as its limits
    allow. Neither counts for more than half the window: otherwise a node that is slower than a short window is long
    would wait for ever, and nobody would be told.

    Args:
        policy: the owner's calendar.
        now: an aware datetime within the window.
        nodes: who would be begun.
        measured: node -> seconds its last upgrade took.
        limit_seconds: what one node may take at most.
    """
    left = _time_left(policy, now.astimezone(UTC))
    if left is None or not nodes:
        return Verdict(GATE, Outcome.PASS, "OK", "Nothing closes tonight.")
    most = _length(policy).total_seconds() / 2
    may_take = {name: _SLACK * measured[name] if name in measured else limit_seconds for name in nodes}
    slowest = max(nodes, key=lambda name: may_take[name])
    needed = min(may_take[slowest], most)
    value, threshold = f"{needed / 60:.0f} min", f"{left.total_seconds() / 60:.0f} min"
    if needed <= left.total_seconds():
        return Verdict(GATE, Outcome.PASS, "OK", "The nodes fit.", value=value, threshold=threshold)
    known = measured.get(slowest)
    why = f"it took {known / 60:.0f} min last time" if known is not None else "it was never measured here"
    return Verdict(
        GATE,
        Outcome.HOLD,
        "NODE_DOES_NOT_FIT",
        f"{slowest} may take {value} ({why}), and {_closing(policy, now, left)} in {threshold}.",
        cause="A node is begun only if it will be done before the window closes or a frozen date begins.",
        resolution="Nothing has to be done; the next night begins with it. A longer window takes more nodes.",
        value=value,
        threshold=threshold,
        look_again=_opening(policy, now.astimezone(UTC) + left),
    )


def _time_left(policy: WindowPolicy, moment: datetime) -> timedelta | None:
    """Until the window closes or a frozen date begins; None: neither comes within a day."""
    midnight = datetime.combine(moment.date() + _DAY, time(), UTC)
    left = [midnight - moment] if midnight.date().isoformat() in policy.frozen_dates else []
    if policy.start != policy.end:
        end = datetime.combine(moment.date(), _parse(policy.end), UTC)
        left.append((end if end > moment else end + _DAY) - moment)
    return min(left, default=None)


def _opening(policy: WindowPolicy, moment: datetime) -> LookAgain | None:
    """When the window is open for the first time after this moment; None: on none of the days looked at."""
    midnight = datetime.combine(moment.date(), time(), UTC)
    days = (midnight + n * _DAY for n in range(_DAYS_LOOKED_AT))
    # Also at midnight: a window that goes past it opens late on the day after a frozen one.
    moments = (
        datetime.combine(day, at, UTC) for day in days for at in sorted({time(), _parse(policy.start)})
    )
    for found in moments:
        is_open = _is_inside(found.time(), _parse(policy.start), _parse(policy.end))
        if found >= moment and is_open and found.date().isoformat() not in policy.frozen_dates:
            return at_moment(found.timestamp(), "when the window opens")
    return None


def _closing(policy: WindowPolicy, now: datetime, left: timedelta) -> str:
    """What ends the time that is left."""
    end = now.astimezone(UTC) + left
    is_frozen = end.time() == time() and end.date().isoformat() in policy.frozen_dates
    return f"{end.date().isoformat()} (frozen) begins" if is_frozen else "the window closes"


def _length(policy: WindowPolicy) -> timedelta:
    """How long the window is open each day."""
    start, end = (datetime.combine(datetime.min, _parse(text)) for text in (policy.start, policy.end))
    return (end - start) % _DAY or _DAY


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


@lru_cache(maxsize=64)
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
