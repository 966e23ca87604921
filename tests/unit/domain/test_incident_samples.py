"""The recorder's samples: gaps are gaps, and nothing that a line may say makes the report hang or break."""

import json
import math
import re
from typing import Any

import pytest

from nightshift.domain.diagnosis.samples import SAMPLES, Sample, number
from nightshift.domain.incident.plots import draw
from nightshift.domain.incident.samples import Span, means, newest_samples, rates, spans, writers


def _read(*samples: Any) -> list[Sample]:
    return newest_samples({SAMPLES: "\n".join(s if isinstance(s, str) else json.dumps(s) for s in samples)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, "1", None, [1]])
def test_only_finite_numbers_count(value: Any) -> None:
    assert number(value) is None


def test_lines_that_are_no_sample_are_left_out_and_the_rest_is_in_order() -> None:
    found = _read({"t": 2}, "{", "[1]", '{"t": NaN}', "[" * 100_000, {"t": 1}, {"x": 1})
    assert [sample.t for sample in found] == [1, 2]


def test_a_rate_is_not_taken_over_a_gap_or_a_counter_that_began_anew() -> None:
    values = [(1, 100), (2, 300), (3, None), (4, 700), (5, 50), (6, 60), (100, 90_000)]
    samples = _read(*({"t": t, "disks": {"sda": {"written_bytes": v}}} for t, v in values))
    assert rates(samples, "disks", "sda", "written_bytes") == [(2, 200.0), (4, 200.0), (6, 10.0)]


def test_a_mean_needs_something_counted() -> None:
    samples = _read(
        *({"t": t, "etcd": {"s": s, "c": c}} for t, s, c in [(1, 1.0, 10), (2, 1.5, 20), (3, 1.5, 20)])
    )
    assert means(samples, ("etcd", "s"), ("etcd", "c")) == [(2, pytest.approx(50.0))]


def test_spans_end_where_nothing_is_known() -> None:
    samples = _read(*({"t": t, "x": x} for t, x in [(1, "a"), (2, "a"), (3, None), (60, "a"), (61, "b")]))
    found = spans(samples, lambda sample: sample.data["x"])
    assert found == [Span(1, 2, "a"), Span(60, 60, "a"), Span(61, 61, "b")]


def test_writers_are_added_up_by_name() -> None:
    samples = _read(
        {"t": 1, "writers": [{"comm": "dd", "written_bytes": 5}, {"comm": "etcd", "written_bytes": 7}]},
        {"t": 2, "writers": [{"comm": "dd", "written_bytes": 6}, "?", {"comm": "x", "written_bytes": None}]},
    )
    assert writers(samples) == [("dd", 11), ("etcd", 7)]


def _night() -> list[Sample]:
    """A pod with two hashes, an API server that goes away, a busy disk."""
    return _read(
        *(
            {
                "t": 1000 + i,
                "etcd": {"fsync_sum": i * 0.05, "fsync_count": i * 10, "slow_applies": i // 2},
                "disks": {"sda": {"written_bytes": i * 50 * 2**20}, "sdb": {"written_bytes": 0}},
                "writers": [{"comm": "<dd>", "written_bytes": 40 * 2**20}],
                "pods": {"kube-apiserver": {"hash": "aa" if i < 30 else "b<b", "container": "c"}},
                **({"apiserver": {"ready": i < 20}} if i < 40 else {"missed": ["apiserver"]}),
            }
            for i in range(60)
        )
    )


def test_the_plots_say_what_is_to_be_seen() -> None:
    plots = {plot.title: plot for plot in draw(_night(), [1010.0, 99_999.0])}
    assert plots["etcd's disk, milliseconds"].caption == "WAL fsync: longest mean of a second 5 ms."
    assert plots["Slow applies of etcd, per sample"].caption.startswith("29 requests")
    assert plots["Written to each disk, MiB per second"].caption == "Who wrote most: <dd> 2400 MiB."
    assert plots["Static pods' hashes and containers"].caption.endswith("The hash changed: kube-apiserver.")
    assert plots["API server on this node"].caption == "Not ready or not answering for 38 s."
    for plot in plots.values():
        assert plot.svg.startswith("<svg ")
        assert plot.svg.count('class="mark"') == 1  # the other moment is not in the picture
        assert "<dd>" not in plot.svg
        assert "b<b" not in plot.svg


def test_what_was_not_sampled_is_not_drawn() -> None:
    assert draw([], []) == []
    assert draw(_read({"t": 1}, {"t": 2}), []) == []


def test_no_value_makes_plotting_hang_or_break() -> None:
    wild = ["NaN", "Infinity", "-1e308", "1e308", '"x"', "null", "[]", "{}", "1e400", "true"]
    lines = [
        f'{{"t": {i}, "etcd": {{"fsync_sum": {w}, "fsync_count": {v}, "slow_applies": {w}}}, "pods": {{"p": {w}}}, '
        f'"disks": {{"sda": {{"written_bytes": {v}}}}}, "writers": [{{"comm": {w}, "written_bytes": {v}}}], '
        f'"apiserver": {{"ready": {w}}}, "missed": {v}}}'
        for i, (w, v) in enumerate((w, v) for w in wild for v in wild)
    ]
    for plot in draw(_read(*lines), [math.nan]):
        assert not re.search(r'="-?(nan|inf)|[ ,]-?(nan|inf)[ ,"]', plot.svg.lower().partition(">")[2])


def test_what_was_not_read_is_unknown_and_not_nothing() -> None:
    disks = [{"t": float(i), "missed": ["writers"], "disks": {"sda": {"written_bytes": i}}} for i in range(9)]
    assert [plot.caption for plot in draw(_read(*disks))] == ["Who wrote is unknown: it could not be read."]
    disks[3]["writers"] = []
    assert [plot.caption for plot in draw(_read(*disks))] == [
        "No process wrote much. In 8 of 9 samples it could not be read."
    ]
    pods = [{"t": float(i), "pods": {"etcd": {"hash": None}}} for i in range(9)]
    assert "No hash could be read of etcd" in draw(_read(*pods))[0].caption
    assert "No hash changed" not in draw(_read(*pods))[0].caption
    pods[5]["pods"] = {"etcd": {"hash": "aa"}}
    assert "No hash changed" in draw(_read(*pods))[0].caption
