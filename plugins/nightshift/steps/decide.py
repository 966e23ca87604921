"""Fold all verdicts into one answer and, on go, a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightshift.steps.session import Session


def decide(
    session: Session, choice: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Answer {"answer", "sentence", "verdicts", "plan": {"control_plane": [names], "waves": [[names]], "postponed": [names]}|None}."""
    raise NotImplementedError
