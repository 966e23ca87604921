"""Cordon and empty one node, evictions only."""

from __future__ import annotations

from typing import Any

from nightshift.steps.session import Session


def drain_node(session: Session, node_name: str) -> dict[str, Any]:
    """Answer {"node", "cordoned_by_us", "evicted": [..], "skipped": [..], "seconds", "sentence"}; raises DrainBlockedError."""
    raise NotImplementedError
