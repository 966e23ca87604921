"""Which nodes will be drained, as far as a round can know."""

from __future__ import annotations

from nightshift.domain.round import Moment, Round
from nightshift.domain.topics import NODES, TARGET


def drained_nodes(round_: Round) -> tuple[str, ...]:
    """Names of the nodes ahead; before the night those that are behind the target, or all while that is not known."""
    names = tuple(node.name for node in round_.get(NODES))
    if round_.moment is Moment.PLACE:
        return tuple(name for name in names if name in round_.nodes_ahead)
    target = round_.find(TARGET)
    if target is None or not target.is_hop:
        return names
    return tuple(name for name in names if name in target.nodes_behind)
