"""Rounds for gates: what was read on each topic, all of it now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Reading, Round

NOW = 1_790_000_000.0
POLICY = ClusterPolicy("prod", "k", "s", "file:///store")


def round_of(
    facts: Mapping[AnyTopic, Any], moment: Moment = Moment.NIGHT, nodes_ahead: tuple[str, ...] = ()
) -> Round:
    readings = {topic.name: Reading(NOW, value=value) for topic, value in facts.items()}
    return Round(moment, NOW, readings, nodes_ahead)
