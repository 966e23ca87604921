"""Which version comes next: running versions against a freshly read package index."""

from __future__ import annotations

from typing import Any

from nightshift.steps.session import Session


def detect_target(session: Session, requested_version: str | None = None) -> dict[str, Any]:
    """Answer {"answer": go|nothing|held|blocked|blind, "sentence", "target": dict|None, "nodes": [...]}; pass the whole dict on as `choice`."""
    raise NotImplementedError
