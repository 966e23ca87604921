"""Two files of one static pod: what only a file's content tells, which of them runs, and what such a file is not beaten by."""

from __future__ import annotations

import json
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


CAME = "2026-11-28 23:17:40.851277775"  # the job began at 23:17:00
NOT_MIRRORED = (
    'E1128 23:19:30 "Failed to pull image" err="rpc error: code = NotFound desc = failed to pull and unpack image '
    '\\"registry.k8s.io/kube-controller-manager:v1.35.4\\": registry.k8s.io/kube-controller-manager:v1.35.4: not found"'
)
MOVED = '[upgrade/staticpods] Moving new manifest to "/etc/kubernetes/manifests/kube-apiserver.yaml" and backing up old manifest to "/x"'
RIVALS = ("image_missing", "disk_full", "kubelet_other_directory", "api_starvation")


def waits_for(component: str, came: str = CAME) -> dict[str, str]:
    """The night of 2026-06-24, in which kubeadm came further: it waits for what it upgrades after the API server."""
    words = "Static Pod hash for component "
    files = b.stray(b.kubeadm_failed())
    changed = {
        path: re.sub(f"(?i)({words})kube-apiserver", rf"\1{component}", text) for path, text in files.items()
    }
    assert changed != files
    changed[b.LISTING] = changed[b.LISTING].replace("2026-06-18 21:59:16.851277775", came)
    return changed


def old(component: str = "kube-controller-manager") -> dict[str, str]:
    """The same; the copy had lain there since June."""
    return waits_for(component, "2026-06-18 21:59:16.851277775")


def with_rival(files: dict[str, str], cause: str) -> dict[str, str]:
    """And what holds up the component that kubeadm waits for."""
    path = "state/kubelet-config.yaml"
    match cause:
        case "image_missing":
            return b.with_lines(files, b.JOBS, b.journal("nightshift-job", NOT_MIRRORED))
        case "disk_full":
            return {**files, b.DF: files[b.DF].replace("   8% -    /\n", " 100% -    /\n", 1)}
        case "kubelet_other_directory":
            return {**files, path: files[path].replace("/etc/kubernetes/manifests", "/srv/manifests")}
        case "api_starvation":
            flooded = (
                "Retry-After: the server has received too many requests and has asked us to try again later"
            )
            return b.with_lines(files, b.JOBS, b.journal("nightshift-job", flooded))
        case _:
            return b.starved(files)


def recorded(files: dict[str, str], *hashes: tuple[float, str], moved: str = "23:18:00") -> dict[str, str]:
    """A recording of the API server's pod, by seconds after the job's begin; kubeadm moved its manifest once."""
    lines = [
        json.dumps({"t": b.STARTED + seconds, "pods": {"kube-apiserver": {"hash": name}}}) + "\n"
        for seconds, name in hashes
    ]
    files = b.with_lines(files, b.JOBS, b.journal("nightshift-job", MOVED).replace("23:19:30", moved))
    return {**files, "recorder/samples.jsonl": "".join(lines)}


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


@pytest.mark.parametrize("came", ["2026-06-18 21:59:16.851277775", "2026-11-28 23:19:45.851277775"])
def test_a_copy_that_came_long_before_the_job_or_after_it_holds_up_nothing_that_comes_later(
    came: str,
) -> None:
    found = judge(waits_for("kube-controller-manager", came))
    assert found.first is None, found.sentence
    kept = next(s for s in found.conditions if s.cause.name == "stray_static_pod")
    assert "not for this pod" in kept.match.kept_down


def test_a_copy_that_was_moved_there_keeps_its_date_and_came_with_its_entry() -> None:
    moved = f"{'0' * 64}  1781819956.851 {b.STARTED + 40} 3949 /etc/kubernetes/manifests/{BACKUP}\n"
    found = judge({**old(), "state/manifest-sums.txt": moved})
    assert found.first is not None
    assert found.first.cause.name == "stray_static_pod"


@pytest.mark.parametrize(
    ("hashes", "is_swap"),
    [
        ([(1, "a"), (55, "a"), (65, "new"), (150, "new")], False),  # kubeadm's own
        ([(1, "a"), (30, "copy"), (65, "new"), (140, "new")], True),  # before kubeadm had moved anything
        ([(1, "a"), (65, "new"), (80, "copy"), (140, "copy")], True),  # the kubelet listed the directory anew
        ([(1, "a"), (65, "new"), (149.9, "a")], False),  # kubeadm's rollback
    ],
)
def test_the_recording_shows_a_swap_that_kubeadm_did_not_ask_for(
    hashes: list[tuple[float, str]], is_swap: bool
) -> None:
    found = judge(recorded(old(), *hashes))
    named = found.first.cause.name if found.first else ""
    assert (named == "stray_static_pod") is is_swap


@pytest.mark.parametrize("rival", [*RIVALS, "etcd_io_starvation"])
def test_an_old_copy_does_not_beat_what_held_up_the_component_that_kubeadm_waited_for(rival: str) -> None:
    found = judge(with_rival(old(), rival))
    assert found.first is not None
    assert found.first.cause.name == rival
    assert "stray_static_pod" in {s.cause.name for s in found.conditions}


@pytest.mark.parametrize("rival", RIVALS)
def test_a_swapped_copy_comes_after_what_has_no_doubt(rival: str) -> None:
    found = judge(with_rival(waits_for("kube-controller-manager"), rival))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == (rival, Confidence.LIKELY)
    assert "stray_static_pod" in {s.cause.name for s in found.rivals}


def test_a_copy_of_the_component_that_kubeadm_waited_for_leads_as_before() -> None:
    found = judge(with_rival(b.stray(b.kubeadm_failed()), "image_missing"))
    assert found.first is not None
    assert found.first.cause.name == "stray_static_pod"
