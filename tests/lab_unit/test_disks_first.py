"""The disks of the lab go first: which threads, for how long, and that `down` gives all back."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from nslab.nodes import disks_first, tunables

FIRST = "first"
ORDINARY = "ordinary"
OTHER = "real-time otherwise"


class FakeScheduler(disks_first.Scheduler):
    """What every process has, and who may not be changed."""

    def __init__(self) -> None:
        self.has: dict[int, str] = {}
        self.refused: set[int] = set()

    def is_ordinary(self, pid: int) -> bool:
        return self._of(pid) == ORDINARY

    def goes_first(self, pid: int) -> bool:
        return self._of(pid) == FIRST

    def raise_(self, pid: int) -> None:
        self._change(pid, FIRST)

    def lower(self, pid: int) -> None:
        self._change(pid, ORDINARY)

    def _of(self, pid: int) -> str:
        if self.has.get(pid) == "gone":
            raise ProcessLookupError
        return self.has.get(pid, ORDINARY)

    def _change(self, pid: int, kind: str) -> None:
        if pid in self.refused:
            raise PermissionError(errno.EPERM, "not permitted")
        self._of(pid)
        self.has[pid] = kind


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def threads(tmp_path: Path, scheduler: FakeScheduler) -> disks_first.Threads:
    (tmp_path / "proc").mkdir()
    return disks_first.Threads(tmp_path / "proc", scheduler)


def processes(proc: Path, names: Mapping[int, str | bytes]) -> None:
    """Let exactly these be listed, beside what is no process."""
    for entry in proc.iterdir():
        shutil.rmtree(entry)
    for name, comm in {**{str(pid): name for pid, name in names.items()}, "sys": "kworker/u-not"}.items():
        (proc / name).mkdir()
        (proc / name / "comm").write_bytes(comm if isinstance(comm, bytes) else comm.encode())
        (proc / name / "cmdline").write_bytes(b"")


def test_the_threads_a_write_waits_for_are_raised_and_what_is_new_too(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path / "proc", {7: "kworker/u8:4-loop0", 8: "kthreadd", 9: b"etcd\xc3"})
    assert threads.raise_all() == ""
    processes(tmp_path / "proc", {7: "kworker/u8:4-loop0", 11: "kworker/1:6-dio/loop0", 12: "jbd2/loop3-8"})
    threads.raise_all()
    assert scheduler.has == {7: FIRST, 11: FIRST, 12: FIRST}
    assert sorted(threads.first()) == [7, 11, 12]


def test_a_program_that_only_has_such_a_name_is_left_alone(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path / "proc", {7: "jbd2/mine"})
    (tmp_path / "proc" / "7" / "cmdline").write_text("jbd2/mine\0")
    threads.raise_all()
    assert scheduler.has == {}


def test_who_may_not_is_told_and_what_is_gone_is_no_refusal(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path / "proc", {7: "kworker/u8:4"})
    scheduler.has[7] = "gone"
    assert threads.raise_all() == ""
    assert threads.first() == []
    processes(tmp_path / "proc", {8: "kworker/u8:4"})
    scheduler.refused.add(8)
    assert "not permitted" in threads.raise_all()
    processes(tmp_path / "proc", {9: "etcd"})
    assert "shows no kernel threads" in threads.raise_all()


def test_down_gives_back_what_up_found_ordinary_and_nothing_else(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunables, "_FILE", tmp_path / "tunables.json")
    monkeypatch.setattr(tunables, "_FIRST", tmp_path / "first.json")
    monkeypatch.setattr(tunables, "_KERNEL", tmp_path / "no kernel")
    monkeypatch.setattr(tunables, "Threads", lambda: threads)
    processes(tmp_path / "proc", {7: "kworker/u8:4", 8: "kworker/u8:5", 9: "kworker/u8:6", 10: "kworker/0:1"})
    scheduler.has = {8: FIRST, 9: OTHER}
    tunables.remember()
    threads.raise_all()
    tunables.remember()  # another `up` of the same lab
    scheduler.has[10] = "gone"
    tunables.restore()
    assert scheduler.has == {7: ORDINARY, 8: FIRST, 9: OTHER, 10: "gone"}
    assert json.loads((tmp_path / "first.json").read_text()) == [8]


# As the lab starts it: its threads are files, and every change is a line in a log.
PROGRAM = """
import sys, pathlib, runpy
d = runpy.run_path(sys.argv[1])
proc, log = map(pathlib.Path, sys.argv[2:4])
class Logged(d["Scheduler"]):
    is_ordinary = lambda self, pid: f"up {pid}" not in (log.read_text() if log.exists() else "")
    def raise_(self, pid):
        with log.open("a") as file: file.write(f"up {pid}\\n")
d["main"].__globals__["INTERVAL"] = 0.05
d["main"](d["Threads"](proc, Logged()))
"""


def test_as_a_program_it_raises_what_comes_later_and_needs_nothing_of_the_lab(tmp_path: Path) -> None:
    proc, log = tmp_path / "proc", tmp_path / "log"
    proc.mkdir()
    processes(proc, {7: "kworker/u8:4"})
    command = [sys.executable, "-I", "-c", PROGRAM, str(disks_first.__file__), str(proc), str(log)]
    with subprocess.Popen(command) as run:
        try:
            wait_for(log, ["up 7"])
            processes(proc, {7: "kworker/u8:4", 9: "kworker/u8:6"})
            wait_for(log, ["up 7", "up 9"])
        finally:
            run.kill()


def wait_for(log: Path, lines: list[str]) -> None:
    deadline = time.monotonic() + 20
    while (not log.exists() or log.read_text().splitlines() != lines) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text().splitlines() == lines
