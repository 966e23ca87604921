"""Two files of one static pod: what only a file's content tells, which of them runs, and what such a file is not beaten by."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import apiserver, judge

from nightshift.domain.diagnosis.engine import Confidence
from nightshift.domain.diagnosis.manifests import read_manifests
from nightshift.domain.diagnosis.signs import State
from nightshift.domain.diagnosis.text import as_text

OWN, BACKUP, OLD = "kube-apiserver.yaml", "kube-apiserver.yaml.bak", "kube-apiserver.old.yaml"
TAKEN = b.died(
    "failed to create listener: failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use"
)
EXPIRED = b.died(
    "x509: certificate has expired or is not yet valid: current time 2026-11-28T23:19:30Z is after 2026-11-01T00:00:00Z"
)


def entry(name: str, size: int = 3949, kind: str = "-") -> str:
    return f"{kind}rw------- 1 root root {size} 2026-06-18 21:59:16.851277775 +0000 {name}\n"


def runs(files: Mapping[str, str], *names: str, seconds: int = 300) -> dict[str, str]:
    """Processes with the arguments of these files, that run for so long."""
    blocks, rows = [], []
    for pid, name in enumerate(names, start=2838):
        flags = [f"{line.strip()}\n" for line in files[f"manifests/{name}"].splitlines() if "- --" in line]
        blocks.append(f"== {pid} kube-apiserver\n- kube-apiserver\n{''.join(flags)}")
        rows.append(f"{pid} 1 Sat Nov 28 23:10:00 2026 {seconds} Ssl 9 kube-apiserver --x\n")
    arguments = "== 111 kubelet\n- /usr/bin/kubelet\n- --config=/x\n" + "".join(blocks)
    return b.with_lines({**files, "state/argv.txt": arguments}, b.PROCESSES, *rows)


# -- content that is missing


@pytest.mark.parametrize("name", [BACKUP, "old-apiserver.yaml", OWN])
@pytest.mark.parametrize("text", [None, "", "cat: x: Input/output error\nended with exit code 1\n"])
def test_a_file_without_content_makes_the_duplicate_unread(name: str, text: str | None) -> None:
    files = b.stray(b.starved(b.kubeadm_failed()), BACKUP if name == OWN else name)
    files = b.without(files, f"manifests/{name}") | ({} if text is None else {f"manifests/{name}": text})
    assert read_manifests(files).state("manifests.duplicate") is State.UNREAD
    found = judge(files)
    assert found.first is None, found.sentence
    assert "stray_static_pod" in found.shadows
    assert "stray_static_pod" not in found.ruled_out
    said = f"(the content of manifests/{name} is not in the evidence)"
    assert any(said in unknown for unknown in found.unknowns)


def test_a_link_whose_target_was_not_read_makes_it_unread() -> None:
    line = entry("zz.yaml -> /srv/kube-apiserver.yaml", 24, "l")
    files = b.with_lines(b.healthy(), b.LISTING, line.replace("lrw-------", "lrwxrwxrwx"))
    assert read_manifests(files).state("manifests.duplicate") is State.UNREAD


def test_a_file_that_was_cut_before_its_name_makes_it_unread() -> None:
    files = b.stray(b.healthy(), "zz.yaml")
    files["manifests/zz.yaml"] = files["manifests/zz.yaml"][-300:]
    assert read_manifests(files).state("manifests.duplicate") is State.UNREAD


def test_a_pod_whose_name_is_not_understood_makes_it_unread() -> None:
    files = b.with_lines(b.healthy(), b.LISTING, entry("zz.yaml", 40))
    files["manifests/zz.yaml"] = "{kind: Pod, metadata: {name: kube-apiserver}, spec: {}}\n"
    assert read_manifests(files).state("manifests.duplicate") is State.UNREAD


@pytest.mark.parametrize("text", ["", "To be kept: 1.34\n"])
def test_an_empty_file_and_a_note_are_of_no_pod(text: str) -> None:
    files = b.with_lines(b.healthy(), b.LISTING, entry("kube-apiserver.txt", len(text)))
    files["manifests/kube-apiserver.txt"] = text
    signs = read_manifests(files)
    assert signs.state("manifests.duplicate") is State.ABSENT
    assert [sign.subject for sign in signs.of("manifests.stray")] == ["kube-apiserver.txt"]


def test_two_files_of_one_pod_are_seen_whatever_else_was_not_read() -> None:
    files = b.with_lines(b.stray(b.healthy()), b.LISTING, entry("zz.yaml"))
    assert read_manifests(files).state("manifests.duplicate") is State.SEEN


def test_a_stray_file_is_as_old_as_the_listing_says() -> None:
    (sign,) = read_manifests(b.stray(b.healthy())).of("manifests.duplicate")
    assert sign.first == pytest.approx(1781819956.85, abs=0.01)


# -- which of the two runs


def test_a_copy_that_loses_by_name_is_not_accused() -> None:
    found = judge(b.stray(b.kubeadm_failed(), OLD))
    assert found.first is None, found.sentence
    (kept,) = found.conditions
    assert kept.match is not None
    assert kept.match.kept_down == "kube-apiserver.yaml comes after it by name, so the kubelet runs that one"


def test_a_copy_that_loses_by_name_and_runs_is_the_cause() -> None:
    files = b.stray(b.kubeadm_failed(), OLD)
    found = judge(runs(files, OLD))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("stray_static_pod", Confidence.CONFIDENT)
    assert OLD in found.sentence


def test_a_copy_that_wins_by_name_while_the_other_one_runs_is_only_likely() -> None:
    files = b.stray(b.kubeadm_failed())
    found = judge(runs(files, OWN))
    assert found.confidence is Confidence.LIKELY
    assert (
        "Not sure, because the running kube-apiserver has the arguments of kube-apiserver.yaml."
        in as_text(found)
    )
    assert judge(runs(files, BACKUP)).confidence is Confidence.CONFIDENT


def test_a_process_that_has_just_begun_does_not_tell_which_file_runs() -> None:
    """A file that was just written, as kubeadm does when it rolls back, runs until the kubelet lists the directory anew."""
    assert judge(runs(b.stray(b.kubeadm_failed()), OWN, seconds=20)).confidence is Confidence.CONFIDENT
    assert judge(runs(b.stray(b.kubeadm_failed(), OLD), OLD, seconds=20)).first is None


def test_what_runs_is_not_told_by_two_processes_or_by_equal_files() -> None:
    files = b.stray(b.kubeadm_failed())
    assert not read_manifests(runs(files, OWN, BACKUP)).of("manifests.runs")
    files[f"manifests/{BACKUP}"] = files[f"manifests/{OWN}"]
    assert not read_manifests(runs(files, OWN)).of("manifests.runs")
    assert judge(runs(files, OWN)).confidence is Confidence.CONFIDENT


# -- against rivals that are as specific


def test_a_stray_file_is_first_before_a_line_of_a_log() -> None:
    found = judge(b.stray(apiserver(EXPIRED)))
    assert found.first is not None
    assert found.first.cause.name == "stray_static_pod"
    assert [s.cause.name for s in found.rivals] == ["certificate_expired"]


def test_a_port_that_is_taken_while_two_instances_swap_follows_from_the_stray_file() -> None:
    found = judge(b.stray(apiserver(TAKEN)))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("stray_static_pod", Confidence.CONFIDENT)
    assert [s.cause.name for s in found.chain] == ["port_taken"]


def test_a_taken_port_is_first_before_a_stray_file_that_nobody_waited_for() -> None:
    files = b.with_lines(b.with_lines(b.failed(), b.APISERVER, TAKEN), b.KUBELET, b.crash_loop())
    found = judge(b.stray(files))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("port_taken", Confidence.LIKELY)
    assert [s.cause.name for s in found.rivals] == ["stray_static_pod"]


# -- kubeadm took the copy's start for the one that it waited for


def waits_for(component: str) -> dict[str, str]:
    """The night of 2026-06-24, in which kubeadm came further: it waits for what it upgrades after the API server."""
    words = "Static Pod hash for component "
    files = b.stray(b.kubeadm_failed())
    changed = {
        path: re.sub(f"(?i)({words})kube-apiserver", rf"\1{component}", text) for path, text in files.items()
    }
    assert changed != files
    return changed


@pytest.mark.parametrize("component", ["kube-controller-manager", "kube-scheduler"])
def test_a_copy_of_the_api_server_may_hold_up_what_comes_after_it(component: str) -> None:
    found = judge(waits_for(component))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("stray_static_pod", Confidence.LIKELY)
    assert component in found.first.match.doubt


def test_a_copy_of_the_api_server_holds_up_nothing_that_comes_before_it() -> None:
    found = judge(waits_for("etcd"))
    assert found.first is None
    kept = next(s for s in found.conditions if s.cause.name == "stray_static_pod")
    assert "etcd" in kept.match.kept_down
