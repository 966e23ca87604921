"""One lab operation at a time: a lock that says who holds it and since when."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nslab.settings import CACHE_DIR
from nslab.shell import LabError

LOCK_FILE = CACHE_DIR / "operation.lock"


@contextmanager
def operation(name: str, path: Path = LOCK_FILE) -> Iterator[None]:
    """Hold the lab for one operation; raise `LabError` naming the holder when it is taken.

    The kernel drops the lock with the process, so a killed operation never leaves it behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip() or "somebody"
            raise LabError(
                f"the lab is busy: {holder}", "wait until that has ended, then try again"
            ) from None
        os.ftruncate(descriptor, 0)
        since = time.strftime("%H:%M:%S")
        os.pwrite(descriptor, f"`lab {name}` (process {os.getpid()}) since {since}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
