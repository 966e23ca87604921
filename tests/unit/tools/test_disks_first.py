import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import disks_first

Calls = list[tuple[int, int, int]]
RAISED = (os.SCHED_FIFO, 1)
AS_BEFORE = (os.SCHED_OTHER, 0)


def processes(proc: Path, names: Mapping[int, str]) -> None:
    """Let exactly these be listed, beside what is no process."""
    for entry in proc.iterdir():
        shutil.rmtree(entry)
    for name, comm in {**{str(pid): name for pid, name in names.items()}, "sys": "kworker/u-not"}.items():
        (proc / name).mkdir()
        (proc / name / "comm").write_text(comm + "\n")
        (proc / name / "cmdline").write_text("")


def test_the_threads_a_write_waits_for_are_raised_and_each_once(tmp_path: Path) -> None:
    calls: Calls = []
    workers = disks_first.Workers(tmp_path, lambda *call: calls.append(call))
    processes(tmp_path, {7: "kworker/u8:4-loop0", 8: "kthreadd", 9: "etcd"})
    workers.raise_new()
    processes(tmp_path, {7: "kworker/u8:4-loop0", 9: "etcd", 11: "kworker/1:6-dio/loop0", 12: "jbd2/loop3-8"})
    workers.raise_new()
    assert calls[0] == (7, *RAISED)
    assert sorted(calls[1:]) == [(11, *RAISED), (12, *RAISED)]


def test_a_program_that_only_has_such_a_name_is_left_alone(tmp_path: Path) -> None:
    calls: Calls = []
    processes(tmp_path, {7: "jbd2/mine"})
    (tmp_path / "7" / "cmdline").write_text("jbd2/mine\0")
    disks_first.Workers(tmp_path, lambda *call: calls.append(call)).raise_new()
    assert calls == []


def test_afterwards_those_that_are_still_workers_are_as_before(tmp_path: Path) -> None:
    calls: Calls = []
    workers = disks_first.Workers(tmp_path, lambda *call: calls.append(call))
    processes(tmp_path, {7: "kworker/u8:4", 8: "kworker/u8:5"})
    workers.raise_new()
    calls.clear()
    processes(tmp_path, {7: "kworker/u8:4", 8: "postgres"})  # the number is another's by now
    workers.give_back()
    workers.give_back()
    assert calls == [(7, *AS_BEFORE)]


def test_a_refusal_is_kept_and_what_is_gone_is_none(tmp_path: Path) -> None:
    def refuse(pid: int, _policy: int, _priority: int) -> None:
        raise ProcessLookupError if pid == 7 else PermissionError("not permitted")

    workers = disks_first.Workers(tmp_path, refuse)
    processes(tmp_path, {7: "kworker/u8:4"})
    workers.raise_new()
    assert workers.refusal == ""
    processes(tmp_path, {8: "kworker/u8:4"})
    workers.raise_new()
    assert "not permitted" in workers.refusal


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 128 + signal.SIGKILL)])
def test_the_exit_code_is_the_commands(tmp_path: Path, script: str, code: int) -> None:
    assert disks_first.run(["sh", "-c", script], disks_first.Workers(tmp_path, lambda *_: None)) == code


def test_a_request_to_end_reaches_the_command(tmp_path: Path) -> None:
    script = "trap 'echo ended; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    code = (
        "import sys, pathlib, disks_first as d;"
        "sys.exit(d.run(sys.argv[2:], d.Workers(pathlib.Path(sys.argv[1]), lambda *_: None)))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.terminate()
        assert program.stdout.read() == "ended\n"
    assert program.returncode == 5
