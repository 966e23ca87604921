"""While a lab is up the disks of its nodes go before everything else on this machine.

A node's disk is a file behind a loop device, on a pool that is a file behind another one. Every write is carried out by
kernel threads, twice over: one takes it to the file, one says that it is done, others keep the journals. On two CPUs they
wait in line behind the processes of six nodes, and etcd takes that for a slow disk; a real disk needs no CPU of the node's.
A process of the lab gives these threads the lowest real-time priority, which goes before all that has none; `down` takes
it away again (tunables.py), whatever ended this process.

Run as a program it does so until it is ended. It knows nothing of the lab, so it needs no path to its modules.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
# Of the kernel; a loop device's work and its completion are kworkers'.
THREADS = (b"kworker/", b"ksoftirqd/", b"jbd2/", b"xfsaild/")
INTERVAL = 2.0  # seconds; a thread that is new waits in line as long
_PRIORITY = 1


class Scheduler:
    """How the machine shares its CPUs out, see sched(7). Each raises OSError when a process is gone or may not be changed."""

    def is_ordinary(self, pid: int) -> bool:
        """Tell whether a process waits in line as most do."""
        return os.sched_getscheduler(pid) == os.SCHED_OTHER

    def goes_first(self, pid: int) -> bool:
        """Tell whether it is as `raise_` leaves it."""
        is_real_time = os.sched_getscheduler(pid) == os.SCHED_FIFO
        return is_real_time and os.sched_getparam(pid).sched_priority == _PRIORITY

    def raise_(self, pid: int) -> None:
        """Let it go before all that is ordinary."""
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(_PRIORITY))

    def lower(self, pid: int) -> None:
        """Make it ordinary."""
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

    def raise_all(self) -> str:
        """Raise those that are ordinary; returns why none or not all of them go first, "" when they do."""
        seen = list(self._pids())
        refused = ""
        for pid in seen:
            try:
                if self._scheduler.is_ordinary(pid):
                    self._scheduler.raise_(pid)
            except ProcessLookupError:
                continue
            except OSError as error:
                refused = str(error)
        return refused or ("" if seen else f"{self._proc} shows no kernel threads")

    def first(self) -> list[int]:
        """Those that go first now."""
        return [pid for pid in self._pids() if self._goes_first(pid)]

    def lower(self, pids: list[int]) -> None:
        """Let these wait in line again; one that is gone does not matter."""
        for pid in pids:
            try:
                self._scheduler.lower(pid)
            except OSError:
                continue

    def _goes_first(self, pid: int) -> bool:
        try:
            return self._scheduler.goes_first(pid)
        except OSError:
            return False

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


def main(threads: Threads) -> None:
    """Raise what is new, for ever; what is refused is said once, and tried again."""
    told = ""
    while True:
        refusal = threads.raise_all()
        if refusal != told:
            print(f"not all of the lab's disks go first: {refusal}" if refusal else "they do now", flush=True)
            told = refusal
        time.sleep(INTERVAL)


if __name__ == "__main__":
    sys.exit(main(Threads()))
