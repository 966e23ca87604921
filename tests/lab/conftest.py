"""Lab cases: one cluster for all of them, and a file that remembers what passed on which commit.

`make lab-full` takes hours. With `--results FILE` every case's outcome, time and commit are written as it ends, and a
case that already passed on this code is not run again: an interrupted round goes on where it stopped. Commits that
differ in documents only are the same code.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.lab.world import World

from nightshift.clients.private_files import write_private

_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results", help="file that remembers outcomes; cases passed on this code are not run again"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if _HERE in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.lab)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(3600))
    in_turn = [item for item in mine if item.get_closest_marker("ci_in_turn")]
    if in_turn:
        in_turn[_turn() % len(in_turn)].add_marker(pytest.mark.ci)
    done = {
        name
        for name, row in _results(config).items()
        if row["outcome"] == "passed" and _is_this_code(row["commit"])
    }
    kept = [item for item in items if item.nodeid not in done]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    path = item.config.getoption("--results")
    if path and (report.when == "call" or (report.when == "setup" and not report.passed)):
        rows = _results(item.config)
        rows[item.nodeid] = {
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
            "commit": _commit(),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_private(Path(path), json.dumps(rows, indent=2, sort_keys=True) + "\n")
    return report


def _results(config: pytest.Config) -> dict[str, dict[str, Any]]:
    path = config.getoption("--results")
    if not path or not os.path.exists(path):
        return {}
    found: dict[str, dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found


def _turn() -> int:
    """A number that changes with every commit and is the same whenever that commit is tested."""
    said = subprocess.run(
        ["git", "rev-parse", "--short=8", "HEAD"], cwd=_HERE, capture_output=True, text=True, check=False
    )
    return int(said.stdout.strip() or "0", 16)


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=_HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


@functools.cache
def _is_this_code(commit: str) -> bool:
    """Tell whether nothing but documents lies between a commit and what stands here."""
    if "-" in commit or commit == "unknown":  # what was not committed cannot be compared
        return False
    said = subprocess.run(
        ["git", "diff", "--quiet", commit, "--", ":/", ":(top,exclude)docs", ":(top,exclude)*.md"],
        cwd=_HERE,
        capture_output=True,
        check=False,
    )
    return said.returncode == 0


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The lab and its Airflow; both stay up afterwards, as `./nightshift demo` leaves them."""
    made = World()
    yield made
    if made.facts:
        made.lab("heal", "all", check=False)
