"""The recorder's files as numbers: one sample a second, and nothing of it believed that is no finite, plausible number.

Format: docs/evidence.md (`recorder/samples.jsonl`, `writers.jsonl`, `meta.json`). The files come from a node that may be out of order or in
other hands, and may end in the middle of a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAMPLES = "recorder/samples.jsonl"
WRITERS = "recorder/writers.jsonl"
META = "recorder/meta.json"

_MAX_LINES = 100_000  # a day and a night of samples
_MAX_LINE = 65_536  # characters
_MAX_NUMBER = 1e18  # an exabyte, or 30 000 years in microseconds
LONGEST_STEP = 30.0  # seconds between two samples whose counters are still compared


@dataclass(frozen=True)
class Sample:
    """One second.

    Args:
        t: seconds since the epoch.
        line: its number in the file, from 1.
        data: as written; ask `number`.
    """

    t: float
    line: int
    data: Mapping[str, Any]

    def at(self, *path: str) -> object:
        """What lies at this path; None when there is nothing."""
        return at(self.data, *path)

    def number(self, *path: str) -> float | None:
        """The number at this path; None when there is none, or none that can be."""
        return number(self.data, *path)


@dataclass(frozen=True)
class Step:
    """What a counter did between two samples.

    Args:
        sample: the later one.
        seconds: between the two.
        grown: by how much.
    """

    sample: Sample
    seconds: float
    grown: float


def at(data: object, *path: str) -> object:
    """What lies at this path of nested mappings; None when there is nothing."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def number(data: object, *path: str) -> float | None:
    """The finite number from 0 to 10^18 at this path of nested mappings; None when there is none."""
    data = at(data, *path)
    if isinstance(data, bool) or not isinstance(data, int | float):
        return None
    return (
        float(data) if 0 <= data <= _MAX_NUMBER else None
    )  # False for NaN, and no overflow for a huge integer


def samples_of(files: Mapping[str, str]) -> list[Sample]:
    """All readable samples, in the order of the file."""
    found = []
    for line, data in objects(files.get(SAMPLES, "")):
        t = number(data, "t")
        if t is not None:
            found.append(Sample(t, line, data))
    return found


def writers_of(files: Mapping[str, str]) -> dict[int, Mapping[str, Any]]:
    """Who wrote much, by process id; of a number that was used twice the later one."""
    found: dict[int, Mapping[str, Any]] = {}
    for _, data in objects(files.get(WRITERS, "")):
        pid = number(data, "pid")
        if pid is not None:
            found[int(pid)] = data
    return found


def etcd_disk(files: Mapping[str, str]) -> str | None:
    """Kernel name of the disk that holds etcd's data; None when nobody knows."""
    meta = next((data for _, data in objects(files.get(META, ""))), {})
    disks = meta.get("disks")
    if not isinstance(disks, Mapping):
        return None
    return next(
        (
            name
            for name, disk in disks.items()
            if isinstance(disk, Mapping) and disk.get("holds_etcd") is True
        ),
        None,
    )


def steps(samples: Sequence[Sample], *path: str) -> Iterator[Step]:
    """Yield what a counter did from sample to sample. A counter that fell began anew: its process was restarted."""
    before: tuple[float, float] | None = None
    for sample in samples:
        value = sample.number(*path)
        if value is None:
            continue
        if before is not None and 0 < sample.t - before[0] <= LONGEST_STEP and value >= before[1]:
            yield Step(sample, sample.t - before[0], value - before[1])
        before = (sample.t, value)


def spans(samples: Sequence[Sample], holds: Callable[[Sample], bool | None]) -> list[tuple[Sample, Sample]]:
    """First and last sample of each stretch in which something holds; a sample that does not tell (None) ends no stretch."""
    found: list[tuple[Sample, Sample]] = []
    is_open = False
    for sample in samples:
        told = holds(sample)
        if told is None:
            continue
        if told and is_open:
            found[-1] = (found[-1][0], sample)
        elif told:
            found.append((sample, sample))
        is_open = told
    return found


def objects(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The lines that are JSON objects, with their numbers from 1."""
    for line, raw in enumerate(text.splitlines()[:_MAX_LINES], start=1):
        if len(raw) > _MAX_LINE:
            continue
        try:
            data = json.loads(raw, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            yield line, data


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
