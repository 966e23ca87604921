import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import disks_first

FIRST = "raised"
ORDINARY = "ordinary"


class FakeScheduler(disks_first.Scheduler):
    """What every process has, and who may not be changed."""

    def __init__(self) -> None:
        self.has: dict[int, str] = {}
        self.refused: set[int] = set()
        self.changes: list[tuple[int, str]] = []

    def is_ordinary(self, pid: int) -> bool:
        if self.has.get(pid) == "gone":
            raise ProcessLookupError
        return self.has.get(pid, ORDINARY) == ORDINARY

    def raise_(self, pid: int) -> None:
        self._change(pid, FIRST)

    def lower(self, pid: int) -> None:
        self._change(pid, ORDINARY)

    def _change(self, pid: int, kind: str) -> None:
        if pid in self.refused:
            raise PermissionError(errno.EPERM, "not permitted")
        self.has[pid] = kind
        self.changes.append((pid, kind))


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def threads(tmp_path: Path, scheduler: FakeScheduler) -> disks_first.Threads:
    return disks_first.Threads(tmp_path, scheduler)


def processes(proc: Path, names: Mapping[int, str | bytes]) -> None:
    """Let exactly these be listed, beside what is no process."""
    for entry in proc.iterdir():
        shutil.rmtree(entry)
    for name, comm in {**{str(pid): name for pid, name in names.items()}, "sys": "kworker/u-not"}.items():
        (proc / name).mkdir()
        (proc / name / "comm").write_bytes(comm if isinstance(comm, bytes) else comm.encode())
        (proc / name / "cmdline").write_bytes(b"")


def test_the_threads_a_write_waits_for_are_raised_and_each_once(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path, {7: "kworker/u8:4-loop0", 8: "kthreadd", 9: b"etcd\xc3"})
    assert threads.raise_new() == ""
    processes(tmp_path, {7: "kworker/u8:4-loop0", 11: "kworker/1:6-dio/loop0", 12: "jbd2/loop3-8"})
    threads.raise_new()
    assert scheduler.changes[0] == (7, FIRST)
    assert sorted(scheduler.changes[1:]) == [(11, FIRST), (12, FIRST)]


def test_a_program_that_only_has_such_a_name_is_left_alone(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path, {7: "jbd2/mine"})
    (tmp_path / "7" / "cmdline").write_text("jbd2/mine\0")
    threads.raise_new()
    assert scheduler.changes == []


def test_what_went_first_before_still_does_afterwards(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path, {7: "kworker/u8:4", 8: "kworker/u8:5"})
    scheduler.has[7] = FIRST
    threads.raise_new()
    threads.give_back()
    assert scheduler.has == {7: FIRST, 8: ORDINARY}


def test_a_number_that_is_anothers_by_now_is_not_given_back(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path, {7: "kworker/u8:4"})
    threads.raise_new()
    processes(tmp_path, {7: "postgres"})
    threads.give_back()
    assert scheduler.changes == [(7, FIRST)]


def test_what_another_run_lowered_is_raised_again(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path, {7: "kworker/u8:4"})
    threads.raise_new()
    scheduler.has[7] = ORDINARY
    threads.raise_new()
    assert scheduler.has[7] == FIRST


def test_who_may_not_is_told_and_what_is_gone_is_no_refusal(
    tmp_path: Path, threads: disks_first.Threads, scheduler: FakeScheduler
) -> None:
    processes(tmp_path, {7: "kworker/u8:4"})
    scheduler.has[7] = "gone"
    assert threads.raise_new() == ""
    processes(tmp_path, {8: "kworker/u8:4"})
    scheduler.refused.add(8)
    assert "not permitted" in threads.raise_new()
    processes(tmp_path, {9: "etcd"})
    assert "shows no kernel threads" in threads.raise_new()


# What a run of its own does: its threads are files, and every change is a line in a log.
PROGRAM = """
import sys, pathlib, disks_first as d
proc, log = map(pathlib.Path, sys.argv[1:3])
class Logged(d.Scheduler):
    is_ordinary = lambda self, pid: f"up {pid}" not in (log.read_text() if log.exists() else "")
    def say(self, what):
        with log.open("a") as file: file.write(what + "\\n")
    raise_ = lambda self, pid: self.say(f"up {pid}")
    lower = lambda self, pid: self.say(f"down {pid}")
d.INTERVAL = 0.05
d.main(sys.argv[3:], d.Threads(proc, Logged()))
"""


def start(proc: Path, log: Path, script: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, str(proc), str(log), "sh", "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(log: Path, lines: list[str]) -> None:
    deadline = time.monotonic() + 20
    while log.read_text().splitlines() != lines and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text().splitlines() == lines


@pytest.mark.parametrize("ending", [None, signal.SIGTERM, signal.SIGKILL])
def test_it_is_the_command_and_when_that_is_gone_all_is_given_back(
    tmp_path: Path, ending: signal.Signals | None
) -> None:
    proc, log = tmp_path / "proc", tmp_path / "log"
    proc.mkdir()
    processes(proc, {7: "kworker/u8:4"})
    with start(
        proc, log, "echo $$; read -r line </dev/null; " + ("exit 3" if ending is None else "exec sleep 20")
    ) as run:
        assert run.stdout is not None
        assert int(run.stdout.readline()) == run.pid
        assert log.read_text().splitlines() == ["up 7"]
        if ending is not None:
            os.killpg(run.pid, ending)  # as a terminal's Ctrl-C and `timeout` do
        assert run.wait(20) == (3 if ending is None else -ending)
    wait_for(log, ["up 7", "down 7"])


def test_a_thread_that_comes_later_goes_first_too(tmp_path: Path) -> None:
    proc, log = tmp_path / "proc", tmp_path / "log"
    proc.mkdir()
    processes(proc, {7: "kworker/u8:4"})
    with start(proc, log, "echo ready; exec sleep 20") as run:
        assert run.stdout is not None
        run.stdout.readline()
        processes(proc, {7: "kworker/u8:4", 9: "kworker/u8:6"})
        wait_for(log, ["up 7", "up 9"])
        run.kill()
