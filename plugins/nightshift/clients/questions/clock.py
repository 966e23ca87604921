"""Reads the section `clock`: the node's time in seconds since the epoch."""

from __future__ import annotations

import math

from nightshift.clients.questions import NodeQuestion


def parse_clock(text: str) -> float:
    """Read the section.

    Raises:
        ValueError: it is no time.
    """
    seconds = float(text)
    if not math.isfinite(seconds):
        raise ValueError(f"no time: {text!r}")
    return seconds


CLOCK_QUESTION = NodeQuestion("clock", parse_clock)
