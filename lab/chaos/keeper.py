"""Keeps Airflow's four components running, as systemd or a container runtime would: what died is started again.

There is no systemd as PID 1 on the machines this runs on. Two things are worse here than there, on purpose: a dead
scheduler's task supervisors and tasks are *not* ended with it (systemd would end the unit's whole cgroup), so that the
scheduler's successor meets them alive; and a component that dies is noticed and started again by nobody else.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from nsdemo.processes import COMMANDS, end_sessions, in_sessions, running_pid, start_component
from nsdemo.settings import Home

Tell = Callable[..., None]
_POLL_SECONDS = 0.1


class Keeper:
    """Supervises the components of one installation while the context lasts.

    Args:
        home: the installation.
        environment: of its processes.
        pause: seconds between a death and the next start.
        tell: writes into the journal: kind and fields.
    """

    def __init__(self, home: Home, environment: Mapping[str, str], pause: float, tell: Tell) -> None:
        self._home, self._environment, self._pause, self._tell = home, environment, pause, tell
        self._may_start = threading.Event()
        self._may_start.set()
        self._ended = threading.Event()
        self._died: dict[str, float] = {}
        self._sessions: set[int] = set()  # of components that were killed; tasks have groups of their own
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def kill(self, component: str) -> int:
        """SIGKILL one component; what it had started lives on. Returns its process id."""
        pid = running_pid(self._home, component)
        if pid is None:
            raise LookupError(f"{component} does not run")
        self._sessions.add(pid)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_everything(self) -> list[int]:
        """SIGKILL every process of the installation, tasks included; nothing comes back before `release`."""
        self._may_start.clear()
        leaders = sessions_of(self._home) | self._sessions
        victims = in_sessions(leaders)
        end_sessions(leaders)
        return sorted(victims)

    def release(self) -> None:
        """Let the components be started again."""
        self._died = dict.fromkeys(self._died, 0.0)  # their pause is over
        self._may_start.set()

    def end_leftovers(self) -> None:
        """SIGKILL what dead schedulers left, when the case is over."""
        end_sessions(self._sessions)

    def _keep(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            for name in COMMANDS:
                self._look_after(name)

    def _look_after(self, name: str) -> None:
        if running_pid(self._home, name) is not None:
            self._died.pop(name, None)
            return
        if name not in self._died:
            self._died[name] = time.monotonic()
            self._tell("process", component=name, what="died")
        if self._may_start.is_set() and time.monotonic() >= self._died[name] + self._pause:
            if name != "scheduler":  # its successor needs the port, or would stumble over what is left of it
                self._end_session_of(name)
            start_component(self._home, name, self._environment)
            del self._died[name]
            self._tell("process", component=name, what="started")

    def _end_session_of(self, name: str) -> None:
        """SIGKILL the rest of a dead component's session."""
        with suppress(OSError, ValueError):
            end_sessions({int((self._home.pids / name).read_text(encoding="utf-8").split()[0])})


def sessions_of(home: Home) -> set[int]:
    """Sessions of the components that run: each leads one, and its tasks are in it."""
    return {pid for name in COMMANDS if (pid := running_pid(home, name)) is not None}
