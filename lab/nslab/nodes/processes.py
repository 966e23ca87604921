"""Processes the lab starts and finds again: named, logged, and never mistaken for another's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nslab.build.store import write_text
from nslab.nodes import state
from nslab.settings import STATE_DIR
from nslab.shell import LabError

_PIDS = STATE_DIR / "run"


def start(name: str, argv: Sequence[str], before_exec: Callable[[], None] | None = None) -> int:
    """Start a background process that outlives this one and return its pid; its output goes to a log file."""
    log = log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before_exec,
        )
    write_text(_PIDS / f"{name}.pid", f"{process.pid} {_start_time(process.pid)}\n")
    return process.pid


def log_file(name: str) -> Path:
    """Where the output of a process started under this name is kept."""
    return state.LOGS / f"{name}.log"


def pid_of(name: str) -> int | None:
    """Return the pid of the process started under this name while it runs."""
    try:
        pid, started = (int(x) for x in (_PIDS / f"{name}.pid").read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    # A pid is used again after a while; together with its start time it is not.
    return pid if _start_time(pid) == started else None


def stop(name: str, kill: bool = False, patience: float = 10) -> None:
    """End the process of this name and wait; `kill` does not ask first, `patience` is in seconds."""
    pid = pid_of(name)
    if pid is not None:
        _signal(pid, signal.SIGKILL if kill else signal.SIGTERM)
        if not wait_gone(pid, patience):
            _signal(pid, signal.SIGKILL)
            if not wait_gone(pid, 10):
                raise LabError(
                    f"{name} (process {pid}) does not end, even when killed", f"see {log_file(name)}"
                )
    (_PIDS / f"{name}.pid").unlink(missing_ok=True)


def started_names() -> list[str]:
    """Return the names of all processes the lab has started and not stopped."""
    return sorted(path.stem for path in _PIDS.glob("*.pid"))


def wait_gone(pid: int, patience: float) -> bool:
    """Wait up to `patience` seconds for a process to end and return whether it has."""
    started, until = _start_time(pid), time.monotonic() + patience
    while started is not None and _start_time(pid) == started:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    _reap(pid)
    return True


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Collect the process if it is our own child, else it would stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _start_time(pid: int) -> int | None:
    """Return the start time of a living process in clock ticks since boot, None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
