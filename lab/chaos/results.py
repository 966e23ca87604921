"""What came of every case, kept outside the repository by case and commit, so that a round goes on where it stopped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos.catalogue import CASES, Case
from chaos.judge import Verdict, summary
from nslab.build.store import write_text

HERE = Path(__file__).resolve().parent
Row = dict[str, Any]


def directory() -> Path:
    """Where results and journals are kept."""
    return Path(os.environ.get("NIGHTSHIFT_CACHE", "/var/cache/nightshift")) / "chaos"


def commit() -> str:
    """The commit that is being tested; a changed tree says so."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    said = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def load(file: Path) -> dict[str, Row]:
    """Rows by case; {} while there is no file."""
    if not file.exists():
        return {}
    found: dict[str, Row] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(file: Path, case: Case, verdict: Verdict, seconds: float, journal: Path) -> Row:
    """Write down what came of a case; returns its row."""
    row: Row = {
        "outcome": "passed" if verdict.has_passed else "failed",
        "seconds": round(seconds, 1),
        "commit": commit(),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": case.profile,
        "strikes": summary(verdict),
        "breaches": list(verdict.breaches),
        "journal": str(journal),
    }
    write_text(file, json.dumps({**load(file), case.name: row}, indent=2, sort_keys=True) + "\n")
    return row


def due(cases: Sequence[Case], rows: dict[str, Row], now: str) -> list[Case]:
    """The cases that have not passed on this commit."""
    return [c for c in cases if not _has_passed(rows.get(c.name), now)]


def known(rows: dict[str, Row]) -> list[tuple[Case, Row]]:
    """The cases that were played, in the order of the catalogue; rows of cases that are no more are left out."""
    return [(case, rows[case.name]) for case in CASES if case.name in rows]


def _has_passed(row: Row | None, now: str) -> bool:
    return row is not None and row["outcome"] == "passed" and row["commit"] == now
