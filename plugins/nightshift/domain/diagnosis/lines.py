"""Lines of a bundle's logs with their time: the kubelet's CRI files and journald's `short-iso`.

CRI (pods/…): `2026-11-28T23:15:42.668691587Z stderr F TEXT`; journal (journal/…): `2026-11-28T23:15:29+0000 HOST UNIT[PID]: TEXT`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))\s(.*)", re.DOTALL)
_CRI = re.compile(r"std(?:out|err) [FP] ")
_NEXT = 5  # lines behind one of journalctl's own in which a time is looked for
LINES_LIMIT = 200_000  # of one log that are looked at; a pod's log has 20,000 when the evidence cuts it, a journal 80,000
LINE_LIMIT = 2000  # characters of a line that are looked at: of a longer one the beginning is enough
COMMAND_FAILED = re.compile(r"\Aended with exit code \d+\s*\Z|\A[^\n]*\nended with exit code \d+\s*\Z")


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


def lines_of(text: str, since: float | None, words: re.Pattern[str] | None = None) -> Iterator[Line]:
    """Yield the lines of one log, of very many the last ones.

    Args:
        text: of the log.
        since: lines that are known to be older are left out (epoch seconds).
        words: lines without any of these are left out, before anything is made of them.
    """
    raws = text.splitlines()
    begin = max(0, len(raws) - LINES_LIMIT)
    for number, raw in enumerate(raws[begin:], start=begin + 1):
        if words is not None and words.search(raw) is None:
            continue
        line = _line(number, raw)
        if line.time is None and raw.startswith("-- "):  # journalctl's own, about what comes next
            line = replace(line, time=_next_time(raws[number : number + _NEXT]))
        if since is None or line.time is None or line.time >= since:
            yield line


def _next_time(raws: list[str]) -> float | None:
    return next((time for raw in raws if (time := _line(0, raw).time) is not None), None)


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


def is_readable(text: str) -> bool:
    """An empty log, or a command that failed, says nothing: neither that something was nor that it was not."""
    return bool(text.strip()) and not COMMAND_FAILED.match(text)
