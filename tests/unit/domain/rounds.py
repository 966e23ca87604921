"""A round of facts made by hand: {topic: value} in, everything just read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.round import AnyTopic, Moment, Reading, Round, Unread

NOW = 1_000_000.0


def round_of(
    facts: Mapping[AnyTopic, Any],
    moment: Moment = Moment.NIGHT,
    ahead: tuple[str, ...] = (),
    problems: Mapping[AnyTopic, Unread] | None = None,
) -> Round:
    readings = {topic.name: Reading(NOW, value=value) for topic, value in facts.items()}
    readings |= {topic.name: Reading(NOW, problem=problem) for topic, problem in (problems or {}).items()}
    return Round(moment, NOW, readings, ahead)
