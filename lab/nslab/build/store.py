"""The builder's cache: finished directories, locks, and how long each took last time.

An artifact is a directory. It is produced under a temporary name beside its final one and renamed
when complete, under a lock of its own, so that what exists is whole, an interrupted build starts
that artifact again, and two builders at once do the work once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nslab.settings import CACHE_DIR
from nslab.shell import LabError

Report = Callable[[str], None]

HEARTBEAT_SECONDS = 60.0
_DURATIONS = CACHE_DIR / "durations.json"


class BuildError(LabError):
    """An artifact could not be made; the message says why and what to do next."""


@contextmanager
def lock(name: str, report: Report | None = None) -> Iterator[None]:
    """Hold the builder's lock `name`; `report` is told when another process has it and is waited for."""
    directory = CACHE_DIR / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if report:
                report(f"waiting for another process that is at work on {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def durations() -> dict[str, float]:
    """Seconds each artifact took when it was last made; empty when unknown or unreadable."""
    try:
        return {str(k): float(v) for k, v in json.loads(_DURATIONS.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def remember_duration(name: str, seconds: float) -> None:
    """Keep how long `name` took, for the next run's progress lines."""
    with lock("durations"):
        known = durations() | {name: round(seconds, 1)}
        write_text(_DURATIONS, json.dumps(known, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    sync(temporary)
    temporary.replace(path)


def sync(path: Path) -> None:
    """Flush one file or directory entry to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for path in [*root.rglob("*"), root]:
        if not path.is_symlink() and (path.is_file() or path.is_dir()):
            sync(path)


@contextmanager
def usual_umask() -> Iterator[None]:
    """Files are served to others, and packages keep their modes: whatever the user's umask is, use 022."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _heartbeat(label: str, report: Report) -> Iterator[None]:
    """Say now and then that `label` is still being made: a compiler is silent for minutes."""
    ended = threading.Event()

    def beat() -> None:
        started = time.monotonic()
        while not ended.wait(HEARTBEAT_SECONDS):
            report(f"still building {label}, {time.monotonic() - started:.0f} s so far")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def ensure_directory(
    final: Path, produce: Callable[[Path], None], report: Report, label: str | None = None
) -> Path:
    """Return `final`, calling `produce(empty directory)` first when it does not exist yet.

    `label` is the artifact's name in progress lines, locks and remembered durations; by default
    the name of the directory.
    """
    label = label or final.name
    if final.is_dir():
        return final
    with lock(label, report):
        if final.is_dir():
            return final
        for left_over in final.parent.glob(f".{final.name}.partial*"):
            shutil.rmtree(left_over, ignore_errors=True)
        # A name of its own: a compiler that outlived a killed builder may still write to the old one.
        partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
        partial.mkdir(parents=True)
        last = durations().get(label)
        report(f"building {label}" + (f" (took {last:.0f} s last time)" if last else ""))
        started = time.monotonic()
        with usual_umask(), _heartbeat(label, report):
            produce(partial)
        _sync_tree(partial)
        partial.rename(final)
        sync(final.parent)
        seconds = time.monotonic() - started
        remember_duration(label, seconds)
        report(f"built {label} in {seconds:.0f} s")
    return final
