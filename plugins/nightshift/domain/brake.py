"""The brake: an owner's word that the nights of a cluster wait. Pure; it lies in a ConfigMap that people write, too.

What cannot be read in it never releases it: a word that nobody understands is still a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

RELEASE = "release"  # what is done with a brake that is on, beside the two modes
_PAUSED, _MODE, _REASON, _BY, _UNTIL = "paused", "mode", "reason", "by", "until"  # keys of the ConfigMap


class BrakeMode(StrEnum):
    """How hard it is pulled."""

    PAUSE = "pause"  # no node is begun; one whose kubeadm was begun is carried to its end
    STOP = "stop now"  # nothing is begun; a job that runs comes to its end


@dataclass(frozen=True)
class Brake:
    """A brake that is on.

    Args:
        mode: see `BrakeMode`.
        reason: the owner's own words; may be empty.
        by: who pulled it; may be empty.
        until: when it releases itself, seconds since the epoch; None: when somebody releases it.
        unread: an "until" that cannot be read, and hence does not release it.
    """

    mode: BrakeMode = BrakeMode.PAUSE
    reason: str = ""
    by: str = ""
    until: float | None = None
    unread: str = ""

    @property
    def sentence(self) -> str:
        """Who pulled it, why, how hard, and until when."""
        why = self.reason.rstrip(".") or "no reason given"
        who = f", by {self.by}" if self.by else ""
        how = " (stop now)" if self.mode is BrakeMode.STOP else ""
        until = f", until {said(self.until)}" if self.until is not None else ""
        unread = f"; its end {self.unread!r} cannot be read, so it has none" if self.unread else ""
        return f"The brake is on{how}: {why}{who}{until}{unread}."

    def to_data(self) -> dict[str, str]:
        """As the ConfigMap has it."""
        until = "" if self.until is None else datetime.fromtimestamp(self.until, UTC).isoformat()
        data = {_PAUSED: "true", _MODE: self.mode.value, _REASON: self.reason, _BY: self.by, _UNTIL: until}
        return {key: value for key, value in data.items() if value}


def read_brake(data: Mapping[str, str], now: float) -> Brake | None:
    """Return the brake that is on at `now` (seconds since the epoch); None: it is off, or has released itself."""
    if str(data.get(_PAUSED, "")).strip().lower() != "true":
        return None
    until, unread = None, ""
    if text := str(data.get(_UNTIL, "")).strip():
        try:
            until = parse_until(text)
        except ValueError:
            unread = text
    if until is not None and until <= now:
        return None
    is_stop = str(data.get(_MODE, "")).strip().lower().startswith("stop")
    mode = BrakeMode.STOP if is_stop else BrakeMode.PAUSE
    return Brake(mode, str(data.get(_REASON, "")), str(data.get(_BY, "")), until, unread)


def parse_until(text: str) -> float:
    """Return a moment (ISO 8601; UTC unless it says otherwise) as seconds since the epoch.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def said(moment: float) -> str:
    """A moment for people."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class NodeAtWork:
    """A node that a run has taken.

    Args:
        name: of the node.
        jobs: what runs on it; None: it could not be asked.
        is_begun: its kubeadm was begun by this run.
    """

    name: str
    jobs: tuple[str, ...] | None
    is_begun: bool = False


def foresee(brake: Brake | None, holder: str, nodes: tuple[NodeAtWork, ...]) -> str:
    """Say what goes on at this moment, and what comes of it under this brake (None: it is off).

    Args:
        brake: as it is now.
        holder: who holds the Lease, alive; "" = nobody.
        nodes: those that carry a run's mark.
    """
    if not holder:
        if brake is None:
            return "Nobody is at the cluster; the next night may begin."
        end = "it is released" if brake.until is None else said(brake.until)
        return f"Nobody is at the cluster; nights are held until {end}."
    now = "; ".join(_now(node) for node in nodes) or "no node is taken at this moment"
    head = f"{holder} holds the cluster: {now}."
    if brake is None:
        return f"{head} It goes on; what it has already left for the next night stays there."
    then = " ".join(f"{_then(node, brake.mode)}." for node in nodes)
    return f"{head} {then}{' ' if then else ''}It begins no other node, and the rest continues on the next night."


def _now(node: NodeAtWork) -> str:
    if node.jobs is None:
        return f"{node.name} is cordoned and cannot be asked what runs there"
    if node.jobs:
        return f"{', '.join(node.jobs)} runs on {node.name}"
    return f"{node.name} is between two steps" if node.is_begun else f"{node.name} is drained"


def _then(node: NodeAtWork, mode: BrakeMode) -> str:
    if node.jobs is None:
        return f"A job that runs on {node.name} comes to its end"
    if not node.jobs and not node.is_begun:
        return f"{node.name} is given back as it was"
    if mode is BrakeMode.PAUSE:
        return f"{node.name} is carried to its end"
    job = "The job comes to its end; " if node.jobs else ""
    return f"{job}{node.name} is given back, and done to its end on the next night"
