"""The night's one entry: what was aimed at, what was found, what was done, what comes next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from nightshift.domain.verdicts import Verdict

# A full stop followed by a space and a capital ends a sentence; "1.35.4 on" and "e.g. x" do not.
_SENTENCE_END = re.compile(r"[.!?]\s+(?=[A-Z])")


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
        return {
            "cluster": self.cluster,
            "run_id": self.run_id,
            "started": _iso(self.started),
            "finished": _iso(self.finished),
            "seconds": round(self.finished - self.started, 1),
            "answer": self.answer,
            "sentence": self.sentence,
            "what_next": self.what_next,
            "target": dict(self.target),
            "gates": [verdict.to_dict() for verdict in self.gates],
            "nodes": [asdict(node) for node in self.nodes],
            "phase_seconds": {name: round(seconds, 1) for name, seconds in self.phase_seconds.items()},
            "snapshot": self.snapshot,
            "evidence": list(self.evidence),
        }


def write_note(entry: LedgerEntry) -> str:
    """Return the run note: what happened, and what comes next; one sentence each."""
    return f"{_as_sentence(entry.sentence)} {_as_sentence(entry.what_next)}"


def _as_sentence(text: str) -> str:
    """Make one sentence of the text: several become clauses, and it ends in a full stop."""
    clauses = [part.strip() for part in _SENTENCE_END.split(text.strip().rstrip("."))]
    return "; ".join(clause for clause in clauses if clause) + "."


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
