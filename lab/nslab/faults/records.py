"""Which faults are on: one file per case, written before the trouble is made.

So an interrupted `lab break` can still be healed, and `lab status` never hides a fault.
"""

from __future__ import annotations

import json
from pathlib import Path

from nslab.build.store import write_text
from nslab.faults.model import Case
from nslab.settings import STATE_DIR
from nslab.shell import LabError

DIRECTORY = STATE_DIR / "faults"


def path_of(case: Case) -> Path:
    """Where the record of a case is kept."""
    return DIRECTORY / f"{case.key}.json"


def add(case: Case) -> None:
    """Write down that this case is on."""
    content = {"fault": case.fault, "subject": case.subject, "parameters": dict(case.parameters)}
    write_text(path_of(case), json.dumps(content) + "\n")


def remove(case: Case) -> None:
    """Write down that this case is over."""
    path_of(case).unlink(missing_ok=True)


def since(case: Case) -> float:
    """When it began, seconds since the epoch; nought when it is not on."""
    path = path_of(case)
    return path.stat().st_mtime if path.exists() else 0.0


def active() -> list[Case]:
    """Return every case that is on, by name."""
    return [_read(path) for path in sorted(DIRECTORY.glob("*.json"))]


def _read(path: Path) -> Case:
    try:
        return Case(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise LabError(
            f"{path} cannot be read: {error}", "run `lab/lab reset`, then delete that file"
        ) from error
