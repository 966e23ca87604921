"""Whether the node's recorder contradicts etcd's log: it saw the disk sync fast at the very moments at which the log says that etcd waited.

Only what was measured speaks against a logged wait. A second without a sample of etcd (it did not answer), a counter that stood still (a
sync that hangs is counted when it ends) and a moment before or after the recording are no fast syncs: they prove nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from nightshift.domain.diagnosis.etcd_log import STARVED_COUNT, STARVED_SECONDS, Wait, disk_waits
from nightshift.domain.diagnosis.recording import SLOW_FSYNC_SECONDS
from nightshift.domain.diagnosis.samples import SAMPLES, Sample, samples_of
from nightshift.domain.diagnosis.signs import Sign, Signs

FAST_AT_SYNCS = "recorder.etcd_fast_at_slow_fsync"
FAST_AT_WAITS = "recorder.etcd_fast_when_slow"
NAMES = frozenset({FAST_AT_SYNCS, FAST_AT_WAITS})

_HOLE_SECONDS = 2.5  # between two samples; there is one a second, and one may come late
_SLACK_SECONDS = 1.0  # a sample is stamped before etcd is asked, which may take most of a second


@dataclass(frozen=True)
class _Second:
    """What etcd's counters did between two samples that follow each other.

    Args:
        begin: epoch seconds of the earlier one.
        end: of the later one.
        line: of the later one.
        syncs: that ended in between.
        seconds: that these took together.
    """

    begin: float
    end: float
    line: int
    syncs: float
    seconds: float

    @property
    def is_slow(self) -> bool:
        """One of the syncs may have taken a whole second, or all were slow on average."""
        return self.seconds >= STARVED_SECONDS or self.seconds > SLOW_FSYNC_SECONDS * self.syncs


class _Course:
    """All measured seconds, in order; asks cost the same however long a wait was."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._seconds = list(_seconds(samples))
        self._begins = [second.begin for second in self._seconds]
        self._ends = [second.end for second in self._seconds]
        self._slow = [0, *accumulate(second.is_slow for second in self._seconds)]
        self._holes = [0, *accumulate(a.end != b.begin for a, b in pairwise(self._seconds))]

    def __bool__(self) -> bool:
        return bool(self._seconds)

    def fast_at(self, wait: Wait) -> _Second | None:
        """The measured second in which the wait ended, when all of the wait was measured and no sync in it was slow; else None."""
        if wait.end is None:
            return None
        begin, end = wait.end - wait.seconds - _SLACK_SECONDS, wait.end + _SLACK_SECONDS
        first, last = bisect_right(self._begins, begin) - 1, bisect_left(self._ends, end)
        if first < 0 or last >= len(self._seconds) or self._ends[first] < begin:
            return None
        if self._holes[last] > self._holes[first] or self._slow[last + 1] > self._slow[first]:
            return None
        ended = self._seconds[bisect_left(self._ends, wait.end)]
        return ended if ended.syncs > 0 else None


def _seconds(samples: Sequence[Sample]) -> Iterator[_Second]:
    """Between which samples something was measured; a counter that fell began anew."""
    for (a, syncs_a, sum_a), (b, syncs_b, sum_b) in pairwise(_told(samples)):
        if b.t - a.t <= _HOLE_SECONDS and sum_b >= sum_a:
            yield _Second(a.t, b.t, b.line, syncs_b - syncs_a, sum_b - sum_a)


def _told(samples: Sequence[Sample]) -> Iterator[tuple[Sample, float, float]]:
    """The samples that etcd's counters are in; one whose time does not go on is none."""
    newest = float("-inf")
    for sample in samples:
        syncs, seconds = sample.number("etcd", "fsync_count"), sample.number("etcd", "fsync_sum")
        if syncs is not None and seconds is not None and sample.t > newest:
            newest = sample.t
            yield sample, syncs, seconds


def read_fast_syncs(files: Mapping[str, str], since: float | None) -> Signs:
    """Hold the waits for the disk that etcd logged against what the recorder measured.

    A sign is seen when fewer waits are left than make etcd starved, once those are taken away at which the disk was fast.
    """
    course = _Course(samples_of(files))
    if not course:
        return Signs(unread=dict.fromkeys(NAMES, "etcd's syncs were not recorded"))
    waits = disk_waits(files, since)
    signs = (
        *_contradicted(FAST_AT_SYNCS, [wait for wait in waits if wait.is_sync], course.fast_at),
        *_contradicted(FAST_AT_WAITS, waits, course.fast_at),
    )
    return Signs(signs, looked=NAMES)


def _contradicted(
    name: str, waits: Sequence[Wait], fast_at: Callable[[Wait], _Second | None]
) -> Iterable[Sign]:
    fast = [second for wait in waits if (second := fast_at(wait)) is not None]
    if fast and len(waits) - len(fast) < STARVED_COUNT:
        yield Sign(
            name,
            subject="etcd",
            source=f"{SAMPLES}:{fast[0].line}",
            first=min(second.begin for second in fast),
            last=max(second.end for second in fast),
            count=len(fast),
            value=f"at {len(fast)} of {len(waits)} logged moments",
        )
