"""How files become signs: times, listings, durations, states; what a cut or failed file says."""

from __future__ import annotations

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.etcd_log import duration_seconds, read_etcd
from nightshift.domain.diagnosis.lines import lines_of
from nightshift.domain.diagnosis.manifests import read_manifests
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import State


@pytest.mark.parametrize(
    ("raw", "text", "time"),
    [
        ("2026-11-28T23:15:42.668691587Z stderr F E1128 x", "E1128 x", 1795907742.668691),
        ("2026-11-29T00:15:29+0100 cp1 kubelet[1]: y", "cp1 kubelet[1]: y", 1795907729.0),
        ("no time here", "no time here", None),
    ],
)
def test_a_line_gives_its_time_and_its_text(raw: str, text: str, time: float | None) -> None:
    (line,) = lines_of(raw, None)
    assert (line.text, line.time) == (text, time)


@pytest.mark.parametrize(
    ("text", "seconds"), [("4.3s", 4.3), ("412.7ms", 0.4127), ("1m2.5s", 62.5), ("80µs", 8e-5), ("?", 0.0)]
)
def test_go_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


def test_slow_words_inside_of_a_request_are_no_slow_apply() -> None:
    line = '{"level":"info","msg":"stored","request":"apply request took too long"}'
    assert not read_etcd({b.ETCD: b.container(line)}, None).seen


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        ("kube-apiserver.yaml.bak", True),
        ("kube-apiserver.yaml~", True),
        ("zz.yaml", True),
        (".kube-apiserver.yaml.swp", False),
    ],
)
def test_every_file_but_a_hidden_one_is_a_manifest(name: str, is_read: bool) -> None:
    found = read_manifests(b.stray(b.healthy(), name)).of("manifests.duplicate")
    assert [sign.subject for sign in found] == ([name] if is_read else [])


def test_a_pod_of_its_own_is_no_duplicate() -> None:
    files = b.stray(b.healthy(), "kube-vip.yaml")
    files["manifests/kube-vip.yaml"] = (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    name: kube-apiserver\n  name: kube-vip\n"
    )
    assert not read_manifests(files).seen


def test_a_directory_that_is_not_there_was_not_listed() -> None:
    files = {
        b.LISTING: "ls: cannot access '/etc/kubernetes/manifests': No such file or directory\nended with exit code 2\n"
    }
    assert read_manifests(files).state("manifests.duplicate") is State.UNREAD


def test_a_command_that_failed_says_nothing() -> None:
    files = {
        **b.failed(),
        b.JOBS: "Failed to add filter for units: No data available\nended with exit code 1\n",
    }
    assert read(files).state("dpkg.locked") is State.UNREAD


def test_a_log_whose_beginning_is_cut_off_does_not_rule_out() -> None:
    line = b.journal("kubelet", "nothing new")
    files = b.with_lines(b.failed(), b.KUBELET, line * (4 * 1024 * 1024 // len(line) + 1))
    assert read(files).state("kubelet.cgroup_v1") is State.UNREAD
    assert read(b.failed()).state("kubelet.cgroup_v1") is State.ABSENT


def test_on_a_worker_the_control_plane_is_absent_not_unread() -> None:
    files = b.without(b.failed("kubelet-upgrade", 24), "pods/", "manifests/")
    files[b.LISTING] = "total 0\n"
    signs = read(files)
    assert {signs.state(n) for n in ("apiserver.unknown_flag", "etcd.starved", "manifests.duplicate")} == {
        State.ABSENT
    }


def test_only_the_newest_job_counts() -> None:
    files = b.failed("stage", 22, started=1795900000.5) | {
        "jobs/kubeadm-upgrade": b.failed(exit_code=30)["jobs/kubeadm-upgrade"]
    }
    assert [s.name for s in read(files).seen if s.name.startswith("job.")] == ["job.install_failed"]


def test_a_boot_before_the_job_is_no_reboot() -> None:
    assert not read(b.failed(state="running")).of("node.rebooted")
    assert read(b.failed(state="running", started=1795907000.5)).of("node.rebooted")


def test_lost_inotify_watches_are_no_full_disk() -> None:
    line = b.journal("kubelet", "inotify_add_watch /sys/fs/cgroup: no space left on device")
    assert not read(b.with_lines(b.failed(), b.KUBELET, line)).of("disk.no_space")


def test_drift_is_read_from_the_drivers_copy_when_the_node_has_none() -> None:
    files = b.historic()
    files["cluster/kubeadm-config.yaml"] = files.pop("state/kubeadm-config.yaml")
    (sign,) = read(files).of("apiserver.drift")
    assert sign.source == "cluster/kubeadm-config.yaml"
