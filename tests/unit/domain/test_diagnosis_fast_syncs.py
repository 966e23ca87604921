"""Fast syncs that the recorder measured speak against a logged slow one only where they cover its moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import judge

from nightshift.domain.diagnosis.fast_syncs import FAST_AT_SYNCS, FAST_AT_WAITS, read_fast_syncs
from nightshift.domain.diagnosis.samples import SAMPLES
from nightshift.domain.diagnosis.signs import State

T0 = 1795907820.0
Row = dict[str, Any]


def logged(*seconds: int, message: str = "slow fdatasync", took: str = "4s") -> str:
    """Lines of etcd that something took so long and was over so many seconds after T0."""
    text = json.dumps({"level": "warn", "msg": message, "took": took, "prefix": ""}, separators=(",", ":"))
    return "".join(
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(T0 + second)) + f".500000000Z stderr F {text}\n"
        for second in seconds
    )


def fast(second: int) -> Row:
    return {"t": T0 + second, "etcd": {"fsync_sum": 0.004 * second, "fsync_count": 2 * second}}


def bundle(log: str, change: Callable[[int, Row], object] = lambda *_: None) -> dict[str, str]:
    rows = [fast(second) for second in range(100)]
    for second, row in enumerate(rows):
        change(second, row)
    return {b.ETCD: log, SAMPLES: "".join(json.dumps(row) + "\n" for row in rows)}


FIVE = (20, 30, 40, 50, 60)


def test_each_logged_moment_at_which_the_disk_was_fast_is_counted() -> None:
    signs = read_fast_syncs(bundle(logged(*FIVE)), None)
    (sign,) = signs.of(FAST_AT_SYNCS)
    assert (sign.count, sign.value) == (5, "at 5 of 5 logged moments")
    assert (sign.first, sign.last, sign.source) == (T0 + 20, T0 + 61, f"{SAMPLES}:22")
    assert signs.of(FAST_AT_WAITS)


def test_slow_writes_are_held_against_it_and_reads_are_not() -> None:
    writes = bundle(logged(*FIVE, message="apply request took too long"))
    assert [sign.name for sign in read_fast_syncs(writes, None).seen] == [FAST_AT_WAITS]
    assert not read_fast_syncs(
        bundle(writes[b.ETCD].replace('"prefix":""', '"prefix":"read-only x"')), None
    ).seen


def _missing(first: int, last: int) -> Callable[[int, Row], object]:
    return lambda second, row: row.pop("etcd") if first <= second <= last else None


def _still(first: int, last: int) -> Callable[[int, Row], None]:
    """A sync that hangs: nothing is counted."""

    def change(second: int, row: Row) -> None:
        if second >= first:
            row["etcd"] = fast(max(first, second - last + first))["etcd"]

    return change


def _slow_at(at: int, seconds: float) -> Callable[[int, Row], None]:
    def change(second: int, row: Row) -> None:
        if second >= at:
            row["etcd"]["fsync_sum"] += seconds

    return change


def _restarted(at: int) -> Callable[[int, Row], None]:
    def change(second: int, row: Row) -> None:
        if second >= at:
            row["etcd"] = fast(second - at)["etcd"]

    return change


@pytest.mark.parametrize(
    "change",
    [
        _missing(0, 99),
        _missing(48, 52),
        _missing(47, 48),  # in the middle of it
        _missing(0, 45),  # it began before the first sample
        _missing(51, 99),  # it ended after the last one
        _still(45, 55),
        _slow_at(51, 4.0),
        _slow_at(50, 4.0),  # of which the sample was late
        _slow_at(52, 4.0),
        _restarted(50),
        _slow_at(50, -0.1),  # no counter of etcd falls
    ],
)
def test_a_moment_at_which_no_fast_syncs_were_measured_proves_nothing(
    change: Callable[[int, Row], None],
) -> None:
    at_50 = bundle(logged(*[50] * 5), change)
    assert read_fast_syncs(bundle(logged(*[50] * 5)), None).seen, "it says nothing at all"
    assert read_fast_syncs(at_50, None).seen == ()


def test_a_sample_that_comes_late_is_no_hole() -> None:
    assert read_fast_syncs(bundle(logged(*[50] * 5), _missing(48, 48)), None).seen


def test_what_is_left_may_be_enough_for_a_slow_disk() -> None:
    """Fast at one moment; the others are as the log says."""
    assert not read_fast_syncs(bundle(logged(*FIVE, 70), _missing(25, 75)), None).seen
    assert read_fast_syncs(bundle(logged(*FIVE), _missing(25, 75)), None).of(FAST_AT_SYNCS)


def test_without_a_measured_sync_it_is_unread() -> None:
    for files in ({b.ETCD: logged(*FIVE)}, bundle(logged(*FIVE), _missing(0, 99))):
        assert read_fast_syncs(files, None).state(FAST_AT_SYNCS) is State.UNREAD


def test_a_clock_that_was_set_back_is_believed_up_to_there() -> None:
    """The seconds that come twice may be any."""

    def change(second: int, row: Row) -> None:
        row["t"] -= 60 if second >= 75 else 0

    assert read_fast_syncs(bundle(logged(*FIVE), change), None).of(FAST_AT_SYNCS)[0].count == 5
    assert not read_fast_syncs(bundle(logged(*[80] * 5), change), None).seen


def test_lines_without_a_time_and_times_that_go_back_are_no_proof() -> None:
    untimed = "".join(line.partition(" stderr F ")[2] + "\n" for line in logged(*FIVE).splitlines())
    assert not read_fast_syncs(bundle(untimed), None).seen
    files = bundle(logged(*FIVE))
    backwards = "".join(reversed(files[SAMPLES].splitlines(keepends=True)))
    assert not read_fast_syncs({**files, SAMPLES: backwards}, None).seen


@pytest.mark.no_cover  # the limit of time is the program's own
def test_a_hostile_log_and_recording_cost_seconds() -> None:
    files = bundle(logged(*range(20, 90), took="9000h") * 500)
    files[SAMPLES] = "".join(
        json.dumps({"t": T0 + n / 100, "etcd": {"fsync_sum": n * 1e-6, "fsync_count": n}}) + "\n"
        for n in range(20_000)
    )
    began = time.monotonic()
    read_fast_syncs(files, None)
    assert time.monotonic() - began < 10


def _slow(second: int, row: Row) -> None:
    row["etcd"] = {"fsync_sum": 1.0 * second, "fsync_count": 2 * second}  # half a second each


def _listed(files: dict[str, str]) -> list[str]:
    found = judge(files)
    return [s.match.kept_down for s in found.conditions if s.match and s.cause.name == "etcd_io_starvation"]


def test_a_slow_disk_that_etcd_bore_is_a_condition_and_never_the_cause() -> None:
    """The historic night: the disk was slow all the while, and a stray file stopped kubeadm."""
    slow = {**b.kubeadm_failed(), **bundle(logged(20, 30), _slow)}
    assert judge(slow).first is None
    assert _listed(slow) == ["etcd's own log tells of fewer than 5 writes or syncs of a second or more"]
    assert judge({**b.stray(b.kubeadm_failed()), **bundle(logged(20), _slow)}).first is not None
    starved = judge({**b.kubeadm_failed(), **bundle(logged(*FIVE), _slow)})
    assert starved.first is not None
    assert starved.first.cause.name == "etcd_io_starvation"


def test_without_etcds_log_nobody_knows_whether_it_bore_the_slow_disk() -> None:
    unlogged = {k: v for k, v in {**b.kubeadm_failed(), **bundle("", _slow)}.items() if k != b.ETCD}
    assert _listed(unlogged) == []
    assert any(text.startswith("etcd io starvation") for text in judge(unlogged).unknowns)
