"""How long a small write to the pool of the lab's disks takes, asked thirty times a second by a process that waits for no CPU itself.

Usage: disk_waits.py [SECONDS], while the lab is up and something is at work on it. Prints the median, the 99th percentile and the
longest in milliseconds, and how many took longer than the 100 ms after which etcd warns of a slow apply.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from nslab.nodes import pool

PAUSE = 0.03  # seconds between two writes
ENTRY = b"x" * 2300  # bytes, about what one entry of etcd's log has
LATE = 0.1  # seconds


def waits(directory: Path, seconds: float) -> list[float]:
    """Append to a file of its own and wait for the disk, again and again; returns the seconds of each."""
    found = []
    end = time.monotonic() + seconds
    with tempfile.TemporaryFile(dir=directory) as file:
        while time.monotonic() < end:
            time.sleep(PAUSE)
            os.write(file.fileno(), ENTRY)
            begun = time.monotonic()
            os.fdatasync(file.fileno())
            found.append(time.monotonic() - begun)
    return found


def summary(found: list[float], seconds: float) -> str:
    """What is printed of these waits, in seconds and at least two of them."""
    late = sum(wait > LATE for wait in found)
    return (
        f"{len(found)} writes in {seconds:.0f} s: median {1000 * statistics.median(found):.1f} ms, "
        f"p99 {1000 * statistics.quantiles(found, n=100)[98]:.0f} ms, longest {1000 * max(found):.0f} ms; "
        f"{late} took longer than {1000 * LATE:.0f} ms"
    )


if __name__ == "__main__":
    asked = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))  # before the kernel threads of disks_first.py
    print(summary(waits(pool.SCRATCH, asked), asked))
