"""`etcd-slow`: every fdatasync and fsync of etcd takes so many milliseconds longer.

strace delays the calls from outside; no IO is added, so only etcd is slow. The attachment ends
with the process it is attached to, so a supervisor waits for the next etcd (kubeadm restarts it
in the middle of an upgrade) and attaches again. Every call is traced, which makes etcd a little
slower in everything else too.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from nslab import debian
from nslab.faults.model import Case, Fault, node_name, positive, read_arguments
from nslab.nodes import cgroups, processes, state
from nslab.shell import LabError, wait_until

USAGE = "etcd-slow MS [NODE]"
HIGHEST_DELAY = 10_000  # ms
SYNC_CALLS = "fdatasync,fsync"  # etcd's log and bbolt use the first, snapshots the second
_ENTRY = "from nslab.faults import etcd; etcd.run_supervisor()"
POLL = 0.1  # seconds between two looks for an etcd to attach to


def parse(arguments: Sequence[str]) -> list[Case]:
    """Read `MS [NODE]`; without a node every control-plane node is meant."""
    delay, *named = read_arguments(arguments, USAGE, 1, 1)
    milliseconds = positive(delay, "the delay in milliseconds", HIGHEST_DELAY)
    names = [node_name(n, "control-plane") for n in named] or [n.name for n in state.current().control_planes]
    return [Case("etcd-slow", name, {"milliseconds": milliseconds}) for name in names]


def inflict(case: Case) -> str:
    """Start the supervisor and wait until it has attached."""
    debian.ensure_debian_packages({"strace": "delays etcd's sync calls for the fault etcd-slow"})
    processes.stop(_process(case))
    python = ["env", f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable, "-c", _ENTRY]
    pid = processes.start(_process(case), [*python, case.subject, str(case.number("milliseconds"))])
    wait_until(
        lambda: _is_traced(case.subject) or processes.pid_of(_process(case)) != pid,
        f"strace has attached to etcd on {case.subject}",
        30,
        0.1,
        f"read {processes.log_file(_process(case))}",
    )
    if processes.pid_of(_process(case)) != pid:
        raise LabError("the supervisor ended at once", f"read {processes.log_file(_process(case))}")
    return f"etcd on {case.subject} syncs {case.number('milliseconds')} ms slower"


def undo(case: Case) -> str:
    """End the supervisor, which detaches, and look whether etcd is free."""
    processes.stop(_process(case))
    wait_until(lambda: not _is_traced(case.subject), f"etcd on {case.subject} is no longer traced", 10, 0.1)
    return f"etcd on {case.subject} syncs as fast as its disk allows"


def find_etcd(name: str) -> int | None:
    """Return the pid of the node's etcd as this machine sees it, None while there is none."""
    for pid in sorted(cgroups.processes(name)):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "etcd":
                return pid
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def strace_command(pid: int, milliseconds: int) -> list[str]:
    """Return the strace command line that delays the sync calls of a process and all its threads."""
    delay = f"inject={SYNC_CALLS}:delay_enter={milliseconds * 1000}"  # microseconds
    trace = ["-e", f"trace={SYNC_CALLS}", "-e", delay, "-e", "signal=none"]
    # Should the supervisor be killed, the kernel ends strace, and etcd is free again.
    return ["setpriv", "--pdeathsig", "TERM", "strace", "-q", "-f", *trace, "-o", "/dev/null", "-p", str(pid)]


def supervise(name: str, milliseconds: int, ended: threading.Event) -> None:
    """Keep strace attached to whichever etcd the node runs, until `ended` is set."""
    while not ended.is_set():
        pid = find_etcd(name)
        if pid is None:
            ended.wait(POLL)
            continue
        tracer = subprocess.Popen(strace_command(pid, milliseconds), stdin=subprocess.DEVNULL)
        while tracer.poll() is None and not ended.wait(POLL):
            pass
        if tracer.poll() is None:
            tracer.terminate()  # strace detaches on SIGTERM and leaves etcd running
        tracer.wait()
        ended.wait(POLL)


def _process(case: Case) -> str:
    return f"fault-{case.key}"


def _is_traced(name: str) -> bool:
    pid = find_etcd(name)
    try:
        status = Path(f"/proc/{pid}/status").read_text() if pid else ""
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in status.splitlines())


def run_supervisor() -> None:
    """Entry point of the supervisor's process: arguments are node and milliseconds, SIGTERM ends it."""
    name, milliseconds = sys.argv[1:]
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    supervise(name, int(milliseconds), ended)


# The supervisor lives on the machine and would slow down the etcd of a node that was reset.
ETCD_SLOW = Fault(
    "etcd-slow", USAGE, "delay every fdatasync of etcd (all members without NODE)",
    parse, inflict, undo, outlives_reset=True,
)  # fmt: skip
