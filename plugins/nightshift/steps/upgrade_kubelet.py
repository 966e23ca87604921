"""kubelet and kubectl on one node, until the Node object says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def upgrade_kubelet(session: Session, node_name: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"node", "version", "seconds", "sentence"}."""
    raise NotImplementedError
