"""What came of every case, and on what: kept in the repository, so that a round goes on where it stopped, on another machine too.

A case is done when it passed on what stands here, asked by fingerprint as the other lab cases are (tests/lab/results.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import results as lab_results

from chaos.catalogue import CASES, Case
from chaos.judge import Verdict, summary

Row = dict[str, Any]
FILE = lab_results.FILE.with_name("chaos.json")
MODULE = "tests/lab/test_chaos.py"  # whose fingerprint has all of lab/chaos in it
load = lab_results.load


def directory() -> Path:
    """Where journals are kept, outside of the repository."""
    return Path(os.environ.get("NIGHTSHIFT_CACHE", "/var/cache/nightshift")) / "chaos"


def fingerprint() -> str | None:
    """What is being tested; None while something of it is not committed."""
    return lab_results.Tree().fingerprint(MODULE)


def keep(file: Path, case: Case, verdict: Verdict, seconds: float, on: str | None) -> Row:
    """Write down what came of a case.

    Args:
        file: where; the rows of other cases in it stay.
        case: what was played.
        verdict: what came of it.
        seconds: how long it took.
        on: the fingerprint as of its begin; what changed meanwhile was not played.
    """
    still = on if on == fingerprint() else None
    outcome = "passed" if verdict.has_passed else "failed"
    row: Row = {
        **lab_results.row(outcome, seconds, lab_results.Tree().commit(), still),
        "profile": case.profile,
        "strikes": summary(verdict),
        "breaches": list(verdict.breaches),
    }
    lab_results.keep(file, case.name, row)
    return row


def due(cases: Sequence[Case], rows: dict[str, Row], on: str | None) -> list[Case]:
    """The cases that have not passed on what stands here."""
    return [case for case in cases if not lab_results.is_done(rows.get(case.name), on)]


def passed_once(rows: dict[str, Row]) -> set[str]:
    """Names of the cases that passed when they were played last, on whatever code."""
    return {name for name, row in rows.items() if row["outcome"] == "passed"}


def known(rows: dict[str, Row]) -> list[tuple[Case, Row]]:
    """The cases that were played, in the order of the catalogue; rows of cases that are no more are left out."""
    return [(case, rows[case.name]) for case in CASES if case.name in rows]
