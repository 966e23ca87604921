"""May the night begin? Brake, window, permissions, who is at the cluster; and heal what a dead run left."""

from __future__ import annotations

from typing import Any

from nightshift.steps.session import Session


def open_night(session: Session) -> dict[str, Any]:
    """Answer {"answer": go|held|blocked|blind, "sentence", "code", "recovered": dict|None}."""
    raise NotImplementedError
