from __future__ import annotations

import pytest
from tests.unit.domain.builders import DISK_BOUNDS, INF, histogram

from nightshift.domain.facts import HistogramSample
from nightshift.domain.histograms import Bucket, delta


def sample(*cumulative: tuple[float, float], count: float | None = None) -> HistogramSample:
    return HistogramSample(tuple(cumulative), cumulative[-1][1] if count is None else count, 1.0)


@pytest.mark.parametrize(
    ("observations", "bucket"),
    [
        ({0.0005: 100}, (0.0, 0.001)),
        ({0.002: 100}, (0.001, 0.002)),  # the bound belongs to the lower bucket
        ({0.0021: 100}, (0.002, 0.004)),
        ({0.003: 99, 0.3: 1}, (0.002, 0.004)),  # 1 in 100 above is what a p99 allows
        ({0.003: 98, 0.3: 2}, (0.256, 0.512)),
        ({0.003: 1, 20.0: 99}, (8.192, INF)),
    ],
)
def test_p99_is_the_bucket_it_falls_into(
    observations: dict[float, float], bucket: tuple[float, float]
) -> None:
    gained = delta(histogram(DISK_BOUNDS), histogram(DISK_BOUNDS, observations))
    assert gained is not None
    assert gained.quantile_bucket(0.99) == Bucket(*bucket)


def test_only_the_window_counts_not_the_past() -> None:
    before = histogram(DISK_BOUNDS, {1.0: 10_000})
    after = histogram(DISK_BOUNDS, {1.0: 10_000, 0.003: 100})
    gained = delta(before, after)
    assert gained is not None
    assert gained.count == 100
    assert gained.quantile_bucket(0.99) == Bucket(0.002, 0.004)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(sample((1, 5), (INF, 9)), sample((1, 2), (INF, 3)), id="process restarted"),
        pytest.param(sample((1, 5), (INF, 9)), sample((1, 9), (INF, 10)), id="cumulative gains shrink"),
        pytest.param(sample((1, 5), (INF, 9)), sample((2, 5), (INF, 9)), id="other bounds"),
        pytest.param(sample((1, 5), (INF, 9)), sample((1, float("nan")), (INF, 12)), id="NaN bucket"),
        pytest.param(
            sample((1, 5), (INF, 9), count=9), sample((1, 5), (INF, 9), count=8), id="count shrinks"
        ),
        pytest.param(HistogramSample((), 0, 0), HistogramSample((), 0, 0), id="no buckets"),
        pytest.param(
            HistogramSample(((INF, 1),), 1, 1), HistogramSample(((INF, 2),), 2, float("nan")), id="NaN total"
        ),
    ],
)
def test_a_reset_is_no_measurement(before: HistogramSample, after: HistogramSample) -> None:
    assert delta(before, after) is None


def test_nothing_observed_has_no_quantile() -> None:
    gained = delta(histogram(DISK_BOUNDS), histogram(DISK_BOUNDS))
    assert gained is not None
    assert gained.count == 0
    assert gained.quantile_bucket(0.99) is None


def test_buckets_are_said_in_milliseconds() -> None:
    assert str(Bucket(0.064, 0.128)) == "64-128 ms"
    assert str(Bucket(0.0512, 0.1024)) == "51.2-102.4 ms"
    assert str(Bucket(8.192, INF)) == "above 8192 ms"
