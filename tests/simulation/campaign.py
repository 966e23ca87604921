"""Many seeds on all cores, and what came of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import Pool

from tests.simulation.airflow import STEPS
from tests.simulation.faults import FAULTS
from tests.simulation.model import read_ahead
from tests.simulation.mutants import MUTANTS, broken
from tests.simulation.world import Result, play

_CHUNK = 25  # seeds per piece of work
_HUNTED = 4  # the same where most seeds are never played, because an earlier one has found it


@dataclass
class Report:
    """All seeds together."""

    seeds: int = 0
    events: int = 0
    hours: float = 0.0  # of virtual time
    longest_debt: float = 0.0
    nights_after: Counter[int] = field(default_factory=Counter)
    matrix: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Take one seed in."""
        self.seeds += 1
        self.events += result.events
        self.hours += result.seconds / 3600
        self.longest_debt = max(self.longest_debt, result.longest_debt)
        self.nights_after[result.nights_after] += 1
        self.matrix.update(result.hit)
        if result.breaches:
            self.failures.append(result)

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Pairs of step and fault that no seed had."""
        return [(step, fault) for step in STEPS for fault in FAULTS if not self.matrix[step, fault]]

    def lines(self) -> Iterator[str]:
        """For people."""
        yield (
            f"{self.seeds} seeds, {self.events} events, {self.hours:.0f} hours of virtual time; "
            f"longest debt without an owner {self.longest_debt:.0f} s; "
            f"nights after the last fault: {dict(sorted(self.nights_after.items()))}"
        )
        width = max(map(len, FAULTS))
        for index, step in enumerate(STEPS):
            yield f"{'':{width}} {' |' * index} {step}"
        for fault in FAULTS:
            yield f"{fault:{width}} " + " ".join(f"{self.matrix[step, fault]:4}" for step in STEPS)
        hit = len(STEPS) * len(FAULTS) - len(self.missing)
        yield f"{hit} of {len(STEPS) * len(FAULTS)} pairs of step and fault were hit"
        for result in sorted(self.failures, key=lambda r: r.seed)[:20]:
            yield f"seed {result.seed}: {result.breaches[0]}"
            yield f"  {replay(result.seed)}"


def replay(seed: int, mutant: str | None = None) -> str:
    """The command that shows one seed."""
    more = f" --mutant '{mutant}'" if mutant else ""
    return f"PYTHONPATH=plugins {sys.executable} -m tests.simulation --seed {seed} --trace{more}"


def run(first: int, count: int, workers: int | None = None) -> Report:
    """Play the seeds from `first` on."""
    report = Report()
    chunks = [
        range(start, min(start + _CHUNK, first + count)) for start in range(first, first + count, _CHUNK)
    ]
    with _pool(workers) as pool:
        for results in pool.imap_unordered(_play_all, chunks):
            for result in results:
                report.add(result)
    return report


def _pool(workers: int | None) -> Pool:
    """Processes that begin with what this one has read already; None: one per core it may use."""
    read_ahead()
    workers = workers or len(os.sched_getaffinity(0))
    return multiprocessing.get_context("fork").Pool(workers, initializer=_without_gc)


def _without_gc() -> None:
    """What was imported is never looked at again, what seeds leave only between chunks: a third of the time."""
    gc.disable()
    gc.freeze()


def _play_all(seeds: Sequence[int]) -> list[Result]:
    gc.collect()
    return [play(seed) for seed in seeds]


def hunt(mutant: str, seeds: int, workers: int | None = None) -> tuple[int, str] | None:
    """Return the first seed that finds a mutant for what it is, and the breach; None: none does."""
    with _pool(workers) as pool:
        found = pool.imap(partial(_breach_of, mutant), range(seeds), chunksize=_HUNTED)
        return next(((seed, breach) for seed, breach in enumerate(found) if breach), None)


def _breach_of(mutant: str, seed: int) -> str | None:
    with broken(mutant):
        result = play(seed)
    is_found = bool(result.breaches) and result.breaches[0].startswith(MUTANTS[mutant].finds)
    return result.breaches[0] if is_found else None
