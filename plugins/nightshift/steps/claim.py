"""Take the cluster: Lease, annotations, gauges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def claim(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"token", "sentence", "started"}; raises LeaseHeldError when somebody else is at it."""
    raise NotImplementedError
