"""Packages and images on every node before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def stage(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"nodes": {name: {...}}, "sentence"}; raises when one node cannot be staged."""
    raise NotImplementedError
