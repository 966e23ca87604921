"""Did this node really follow?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def verify_node(session: Session, node_name: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"node", "checks": [...], "sentence"}; raises VerificationError."""
    raise NotImplementedError
