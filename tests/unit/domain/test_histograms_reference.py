"""Deltas and p99 against a reference that keeps every single observation, on random histograms, resets included."""

from __future__ import annotations

import bisect
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.builders import DISK_BOUNDS

from nightshift.domain.facts import HistogramSample
from nightshift.domain.histograms import Bucket, delta

# Values on, just beside and between the bounds, and beyond the last finite one.
BOUNDS = [bound for bound in DISK_BOUNDS if math.isfinite(bound)]
SECONDS = st.one_of(st.sampled_from(BOUNDS), st.floats(0.0, 20.0), st.floats(0.0, 0.01))
MANY = st.lists(SECONDS, max_size=200)
unhurried = settings(deadline=None)  # the machine is shared


def recorded(observations: list[float]) -> HistogramSample:
    """What Prometheus' client would have counted."""
    cumulative = [(bound, float(sum(value <= bound for value in observations))) for bound in DISK_BOUNDS]
    return HistogramSample(tuple(cumulative), float(len(observations)), math.fsum(observations))


def bucket_of(value: float) -> Bucket:
    place = bisect.bisect_left(DISK_BOUNDS, value)
    return Bucket(DISK_BOUNDS[place - 1] if place else 0.0, DISK_BOUNDS[place])


def reference_p99(observations: list[float]) -> Bucket | None:
    """The nearest-rank p99 of the observations themselves, said as its bucket."""
    if not observations:
        return None
    return bucket_of(sorted(observations)[math.ceil(0.99 * len(observations)) - 1])


@unhurried
@given(past=MANY, window=MANY)
def test_only_the_window_counts_and_its_p99_is_right(past: list[float], window: list[float]) -> None:
    gained = delta(recorded(past), recorded(past + window))
    assert gained is not None
    assert gained.count == len(window)
    assert {b: n for b, n in gained.buckets if n} == {
        b: float(sum(bucket_of(v) == b for v in window)) for b in {bucket_of(v) for v in window}
    }
    assert gained.quantile_bucket(0.99) == reference_p99(window)


@unhurried
@given(past=st.lists(SECONDS, min_size=1, max_size=200), window=MANY)
def test_a_reset_is_never_taken_for_a_window(past: list[float], window: list[float]) -> None:
    """A process that started anew counts from zero. It is noticed whenever any of its buckets has less than before."""
    before, after = recorded(past), recorded(window)
    shrunk = any(new < old for (_, old), (_, new) in zip(before.buckets, after.buckets, strict=True))
    gained = delta(before, after)
    if shrunk:
        assert gained is None
    elif gained is not None:
        assert all(observations >= 0 for _, observations in gained.buckets)
        assert gained.count == len(window) - len(past)


@unhurried
@given(window=st.lists(SECONDS, min_size=1, max_size=200), slower=SECONDS)
def test_a_slower_observation_never_makes_it_faster(window: list[float], slower: float) -> None:
    def p99(observations: list[float]) -> float:
        gained = delta(recorded([]), recorded(observations))
        assert gained is not None
        bucket = gained.quantile_bucket(0.99)
        assert bucket is not None
        return bucket.upper

    changed = sorted(window)
    changed[0] = max(changed[0], slower)
    assert p99(changed) >= p99(window)
