"""The night's one entry: what was aimed at, what was found, what was done, what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightshift.domain.verdicts import Verdict


@dataclass(frozen=True)
class NodeEntry:
    """What happened to one node tonight."""

    name: str
    from_version: str
    to_version: str
    outcome: str  # "upgraded", "already", "failed", "tomorrow", "untouched"
    seconds: float | None = None  # from cordon to uncordon


@dataclass(frozen=True)
class LedgerEntry:
    """One night of one cluster; written also when nothing was done.

    Args:
        cluster: name of the cluster.
        run_id: Airflow's run id.
        started: seconds since the epoch.
        finished: seconds since the epoch.
        answer: "upgraded", "nothing", "held", "blocked", "blind", "failed" or "partial".
        sentence: the night in one plain sentence.
        target: `TargetChoice.to_dict()`; empty when the night ended before it was known.
        gates: every gate's verdict, with value and threshold.
        nodes: what happened to each node.
        phase_seconds: phase -> duration.
        what_next: what a person should do or expect, one sentence.
        snapshot: where the proven snapshot lies; None when none was taken.
        evidence: where evidence bundles lie.
    """

    cluster: str
    run_id: str
    started: float
    finished: float
    answer: str
    sentence: str
    what_next: str
    target: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[Verdict, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    snapshot: str | None = None
    evidence: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data; times as UTC ISO strings."""
        raise NotImplementedError


def write_note(entry: LedgerEntry) -> str:
    """Return the run note: exactly two sentences, what happened and what comes next."""
    raise NotImplementedError
