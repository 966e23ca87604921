"""Prometheus histograms between two moments: what happened in the window, said as buckets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nightshift.domain.facts import HistogramSample


@dataclass(frozen=True)
class Bucket:
    """A histogram bucket as an interval in seconds: above `lower`, up to and including `upper`."""

    lower: float
    upper: float  # math.inf for the last bucket

    def __str__(self) -> str:
        """Say the bucket in milliseconds, e.g. "64-128 ms"."""
        if math.isinf(self.upper):
            return f"above {_milliseconds(self.lower)} ms"
        return f"{_milliseconds(self.lower)}-{_milliseconds(self.upper)} ms"


@dataclass(frozen=True)
class HistogramDelta:
    """What a histogram gained between two moments: observations per bucket, not cumulative."""

    buckets: tuple[tuple[Bucket, float], ...]
    count: float
    total_seconds: float

    def quantile_bucket(self, quantile: float) -> Bucket | None:
        """Return the bucket the quantile (0..1) falls into, or None without observations.

        Only the bucket is known, not the value inside it: interpolation would invent a precision
        that a doubling histogram does not have.
        """
        rank = math.ceil(quantile * self.count)
        seen = 0.0
        for bucket, observations in self.buckets:
            seen += observations
            if observations and seen >= rank:
                return bucket
        return None


def delta(before: HistogramSample, after: HistogramSample) -> HistogramDelta | None:
    """Return what was observed between the two samples; None when a counter was reset in between.

    A reset (the process restarted, or the bucket bounds changed) is visible because a cumulative
    count can only grow. NaN anywhere counts as a reset, because it says nothing.
    """
    bounds = tuple(bound for bound, _ in after.buckets)
    if not bounds or bounds != tuple(bound for bound, _ in before.buckets):
        return None
    gains = [new - old for (_, old), (_, new) in zip(before.buckets, after.buckets, strict=True)]
    count = after.count - before.count
    total = after.total_seconds - before.total_seconds
    if not all(gain >= 0 for gain in gains) or not count >= 0 or not math.isfinite(total):
        return None
    if sorted(gains) != gains:
        return None
    return HistogramDelta(_intervals(bounds, gains), count, total)


def _intervals(bounds: tuple[float, ...], gains: list[float]) -> tuple[tuple[Bucket, float], ...]:
    """Turn cumulative gains by upper bound into observations per interval."""
    lowers = (0.0, *bounds[:-1])
    inside = [gain - previous for previous, gain in zip([0.0, *gains[:-1]], gains, strict=True)]
    return tuple(
        (Bucket(lower, upper), observations)
        for lower, upper, observations in zip(lowers, bounds, inside, strict=True)
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.4g}"
