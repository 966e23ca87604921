"""The recorder's samples as series over time, to be drawn. What was not sampled is a gap, never 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.diagnosis.samples import LONGEST_STEP, Sample, number, samples_of, steps

_MOST = 7_200  # samples that are looked at, the newest: two hours at one a second

Point = tuple[float, float]  # seconds since the epoch, value


@dataclass(frozen=True)
class Span:
    """A stretch of time in which something was the same.

    Args:
        begin: seconds since the epoch.
        end: of its last sample.
        state: what it was.
    """

    begin: float
    end: float
    state: str


def newest_samples(files: Mapping[str, str]) -> list[Sample]:
    """The newest samples in the order of their times."""
    return sorted(samples_of(files)[-_MOST:], key=lambda sample: sample.t)


def rates(samples: Sequence[Sample], *path: str, factor: float = 1.0) -> list[Point]:
    """Growth of a counter per second."""
    return [(step.sample.t, step.grown / step.seconds * factor) for step in steps(samples, *path)]


def means(samples: Sequence[Sample], total: Sequence[str], count: Sequence[str]) -> list[Point]:
    """Mean of what a histogram's sum and count grew by, in milliseconds; nothing where nothing was counted."""
    counted = {step.sample.t: step.grown for step in steps(samples, *count)}
    return [
        (step.sample.t, step.grown / counted[step.sample.t] * 1000)
        for step in steps(samples, *total)
        if counted.get(step.sample.t)
    ]


def spans(samples: Sequence[Sample], state: Callable[[Sample], str | None]) -> list[Span]:
    """Stretches of the same state; where it is None nothing is known, and nothing is drawn."""
    found: list[Span] = []
    for sample in samples:
        said = state(sample)
        if said is None:
            continue
        last = found[-1] if found else None
        if last and last.state == said and sample.t - last.end <= LONGEST_STEP:
            found[-1] = Span(last.begin, sample.t, said)
        else:
            found.append(Span(sample.t, sample.t, said))
    return found


def keys(samples: Sequence[Sample], name: str) -> list[str]:
    """All keys that were ever under `name`, sorted."""
    found: set[str] = set()
    for sample in samples:
        inner = sample.at(name)
        if isinstance(inner, Mapping):
            found.update(str(key) for key in inner)
    return sorted(found)


def writers(samples: Sequence[Sample]) -> list[tuple[str, float]]:
    """Who wrote most, by name: (command, bytes), largest first."""
    total: dict[str, float] = {}
    for sample in samples:
        listed = sample.at("writers")
        for writer in listed if isinstance(listed, list) else ():
            written = number(writer, "written_bytes")
            if written is not None:
                name = str(writer.get("comm") or "?")[:32]
                total[name] = total.get(name, 0.0) + written
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))
