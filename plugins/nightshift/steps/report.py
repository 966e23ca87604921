"""One ledger entry and two sentences, also when nothing was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def report(session: Session, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"note", "path", "entry"}. `facts`: whatever of {open_night, choice, decision, plan, snapshot, nodes, postflight, recovery, failure, started, finished, scheduled} the run has, each as returned by its step (absent or None when it did not run)."""
    raise NotImplementedError
