"""Run a command while the disks of the lab's nodes go before everything else on this machine.

A node's disk is a file behind a loop device, on a pool that is a file behind another one. Every write is carried out by
kernel threads, twice over: one takes it to the file, one says that it is done, others keep the journals. On two CPUs they
wait in line behind the processes of six nodes, and etcd takes that for a slow disk; a real disk needs no CPU of the node's.
While the command runs these threads have the lowest real-time priority, which goes before all that has none; afterwards they
are as they were. docs/benchmarks.md says what it brings.

Usage: disks_first.py COMMAND [ARGUMENT…]; its exit code is the command's. What may not be changed stays as it is, and is said.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

PROC = Path("/proc")
THREADS = (
    "kworker/",
    "ksoftirqd/",
    "jbd2/",
    "xfsaild/",
)  # of the kernel; a loop device's work and its completion are kworkers'
INTERVAL = 2.0  # seconds; a thread that is new waits in line as long


class Workers:
    """The kernel threads that a write waits for, raised as they are seen.

    Args:
        proc: where processes are listed.
        schedule: gives a process a policy and a priority, see sched(7); OSError when it may not or the process is gone.
    """

    def __init__(self, proc: Path = PROC, schedule: Callable[[int, int, int], None] | None = None) -> None:
        self._proc = proc
        self._schedule = schedule or _schedule
        self._raised: set[int] = set()
        self.refusal = ""  # why the last one that could not be raised could not

    def raise_new(self) -> None:
        """Raise those that were not there before."""
        for pid in set(self._pids()) - self._raised:
            try:
                self._schedule(pid, os.SCHED_FIFO, 1)
            except ProcessLookupError:
                continue
            except OSError as error:
                self.refusal = str(error)
                continue
            self._raised.add(pid)

    def give_back(self) -> None:
        """Let all that were raised and are still workers wait in line again."""
        for pid in self._raised & set(self._pids()):
            with contextlib.suppress(OSError):
                self._schedule(pid, os.SCHED_OTHER, 0)
        self._raised.clear()

    def _pids(self) -> Iterator[int]:
        for entry in self._proc.iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # it is gone
                    if (entry / "comm").read_text().startswith(THREADS) and not (
                        entry / "cmdline"
                    ).read_bytes():
                        yield int(entry.name)  # without arguments: no program that only has such a name


def _schedule(pid: int, policy: int, priority: int) -> None:
    os.sched_setscheduler(pid, policy, os.sched_param(priority))


def run(command: list[str], workers: Workers) -> int:
    """Run it to its end, pass on a request to end, and return its exit code (128 + the signal that ended it)."""
    with subprocess.Popen(command) as child:
        former = {
            number: signal.signal(number, lambda number, _frame: child.send_signal(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            while True:
                workers.raise_new()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = child.wait(INTERVAL)
                    return code if code >= 0 else 128 - code
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            workers.give_back()
            if workers.refusal:
                print(f"disks_first: the lab's disks waited in line: {workers.refusal}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: disks_first.py COMMAND [ARGUMENT…]")
    sys.exit(run(sys.argv[1:], Workers()))
