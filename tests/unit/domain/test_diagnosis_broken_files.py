"""One bad line takes away what its reader could tell, never the diagnosis; and no log costs more than seconds."""

from __future__ import annotations

import json
import time

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.lines import LINES_LIMIT, lines_of
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import Signs, State, guarded

TOOK = '{"msg":"apply request took too long","took":%s'
BAD = {
    "a huge integer": ("recorder/samples.jsonl", '{"t":1}\n{"t":' + "1" * 400 + "}\n"),
    "deep JSON": (b.ETCD, b.container(TOOK % ("[" * 100_000))),
    "two dots": (b.ETCD, b.container(TOOK % '"1.2.3s"}')),
    "endless time": (b.ETCD, b.container(TOOK % ('"' + "9" * 500 + 'h"}')) * 6),
    "no number": ("jobs/stage", "state=failed\nexit_code=26\nstarted=nan\n"),
    "no end": ("jobs/stage", "state=failed\nexit_code=26\nstarted=inf\n"),
    "superscript": (b.DF, "Filesystem Mounted on\n/dev/x ext4 1 1 1 ²% 1 1 1 ²% - /\n"),
    "another language": (b.PROCESSES, "  1  0 Xxx Abc 40 99:99:99 2026 1 S 1 init\n"),
    "a superscript age": (
        b.PROCESSES,
        b.healthy()[b.PROCESSES] + "9 1 Sat Nov 28 23:00:00 2026 ² S 1 /usr/bin/kubelet\n",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_leaves_what_the_other_files_say(name: str) -> None:
    path, text = BAD[name]
    files = b.with_lines(b.kubeadm_failed(), b.APISERVER, b.container("Error: unknown flag: --x"))
    signs = read({**files, path: text})
    assert signs.of("apiserver.unknown_flag")
    assert signs.of("kubeadm.hash_unchanged")
    assert signs.of("job.kubeadm_failed")


def test_a_reader_that_breaks_leaves_its_signs_unread() -> None:
    def breaks() -> Signs:
        raise OverflowError

    signs = guarded(("a", "b"), breaks)
    assert signs.unread == {"a": "not understood (OverflowError)", "b": "not understood (OverflowError)"}
    assert signs.state("a") is State.UNREAD


def test_a_date_in_another_language_tells_nothing_of_a_reboot() -> None:
    files = {**b.failed(state="running"), b.PROCESSES: BAD["another language"][1]}
    assert read(files).state("node.rebooted") is State.UNREAD


def test_of_very_many_lines_the_last_ones_are_read_and_the_rest_is_said_to_be_cut() -> None:
    flag = "Error: unknown flag: --x\n"
    quiet = "x\n" * LINES_LIMIT
    early, late = ({**b.failed(), b.APISERVER: text} for text in (flag + quiet, quiet + flag))
    assert read(early).state("apiserver.unknown_flag") is State.UNREAD
    assert read(early).unread["apiserver.unknown_flag"] == f"the beginning of {b.APISERVER} is cut off"
    assert read(late).of("apiserver.unknown_flag")[0].source == f"{b.APISERVER}:{LINES_LIMIT + 1}"
    assert [line.number for line in lines_of("a\n" * (LINES_LIMIT + 2), None)][:1] == [3]


def seconds(files: dict[str, str]) -> float:
    began = time.process_time()
    read(files)
    return time.process_time() - began


@pytest.mark.no_cover  # the limit of time is the program's own
def test_two_bytes_a_line_are_read_in_seconds() -> None:
    assert seconds({**b.failed(), b.APISERVER: "x\n" * (1 << 20), b.KUBELET: "\n" * (2 << 20)}) < 4


@pytest.mark.no_cover  # the limit of time is the program's own
def test_many_tenants_names_beside_a_long_job_are_read_in_seconds() -> None:
    words = b.journal("nightshift-job", "pulled registry.k8s.io/x:1 all fine and more words here") * 12_000
    names = "".join(
        b.journal("kubelet", f"Failed to pull image: dial tcp: lookup reg{n}.shop.example: no such host")
        for n in range(3_000)
    )
    assert seconds({**b.failed(), b.JOBS: words, b.KUBELET: names}) < 4


@pytest.mark.no_cover  # the limit of time is the program's own
def test_many_names_of_several_words_beside_a_long_job_are_read_in_seconds() -> None:
    words = b.journal("nightshift-job", "certificate is valid for x, not " + "y" * 900) * 8_000
    names = "".join(
        b.journal("kubelet", f'err="x509: certificate is valid for a.example, not reg{n}.example"')
        for n in range(20_000)
    )
    assert seconds({**b.failed(), b.JOBS: words, b.KUBELET: names}) < 8


def test_of_a_sign_a_bounded_number_of_subjects_is_kept_and_ours_is_never_crowded_out() -> None:
    names = [f"reg{n}.shop.example" for n in range(3_000)]
    ours = "registry.example.com"
    lines = [f"dial tcp: lookup {name}: no such host" for name in (*names, ours)]
    files = b.with_lines(b.failed(), b.KUBELET, *(b.journal("kubelet", line) for line in lines))
    files = b.with_lines(files, b.JOBS, b.journal("nightshift-job", f"asking {ours}:443."))
    found = read(files).of("dns.failed")
    assert len(found) == 201
    assert [sign.subject for sign in found if sign.tied] == [ours]


def test_of_a_line_that_comes_often_the_times_and_the_number_are_kept() -> None:
    lines = [f"2026-11-28T23:{minute}:00.1Z stderr F Error: unknown flag: --x\n" for minute in (20, 18, 19)]
    (sign,) = read(b.with_lines(b.failed(), b.APISERVER, *lines)).of("apiserver.unknown_flag")
    assert (sign.count, sign.last and sign.first and sign.last - sign.first) == (3, 120.0)


def test_json_that_is_no_mapping_is_passed_over() -> None:
    text = "".join(json.dumps(value) + "\n" for value in ([1], "x", 3, None, {"t": []}, {"t": True}))
    assert read({"recorder/samples.jsonl": text}).state("recorder.fs_full") is State.UNREAD
