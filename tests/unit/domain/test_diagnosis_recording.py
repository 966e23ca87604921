"""Signs from the recorder's samples: what was so at which second; no number is believed that cannot be one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.recording import NAMES, read_recording
from nightshift.domain.diagnosis.samples import (
    META,
    SAMPLES,
    WRITERS,
    etcd_disk,
    samples_of,
    steps,
    writers_of,
)
from nightshift.domain.diagnosis.signs import Sign, State

T0 = 1795907820.0
MB = 1_000_000
Change = Callable[[int, dict[str, Any]], None]


def sample(second: int) -> dict[str, Any]:
    """A second of a healthy node: etcd syncs 20 times in 2 ms each."""
    return {
        "t": T0 + second,
        "missed": [],
        "etcd": {
            "fsync_sum": 0.04 * second,
            "fsync_count": 20 * second,
            "slow_applies": 0,
            "has_leader": 1,
        },
        "apiserver": {"ready": True},
        "pods": {"kube-apiserver": {"hash": "aa", "sandbox": "s", "container": "c1", "started": T0}},
        "disks": {"sda": {"read_bytes": 0, "written_bytes": 10 * MB * second, "busy_ms": 0}},
        "writers": [],
        "pressure": {"io_some_us": 1000 * second, "io_full_us": 0},
        "memory_available_bytes": 2_000 * MB,
        "load1": 1.0,
        "filesystems": {"/": {"free_bytes": 500 * MB, "size_bytes": 1000 * MB}},
    }


def recording(change: Change | None = None, seconds: int = 200) -> dict[str, str]:
    rows = [sample(second) for second in range(seconds)]
    for second, row in enumerate(rows):
        if change is not None:
            change(second, row)
    meta = {"version": 1, "disks": {"sda": {"rotational": True, "mounts": ["/"], "holds_etcd": True}}}
    return {
        SAMPLES: "".join(json.dumps(row) + "\n" for row in rows),
        META: json.dumps(meta),
        "journal/nightshift-all.log": journal(5, "[upgrade] Reading configuration"),
    }


def journal(second: int, text: str) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(T0 + second))
    return f"{stamp} cp1 nightshift-job[99]: {text}\n"


MOVED = '[upgrade/staticpods] Moving new manifest to "/etc/kubernetes/manifests/kube-apiserver.yaml" and backed up old manifest'
DONE = '[upgrade/staticpods] Component "kube-apiserver" upgraded successfully!'


def seen(files: dict[str, str], name: str) -> tuple[Sign, ...]:
    signs = read_recording(files)
    assert name in signs.looked, signs.unread.get(name)
    return signs.of(name)


def test_a_healthy_recording_shows_nothing_and_was_looked_at():
    signs = read_recording(recording())
    assert signs.seen == ()
    assert signs.looked == NAMES


def test_without_a_recording_nothing_is_known():
    signs = read({"journal/kubelet.log": "x"})
    assert {signs.state(name) for name in NAMES} == {State.UNREAD}


def with_journal(files: dict[str, str], *lines: str) -> dict[str, str]:
    return {**files, "journal/nightshift-all.log": "".join(lines)}


def test_a_hash_that_stays_while_kubeadm_waits():
    (sign,) = seen(with_journal(recording(), journal(20, MOVED)), "recorder.hash_unchanged")
    assert (sign.subject, sign.first, sign.last) == ("kube-apiserver", T0 + 20, T0 + 199)
    assert sign.value == "aa for 179 s after kubeadm had written the new manifest"
    assert sign.source == "recorder/samples.jsonl:21"


def test_a_hash_that_changes_or_a_short_wait_is_no_sign():
    def change(second: int, row: dict[str, Any]) -> None:
        row["pods"]["kube-apiserver"]["hash"] = "aa" if second < 35 else "bb"

    assert seen(with_journal(recording(change), journal(20, MOVED)), "recorder.hash_unchanged") == ()
    short = with_journal(recording(), journal(20, MOVED), journal(45, DONE))
    assert seen(short, "recorder.hash_unchanged") == ()


def test_the_pod_of_a_manifest_that_had_come_to_run_before_is_no_sign():
    def change(second: int, row: dict[str, Any]) -> None:
        row["pods"]["kube-apiserver"]["hash"] = (
            "aa" if second < 20 else "bb"
        )  # it took over within the second

    assert seen(with_journal(recording(change), journal(20, MOVED)), "recorder.hash_unchanged") == ()


def test_containers_of_one_pod_that_follow_one_another():
    def change(second: int, row: dict[str, Any]) -> None:
        row["pods"]["kube-apiserver"]["container"] = f"c{second // 50}"

    (sign,) = seen(recording(change), "recorder.restarts")
    assert (sign.subject, sign.count) == ("kube-apiserver", 4)


def test_slow_fsyncs_are_told_with_mean_and_worst_second():
    def change(second: int, row: dict[str, Any]) -> None:
        slow = max(
            0, min(second, 120) - 100
        )  # from 100 to 120 s: two fsyncs of a second each, in place of 20 of 2 ms
        row["etcd"] |= {
            "fsync_sum": 0.04 * (second - slow) + 2.0 * slow,
            "fsync_count": 20 * (second - slow) + 2 * slow,
        }

    (sign,) = seen(recording(change), "recorder.etcd_slow_fsync")
    assert sign.value == "mean 1.00 s in 20 seconds, 1.00 s in the worst one"
    assert (sign.first, sign.last, sign.count) == (T0 + 101, T0 + 120, 20)


def test_a_restarted_etcd_counts_from_nought_and_is_not_slow_for_that():
    def change(second: int, row: dict[str, Any]) -> None:
        if second >= 100:
            row["etcd"] |= {"fsync_sum": 0.04 * (second - 100), "fsync_count": 20 * (second - 100)}

    assert seen(recording(change), "recorder.etcd_slow_fsync") == ()


def test_slow_applies_are_counted():
    def change(second: int, row: dict[str, Any]) -> None:
        row["etcd"]["slow_applies"] = 30 * max(0, second - 190)

    (sign,) = seen(recording(change), "recorder.etcd_slow_applies")
    assert (sign.count, sign.value) == (270, "270 slow applies, 30 in the worst second")


def test_a_counter_is_compared_neither_over_its_restart_nor_over_a_gap_nor_backwards_in_time():
    rows = [(0, 10), (1, 15), (2, 3), (3, 4), (100, 50), (99, 60), (101, 61)]
    text = "".join(f'{{"t":{T0 + t},"load1":{value}}}\n' for t, value in rows)
    grown = [(step.sample.t - T0, step.grown) for step in steps(samples_of({SAMPLES: text}), "load1")]
    assert grown == [(1, 5), (3, 1), (101, 1)]


def test_the_writer_on_etcds_disk_is_named_and_etcd_itself_is_none():
    def change(second: int, row: dict[str, Any]) -> None:
        row["disks"]["sda"]["written_bytes"] = 30 * MB * second
        row["writers"] = [
            {"pid": 5, "comm": "etcd", "written_bytes": 50 * MB},
            {"pid": 7, "comm": "dd", "written_bytes": 20 * MB},
            {"pid": 8, "comm": "journald", "written_bytes": 1 * MB},
        ]

    files = recording(change, seconds=31)
    files[WRITERS] = json.dumps(
        {"pid": 7, "comm": "dd", "args": "dd if=/dev/zero", "owner": "backup.service", "place": "etcd"}
    )
    (sign,) = seen(files, "recorder.writer")
    assert sign.subject == "dd (pid 7 of backup.service)"
    assert sign.value == "620 MB in 31 s, 69 % of what sda took"
    assert sign.quote == "dd if=/dev/zero"


@pytest.mark.parametrize("known", ['{"pid":7,"place":"node"}', '{"pid":7}', ""])
def test_who_is_not_known_to_write_to_etcds_disk_is_not_named(known):
    def change(second: int, row: dict[str, Any]) -> None:
        row["writers"] = [{"pid": 7, "comm": "containerd", "written_bytes": 300 * MB}]

    assert seen({**recording(change, seconds=31), WRITERS: known}, "recorder.writer") == ()


def test_what_the_disk_has_not_taken_yet_is_no_share_of_it():
    def change(second: int, row: dict[str, Any]) -> None:
        row["writers"] = [{"pid": 7, "comm": "dd", "written_bytes": 300 * MB}]

    files = {**recording(change, seconds=31), WRITERS: '{"pid":7,"place":"etcd"}'}
    (sign,) = seen(files, "recorder.writer")
    assert sign.value == "9300 MB in 31 s"


def spell(first: int, last: int, **values: Any) -> Change:
    def change(second: int, row: dict[str, Any]) -> None:
        if first <= second <= last:
            row.update(values)

    return change


@pytest.mark.parametrize(
    ("name", "change", "subject", "value"),
    [
        ("recorder.apiserver_not_ready", spell(50, 120, apiserver={"ready": False}), "kube-apiserver", "70 s without a break, 70 s in all"),
        ("recorder.etcd_no_leader", spell(50, 60, etcd={"has_leader": 0}), "etcd", "10 s without a break, 10 s in all"),
        ("recorder.fs_full", spell(9, 9, filesystems={"/": {"free_bytes": 0, "size_bytes": 1000 * MB}}), "/", "0 MB free of 1000 MB"),
        ("recorder.memory_low", spell(9, 9, memory_available_bytes=50 * MB), "this node", "50 MB available at the least"),
    ],
)  # fmt: skip
def test_stretches_and_lows(name, change, subject, value):
    (sign,) = seen(recording(change), name)
    assert (sign.subject, sign.value) == (subject, value)


def test_an_upgrade_takes_the_api_server_away_for_a_while_and_that_is_no_sign():
    assert seen(recording(spell(50, 90, apiserver={"ready": False})), "recorder.apiserver_not_ready") == ()


def test_seconds_that_do_not_tell_end_no_stretch():
    def change(second: int, row: dict[str, Any]) -> None:
        row["apiserver"] = {"ready": False}
        if second % 2:
            del row["apiserver"]

    assert len(seen(recording(change), "recorder.apiserver_not_ready")) == 1


def test_io_pressure():
    def change(second: int, row: dict[str, Any]) -> None:
        row["pressure"]["io_some_us"] = 900_000 * second

    assert len(seen(recording(change), "recorder.io_pressure")) == 1


def test_a_recorder_that_stood_still():
    files = recording()
    lines = files[SAMPLES].splitlines(keepends=True)
    files[SAMPLES] = "".join(lines[:50] + lines[90:])
    (sign,) = seen(files, "recorder.gap")
    assert sign.value == "nothing was recorded for up to 41 s"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("etcd", "recorder.etcd_slow_fsync"),
        ("etcd", "recorder.etcd_no_leader"),
        ("apiserver", "recorder.apiserver_not_ready"),
        ("pods", "recorder.hash_unchanged"),
        ("writers", "recorder.writer"),
        ("pressure", "recorder.io_pressure"),
        ("filesystems", "recorder.fs_full"),
        ("memory_available_bytes", "recorder.memory_low"),
    ],
)
def test_what_no_sample_has_is_unread_and_not_absent(key, name):
    assert read_recording(recording(lambda _, row: row.pop(key))).state(name) is State.UNREAD


GARBAGE = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1", '"12"', "true", "null", "[]", "{}", "1e30", "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("value", GARBAGE)
def test_no_number_is_believed_that_cannot_be_one(value):
    line = f'{{"t":{T0},"memory_available_bytes":{value}}}'
    assert [s.number("memory_available_bytes") for s in samples_of({SAMPLES: line})] in ([], [None])
    assert samples_of({SAMPLES: f'{{"t":{value}}}'}) == []


def garbage_lines() -> Iterable[str]:
    yield from ("", "{", "[]", "null", "\x00", "[" * 50_000, '{"t":1' + "0" * 70_000 + "}", '{"t":1}garbage')


def test_garbage_between_the_samples_is_passed_over():
    files = recording(spell(50, 120, apiserver={"ready": False}))
    files[SAMPLES] = "\n".join(garbage_lines()) + "\n" + files[SAMPLES] + '{"t":17959'
    assert len(seen(files, "recorder.apiserver_not_ready")) == 1


@pytest.mark.parametrize(
    "value",
    [
        1,
        "x",
        None,
        [],
        [1, None, "x"],
        {"a": 1},
        {"sda": []},
        [{"pid": "x"}],
        [{"pid": 1, "written_bytes": 1, "comm": 5}],
    ],
)
def test_parts_of_another_shape_break_nothing(value):
    for key in (
        "etcd",
        "apiserver",
        "pods",
        "disks",
        "writers",
        "pressure",
        "memory_available_bytes",
        "filesystems",
    ):
        assert read_recording(recording(spell(0, 200, **{key: value}))).of("recorder.gap") == ()


def test_meta_and_writers_of_another_shape_tell_nothing():
    assert etcd_disk({META: '{"disks":[1]}'}) is None
    assert etcd_disk({META: '{"disks":{"sda":1,"sdb":{"holds_etcd":"yes"}}}'}) is None
    assert writers_of({WRITERS: '{"pid":"x"}\n{"pid":7,"args":5}\n'}) == {7: {"pid": 7, "args": 5}}


@pytest.mark.no_cover  # the limit of time is the program's own
def test_a_long_recording_is_read_in_time():
    files = recording(seconds=20_000)
    files["journal/nightshift-all.log"] = (
        journal(5, "[upgrade/staticpods] " + 'Moving new manifest to "' * 5_000) * 20
    )
    began = time.process_time()
    read_recording(files)
    assert time.process_time() - began < 10  # 0.6 s on an idle core


FOLLOWED = "recorder/pods/kube-apiserver-cp1/kube-apiserver-0123456789ab.log"
OWN = "pods/kube-system_kube-apiserver-cp1_fbc27364deaf450f4c18bb92b8416179/kube-apiserver/0.log"
FATAL = "2026-11-28T23:19:30.1Z stderr F F1128 23:19:30.1 1 instance.go:233] Error creating leases\n"


def test_a_followed_log_is_read_as_the_components_own():
    (sign,) = read({FOLLOWED: FATAL}).of("apiserver.died")
    assert sign.source == f"{FOLLOWED}:1"
    assert read({FOLLOWED: FATAL}).state("apiserver.unknown_flag") is State.ABSENT


def test_a_line_that_is_there_twice_counts_once():
    (sign,) = read({FOLLOWED: FATAL, OWN: FATAL}).of("apiserver.died")
    assert (sign.count, sign.source) == (1, f"{OWN}:1")
    (sign,) = read({FOLLOWED: FATAL + FATAL.replace("30.1Z", "31.1Z"), OWN: FATAL}).of("apiserver.died")
    assert sign.count == 2


def test_a_followed_log_without_its_beginning_proves_no_absence():
    long = FATAL * 6_000
    assert read({FOLLOWED: long}).state("apiserver.unknown_flag") is State.UNREAD
    assert read({FOLLOWED: long, OWN: FATAL}).state("apiserver.unknown_flag") is State.ABSENT


def test_slow_writes_of_etcd_are_split_by_request_and_counted_once():
    def apply(second: int, request: str, prefix: str = "") -> str:
        text = {
            "level": "warn",
            "msg": "apply request took too long",
            "took": "1.5s",
            "prefix": prefix,
            "request": request,
        }
        return f"2026-11-28T23:19:{second:02}.1Z stderr F {json.dumps(text)}\n"

    header = 'header:<ID:26 username:"kube-apiserver-etcd-client" auth_revision:1 > '
    log = (
        apply(1, header + "txn:<compare:<")
        + apply(2, header + "lease_grant:<ttl:5")
        + apply(3, "key:1", "read-only range ")
    )
    files = {
        "pods/kube-system_etcd-cp1_aa/etcd/0.log": log,
        "recorder/pods/etcd-cp1/etcd-0123456789ab.log": log,
    }
    (sign,) = read(files).of("etcd.slow_apply")
    assert sign.value == "3 slow applies (writes 2: txn 1, lease grant 1; reads 1), slowest 1.5 s"
