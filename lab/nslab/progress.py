"""Progress lines: what is being done, how long it took last time, how long it took now."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nslab.build import store


def spell(seconds: float) -> str:
    """Return a duration as people say it: "8 s", "3 min 20 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s"


class Report:
    """Prints lines with the time since the start; is itself callable, for code that only wants to say something."""

    def __init__(self, quiet: bool = False) -> None:
        self._started = time.monotonic()
        self._quiet = quiet

    def __call__(self, text: str) -> None:
        """Print one line."""
        if not self._quiet:
            seconds = time.monotonic() - self._started
            print(f"[{int(seconds // 60):3d}:{seconds % 60:04.1f}] {text}", file=sys.stderr, flush=True)

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Announce a step, time it, and keep the time under `name` for the next run's announcement."""
        last = store.durations().get(name)
        self(what + (f" (last time {spell(last)})" if last else "") + " …")
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        store.remember_duration(name, seconds)
        self(f"  done in {spell(seconds)}" if seconds >= 1 else "  done")
