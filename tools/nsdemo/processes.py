"""Airflow's four processes in the background: started, watched until healthy, stopped; nothing else's touched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from nsdemo.settings import HOST, DemoError, Home, airflow_environment, ui_port, write_passwords

# The scheduler's and triggerer's log servers would listen on every address; the files are on this machine anyway.
COMMANDS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
_STOP_SECONDS = 10
_LETS_GO_SECONDS = 5


def airflow_program() -> str:
    """The airflow command beside the running Python."""
    return str(Path(sys.executable).parent / "airflow")


def start_airflow(home: Home, extra: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Start what does not run yet; an installation that runs is left as it is.

    Raises:
        DemoError: the UI's port is taken, or the database could not be prepared.
    """
    missing = [name for name in COMMANDS if running_pid(home, name) is None]
    if not missing:
        return
    if "api-server" in missing and _stays_taken(ui_port()):
        raise DemoError(
            f"port {ui_port()} on {HOST} is taken by another program",
            "stop that program, or choose another port: NIGHTSHIFT_PORT=8090 ./nightshift demo",
        )
    for directory in (home.airflow, home.logs, home.pids):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_passwords(home)
    environment = airflow_environment(home, extra)
    say("Airflow: preparing its database")
    _migrate(home, environment)
    for name in missing:
        start_component(home, name, environment)
    say(f"Airflow: started {', '.join(missing)}; output in {home.logs}")


def stop_airflow(home: Home, say: Callable[[str], None]) -> None:
    """Stop the processes of this installation; work on the nodes goes on, and is attached to later."""
    pids = {name: pid for name in COMMANDS if (pid := running_pid(home, name)) is not None}
    if pids:
        say(f"Airflow: stopping {', '.join(pids)}")
    for pid in pids.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while any(running_pid(home, name) for name in pids) and time.monotonic() < deadline:
        time.sleep(0.2)
    # What is left of them: of about 15 schedulers that were asked to stop, 2 hung for good. A task has a process group
    # of its own and would live on, at a cluster that may be another one by then; its session is the scheduler's.
    end_sessions(set(pids.values()))
    for name in pids:
        (home.pids / name).unlink(missing_ok=True)


def running_pid(home: Home, name: str) -> int | None:
    """Return the process id of one of our processes; None when it does not run (any more)."""
    try:
        pid, started = (home.pids / name).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    # The start time tells our process from a later one with the same number.
    return int(pid) if _start_time(int(pid)) == started else None


def process_table() -> dict[int, tuple[int, int]]:
    """Parent and session of every process of this machine that lives, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (path / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                found[int(path.name)] = (int(fields[1]), int(fields[3]))
    return found


def in_sessions(leaders: set[int]) -> set[int]:
    """Every process in the sessions of these processes, which may be dead by now."""
    return {pid for pid, (_, session) in process_table().items() if session in leaders}


def end_sessions(leaders: set[int]) -> None:
    """SIGKILL every process in these sessions, also what one of them has just started."""
    deadline = time.monotonic() + _STOP_SECONDS
    while (left := in_sessions(leaders)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _migrate(home: Home, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [airflow_program(), "db", "migrate"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    (home.logs / "migrate.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        raise DemoError("Airflow's database could not be prepared", f"read {home.logs}/migrate.log")


def start_component(home: Home, name: str, environment: Mapping[str, str]) -> None:
    """Start one of `COMMANDS` in the background; its directories and its database are there."""
    with (home.logs / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            [airflow_program(), *COMMANDS[name]],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # lives on when the terminal closes; its tasks are in its session
            cwd=home.path,
        )
    (home.pids / name).write_text(f"{process.pid} {_start_time(process.pid)}\n", encoding="utf-8")


def _start_time(pid: int) -> str | None:
    """When the process started, in the kernel's own clock ticks; None when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _stays_taken(port: int) -> bool:
    """Tell whether somebody else listens there: a killed api-server's threads keep its port for a moment after it is gone."""
    deadline = time.monotonic() + _LETS_GO_SECONDS
    while is_taken := _is_taken(port):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    return is_taken


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
