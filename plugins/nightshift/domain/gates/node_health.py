"""Gate: is every node Ready, without pressure, and not put aside by somebody else?"""

from __future__ import annotations

from collections.abc import Sequence

from nightshift.domain.facts import NodeFacts
from nightshift.domain.verdicts import Verdict

NAME = "node_health"
TITLE = "Node health"


def check(nodes: Sequence[NodeFacts]) -> Verdict:
    """Judge the Node objects."""
    raise NotImplementedError
