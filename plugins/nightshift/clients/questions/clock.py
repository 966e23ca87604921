"""Reads the section `clock`: the node's time in seconds since the epoch, when it was asked and when it answered."""

from __future__ import annotations

import math

from nightshift.clients.questions import NodeQuestion


def parse_clock(text: str) -> tuple[float, float]:
    """Read the section: the first and the last time the node said; with one only they are the same.

    Raises:
        ValueError: it is no time.
    """
    times = [float(word) for word in text.split()]
    if len(times) not in (1, 2) or not all(math.isfinite(seconds) for seconds in times):
        raise ValueError(f"no time: {text!r}")
    return times[0], times[-1]


CLOCK_QUESTION = NodeQuestion("clock", parse_clock)
