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
    def between(before: float, first: float, last: float, after: float) -> ClockOffset:
        """From our clock before and after the question, and the first and last time the node said in between.

        The node is ahead by at most `first - before` and by at least `last - after`.
        """
        most, least = first - before, last - after
        return ClockOffset((most + least) / 2, abs(most - least) / 2)


CLOCKS = NodeTopic[ClockOffset]("clocks", "a node's clock")
