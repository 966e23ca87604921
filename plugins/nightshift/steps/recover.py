"""The one recovery: fence, repay, empty the Lease. Idempotent, safe beside itself."""

from __future__ import annotations

from typing import Any

from nightshift.steps.session import Session


def recover(
    session: Session, own_run_id: str | None, reason: str, *, wait_seconds: float = 0.0
) -> dict[str, Any]:
    """Answer {"answer": recovered|nothing|live|waiting|partial, "done": [...], "remaining": [...], "sentence"}. own_run_id None (sweeper): only when the Lease expired and no job is active; an unreachable node is unknown, not dead."""
    raise NotImplementedError
