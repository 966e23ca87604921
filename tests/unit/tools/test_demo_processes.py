import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsdemo import processes
from nsdemo.settings import DemoError, Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An installation whose airflow command writes what it was asked and sleeps, deaf to TERM where told so."""
    program = tmp_path / "airflow"
    program.write_text(
        '#!/bin/sh\n[ "$1" = db ] && exit ${MIGRATE:-0}\n[ "$1" = triggerer ] && trap \'\' TERM\n'
        'echo "$@"\nwhile :; do sleep 0.1; done\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setattr(processes, "airflow_program", lambda: str(program))
    monkeypatch.setattr(processes, "_STOP_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("NIGHTSHIFT_PORT", str(free.getsockname()[1]))
    home = Home(tmp_path / "home")
    home.path.mkdir()
    yield home
    processes.stop_airflow(home, lambda text: None)


def test_all_four_start_once_and_stop_for_good(home: Home) -> None:
    said: list[str] = []
    processes.start_airflow(home, {}, said.append)
    pids = {name: processes.running_pid(home, name) for name in processes.COMMANDS}
    assert None not in pids.values()
    processes.start_airflow(home, {}, said.append)
    assert {name: processes.running_pid(home, name) for name in processes.COMMANDS} == pids
    processes.stop_airflow(home, said.append)
    assert not any(processes.running_pid(home, name) for name in processes.COMMANDS)
    for pid in pids.values():
        assert pid is not None
        os.waitpid(pid, 0)


def test_a_task_ends_with_its_scheduler(home: Home, tmp_path: Path) -> None:
    """As Airflow starts it: below the scheduler, in a process group of its own."""
    task, program = tmp_path / "task", tmp_path / "airflow"
    script = f"import os, time; os.setpgid(0, 0); open('{task}', 'w').write(str(os.getpid())); time.sleep(60)"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = db ] && exit 0\n[ "$1" = scheduler ] && {sys.executable} -c "{script}" &\n'
        "while :; do sleep 0.1; done\n",
        encoding="utf-8",
    )
    processes.start_airflow(home, {}, lambda text: None)
    _wait(lambda: task.exists() and task.read_text() != "")
    pid = int(task.read_text())
    processes.stop_airflow(home, lambda text: None)
    _wait(lambda: pid not in processes.process_table())


def test_log_servers_are_not_started(home: Home) -> None:
    processes.start_airflow(home, {}, lambda text: None)
    log = home.logs / "scheduler.log"
    deadline = time.monotonic() + 5
    while not log.read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "--skip-serve-logs" in log.read_text(encoding="utf-8")


def test_a_number_that_belongs_to_another_process_by_now_is_not_ours(home: Home) -> None:
    home.pids.mkdir()
    (home.pids / "scheduler").write_text(f"{os.getpid()} 1\n", encoding="utf-8")
    assert processes.running_pid(home, "scheduler") is None


def test_a_taken_port_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LETS_GO_SECONDS", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(os.environ["NIGHTSHIFT_PORT"])))
        other.listen()
        with pytest.raises(DemoError, match="taken by another program") as raised:
            processes.start_airflow(home, {}, lambda text: None)
    assert "NIGHTSHIFT_PORT" in raised.value.next_step


def test_a_port_that_is_let_go_a_moment_later_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed api-server's threads outlive it for a moment: chaos, case `database`."""
    answers = [True, True, False]
    monkeypatch.setattr(processes, "_is_taken", lambda port: answers.pop(0))
    assert not processes._stays_taken(8080)
    assert not answers


def test_a_database_that_cannot_be_prepared_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATE", "3")
    with pytest.raises(DemoError, match="database"):
        processes.start_airflow(home, {}, lambda text: None)


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "not within 10 s"
        time.sleep(0.05)
