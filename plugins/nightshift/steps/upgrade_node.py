"""kubeadm on one node, as a job that outlives us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def upgrade_node(session: Session, node_name: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"node", "version", "attached", "seconds", "sentence"}; the first control-plane node gets `apply`, all others `node`."""
    raise NotImplementedError
