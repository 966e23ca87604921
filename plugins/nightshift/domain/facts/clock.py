"""How far a node's clock is from ours."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.round import NodeTopic


@dataclass(frozen=True)
class ClockOffset:
    """A node's clock minus ours, in seconds; true to `uncertainty` seconds either way."""

    seconds: float
    uncertainty: float

    @staticmethod
    def between(before: float, said: float, after: float) -> ClockOffset:
        """From our clock before and after the question, and what the node said in between."""
        return ClockOffset(said - (before + after) / 2, abs(after - before) / 2)


CLOCKS = NodeTopic[ClockOffset]("clocks", "a node's clock")
