"""Lab cases: one cluster for all of them, and a file that remembers what passed, and on what.

`make lab-full` takes hours, more than a machine may have. With `--record` every case's outcome is written into
tests/lab/results.json as it ends; with `--resume` a case that already passed on what stands here is not run again: an
interrupted round goes on where it stopped, on another machine too. `--lab-status` only says how far it is.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import results
from tests.lab.results import Rows, Tree
from tests.lab.world import World

_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write every lab case's outcome into the results")
    parser.addoption("--resume", action="store_true", help="run no lab case that passed on what stands here")
    parser.addoption("--lab-status", action="store_true", help="run nothing: say how far the lab cases are")
    parser.addoption("--results", type=Path, help=f"record into this file and not into {results.FILE.name}")


def pytest_configure(config: pytest.Config) -> None:
    """One book for the session; what stands here when it begins is what its cases are played on."""
    config.stash[_BOOK] = Book(config)


class Book:
    """The results, as the cases of one session are looked up and written down in it."""

    def __init__(self, config: pytest.Config) -> None:
        named = config.getoption("--results")
        self.tree = Tree()
        self.file = named or results.FILE
        self.records = bool(named or config.getoption("--record"))
        self.not_recorded: set[str] = set()
        self.status = ""
        self._at_first = functools.cache(self.tree.fingerprint)

    def rows(self) -> Rows:
        try:
            return results.load(self.file)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error

    def begin(self, items: list[pytest.Item]) -> None:
        """See what stands here before any case runs."""
        if self.records:
            for item in items:
                self._at_first(_module(item))

    def done(self, items: list[pytest.Item]) -> set[str]:
        """Ids of the cases that passed on what stands here."""
        rows = self.rows()
        return {i.nodeid for i in items if results.is_done(rows.get(i.nodeid), self._at_first(_module(i)))}

    def take(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Write down a case's outcome; its teardown has the last word only when it failed. A skipped one is none."""
        if report.skipped or (report.passed and report.when != "call"):
            return
        fingerprint = self._at_first(_module(item))
        if fingerprint is None or self.tree.fingerprint(_module(item)) != fingerprint:
            self.not_recorded.add(item.nodeid)
            return
        row = results.row(report.outcome, report.duration, self.tree.commit(), fingerprint)
        results.keep(self.file, item.nodeid, row)


_BOOK = pytest.StashKey[Book]()


def _module(item: pytest.Item) -> str:
    return item.nodeid.split("::", 1)[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if _HERE in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.lab)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(3600))
    in_turn = [item for item in mine if item.get_closest_marker("ci_in_turn")]
    if in_turn:
        in_turn[_turn() % len(in_turn)].add_marker(pytest.mark.ci)
    config.stash[_BOOK].begin(mine)
    if config.getoption("--resume"):
        done = config.stash[_BOOK].done(mine)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With `--lab-status`, the table in place of the cases."""
    if not session.config.getoption("--lab-status"):
        return None
    book = session.config.stash[_BOOK]
    book.status = results.table([item.nodeid for item in session.items], book.rows(), book.tree)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    book = item.config.stash[_BOOK]
    if book.records and _HERE in item.path.parents:
        book.take(item, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    book = config.stash[_BOOK]
    if book.status:
        terminalreporter.write_line(book.status)
    if book.not_recorded:
        terminalreporter.write_sep("!", "outcomes that were not recorded")
        terminalreporter.write_line(
            "What they were played on is not committed, or changed meanwhile. Next step: commit it, and run them again."
        )
        terminalreporter.write_line("\n".join(sorted(book.not_recorded)))


def _turn() -> int:
    """A number that changes with every commit and is the same whenever that commit is tested."""
    said = subprocess.run(
        ["git", "rev-parse", "--short=8", "HEAD"], cwd=_HERE, capture_output=True, text=True, check=False
    )
    return int(said.stdout.strip() or "0", 16)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The lab and its Airflow; both stay up afterwards, as `./nightshift demo` leaves them."""
    made = World()
    yield made
    if made.facts:
        made.lab("heal", "all", check=False)
