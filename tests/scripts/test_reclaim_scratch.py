"""reclaim-scratch checks every name again: pattern, age, newest, links, a running kubeadm."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from tests.scripts.conftest import NODE_SCRIPTS

from nightshift.domain.facts import ScratchEntry
from nightshift.domain.scratch import LEFTOVER, choose_reapable

DAY = 86400
OLD = "kubeadm-backup-etcd-2026-01-01-00-00-00"
NEWEST = "kubeadm-backup-etcd-2026-01-09-00-00-00"


def make(node, name: str, days: float, directory: bool = True):
    path = node.scratch / name
    if directory:
        path.mkdir()
        (path / "db").write_bytes(b"x" * 10_000)
    else:
        path.write_text("x")
    stamp = time.time() - days * DAY
    os.utime(path, (stamp, stamp))
    return path


def reclaim(node, *names: str, days: int = 3):
    done = subprocess.run(
        [str(NODE_SCRIPTS / "jobs" / "reclaim-scratch"), str(days), *names],
        capture_output=True,
        text=True,
        env=node.variables(),
        check=False,
    )
    lines = done.stdout.splitlines()
    result = json.loads(lines[-1].removeprefix("RESULT ")) if done.returncode == 0 else {}
    return done, result


def test_old_goes_newest_stays(node):
    make(node, OLD, 20)
    make(node, NEWEST, 10)
    _, result = reclaim(node, OLD, NEWEST)
    assert result["removed"] == [OLD]
    assert result["kept"] == [NEWEST]
    assert result["freed_bytes"] > 10_000
    assert sorted(path.name for path in node.scratch.iterdir()) == [NEWEST]


def test_newest_by_time_stays_even_with_an_older_name(node):
    """Names carry node-local time: after a clock change name and time may disagree; both newest stay."""
    make(node, OLD, 5)
    make(node, NEWEST, 9)
    assert reclaim(node, OLD, NEWEST)[1]["removed"] == []


@pytest.mark.parametrize(
    "name",
    ["kubeadm-backup-etcd-old", "my-backup", "kubeadm-upgraded-manifests", "kubeadm-init-dryrun1", ".."],
)
def test_foreign_names_stay(node, name):
    if name != "..":
        make(node, name, 30)
    assert reclaim(node, name)[1]["removed"] == []


def test_young_and_links_stay(node, tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    make(node, "kubeadm-upgraded-manifests123", 1)
    link = node.scratch / "kubeadm-upgraded-manifests456"
    link.symlink_to(target)
    stamp = time.time() - 30 * DAY
    os.utime(link, (stamp, stamp), follow_symlinks=False)
    _, result = reclaim(node, "kubeadm-upgraded-manifests123", link.name)
    assert result["removed"] == []
    assert target.exists()
    assert link.is_symlink()


def test_files_and_all_kinds_go(node):
    names = [
        "kubeadm-upgraded-manifests1234",
        "kubeadm-kubelet-config99",
        "kubeadm-kubelet-config-2026-01-01-00-00-00",
        "kubeadm-kubelet-env-2026-01-01-00-00-00",
        "kubeadm-upgrade-dryrun77",
    ]
    for name in names:
        make(node, name, 30, directory="env" not in name)
    assert reclaim(node, *names)[1]["removed"] == names


def test_the_names_chosen_and_the_names_taken_are_the_same():
    """What the plan chooses and the node refuses would be "still there after removal" every night."""
    script = NODE_SCRIPTS / "jobs" / "reclaim-scratch"
    text = f'eval "$(grep -E \'^readonly (STAMP|LEFTOVER)=\' {script})"; printf %s "$LEFTOVER"'
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == f"^{LEFTOVER.pattern}$"


@pytest.mark.parametrize("kind", ["upgraded-manifests", "kubelet-config", "kubelet-env", "upgrade-dryrun"])
@pytest.mark.parametrize("suffix", ["1234", "-2026-01-01-00-00-00", "-1234", "2026-01-01-00-00-00", "-1"])
def test_the_plan_and_the_node_agree(node, kind, suffix):
    name = f"kubeadm-{kind}{suffix}"
    path = make(node, name, 30)
    entry = ScratchEntry(name, path.stat().st_mtime, 1, True)
    chosen = choose_reapable([entry], time.time(), 3).reap
    assert tuple(reclaim(node, name)[1]["removed"]) == chosen


def test_a_foreign_name_does_not_take_the_newest_backups_place(node):
    """`kubeadm-backup-etcd-old` sorts behind every date."""
    make(node, OLD, 20)
    make(node, "kubeadm-backup-etcd-old", 1)
    assert reclaim(node, OLD)[1]["kept"] == [OLD]


def test_nothing_while_kubeadm_runs(node):
    make(node, OLD, 20)
    make(node, NEWEST, 10)
    process = subprocess.Popen(["sleep", "60"])
    try:
        node.pretend_process("kubeadm", process.pid)
        done, _ = reclaim(node, OLD)
    finally:
        process.kill()
        process.wait()
    assert done.returncode == 29
    assert (node.scratch / OLD).exists()


def test_interrupted_removal_is_finished_next_time(node):
    doomed = make(node, ".nightshift-doomed-" + OLD, 20)
    _, result = reclaim(node, "gone-already")
    assert result == {"removed": [], "kept": [], "freed_bytes": 0}
    assert not doomed.exists()
