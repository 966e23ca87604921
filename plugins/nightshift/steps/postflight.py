"""The whole cluster after the night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def postflight(session: Session, choice: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"nodes": {...}, "sentence"}; raises VerificationError."""
    raise NotImplementedError
