"""Lines of a bundle's logs with their time: the kubelet's CRI files and journald's `short-iso`.

CRI (pods/…): `2026-11-28T23:15:42.668691587Z stderr F TEXT`; journal (journal/…): `2026-11-28T23:15:29+0000 HOST UNIT[PID]: TEXT`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))\s(.*)", re.DOTALL)
_CRI = re.compile(r"std(?:out|err) [FP] ")


@dataclass(frozen=True)
class Line:
    """One line.

    Args:
        number: in its file, from 1.
        text: without time and CRI stream; a journal's line keeps host and unit.
        time: seconds since the epoch; None when it has none.
    """

    number: int
    text: str
    time: float | None


def lines_of(text: str, since: float | None) -> Iterator[Line]:
    """Yield the lines of one log, without those that are known to be older than `since` (epoch seconds)."""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _line(number, raw)
        if since is None or line.time is None or line.time >= since:
            yield line


def _line(number: int, raw: str) -> Line:
    found = _STAMP.match(raw)
    if found is None:
        return Line(number, raw, None)
    return Line(number, _CRI.sub("", found[2], count=1), epoch(found[1]))


def epoch(stamp: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 time with an offset; None when it is none."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None
