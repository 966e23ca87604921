"""Run a command while the disks of the lab's nodes go before everything else on this machine.

A node's disk is a file behind a loop device, on a pool that is a file behind another one. Every write is carried out by
kernel threads, twice over: one takes it to the file, one says that it is done, others keep the journals. On two CPUs they
wait in line behind the processes of six nodes, and etcd takes that for a slow disk; a real disk needs no CPU of the node's.
While the command runs these threads have the lowest real-time priority, which goes before all that has none; a keeper of
its own, which no signal to the command reaches, lets them wait in line again once the command is gone.

Usage: disks_first.py COMMAND [ARGUMENT…]. It becomes the command: signals and the exit code are the command's.
Where the threads may not be changed the command runs all the same, and that is said first.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
# Of the kernel; a loop device's work and its completion are kworkers'.
THREADS = (b"kworker/", b"ksoftirqd/", b"jbd2/", b"xfsaild/")
INTERVAL = 2.0  # seconds; a thread that is new waits in line as long


class Scheduler:
    """How the machine shares its CPUs out, see sched(7)."""

    def is_ordinary(self, pid: int) -> bool:
        """Tell whether a process waits in line as most do; OSError when it is gone."""
        return os.sched_getscheduler(pid) == os.SCHED_OTHER

    def raise_(self, pid: int) -> None:
        """Let it go before all that is ordinary; OSError when it may not be changed or is gone."""
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))

    def lower(self, pid: int) -> None:
        """Make it ordinary; OSError as above."""
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


class Threads:
    """The kernel threads that a write waits for.

    Args:
        proc: where processes are listed.
        scheduler: of this machine.
    """

    def __init__(self, proc: Path = PROC, scheduler: Scheduler | None = None) -> None:
        self._proc = proc
        self._scheduler = scheduler or Scheduler()
        self._raised: set[int] = set()

    def raise_new(self) -> str:
        """Raise those that are ordinary; returns why none or not all of them go first, "" when they do."""
        seen = list(self._pids())
        refused = ""
        for pid in seen:
            try:
                if self._scheduler.is_ordinary(pid):
                    self._scheduler.raise_(pid)
                    self._raised.add(pid)
            except ProcessLookupError:
                continue
            except OSError as error:
                refused = str(error)
        return refused or ("" if seen else f"{self._proc} shows no kernel threads")

    def give_back(self) -> None:
        """Let all that were raised here and are still such threads wait in line again."""
        for pid in self._raised & set(self._pids()):
            with contextlib.suppress(OSError):
                self._scheduler.lower(pid)
        self._raised.clear()

    def _pids(self) -> Iterator[int]:
        for entry in self._proc.iterdir():
            if entry.name.isdecimal() and _is_one(entry):
                yield int(entry.name)


def _is_one(process: Path) -> bool:
    try:
        # What has arguments is a program that only has such a name.
        return (process / "comm").read_bytes().startswith(THREADS) and not (process / "cmdline").read_bytes()
    except OSError:  # it is gone
        return False


def keep_until_gone(threads: Threads, process: int) -> None:
    """Raise what is new until a process has ended, then give all back.

    Args:
        threads: to keep raised.
        process: a pidfd.
    """
    try:
        while not select.select([process], [], [], INTERVAL)[0]:
            threads.raise_new()
    finally:
        threads.give_back()


def main(command: list[str], threads: Threads) -> None:
    """Raise, leave a keeper behind, and become the command."""
    refusal = threads.raise_new()
    if refusal:
        print(f"disks_first: not all of the lab's disks go first: {refusal}", file=sys.stderr, flush=True)
    this = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        try:
            os.setsid()
            keep_until_gone(threads, this)
        finally:
            os._exit(0)  # whatever happens, this is no second command
    os.execvp(command[0], command)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: disks_first.py COMMAND [ARGUMENT…]")
    main(sys.argv[1:], Threads())
