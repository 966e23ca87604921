"""snapshot-etcd: what the live etcd has against what the restored one has, each read from its own side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS, FakeNode
from tests.scripts.test_kubeadm_upgrade import TOOLS

from nightshift.clients.node_ssh import ExitCode

# A process of its own root directory, as in a container, with an etcd's arguments.
_CONTAINER = "import os, sys, time; os.chroot(sys.argv[1]); print(flush=True); time.sleep(300)"
# The job works in memory when that is large enough; there it would meet the jobs of other test sessions.
_STAT = '#!/bin/bash\n[[ $1 != -f ]] || { echo ext4; exit; }\nexec /usr/bin/stat "$@"\n'
SAME = "1234 567 89 1000"  # revision, keys, hash, compact revision


@pytest.fixture
def member(node: FakeNode, tmp_path: Path) -> Iterator[FakeNode]:
    programs = tmp_path / "container/usr/local/bin"
    programs.mkdir(parents=True)
    for name in ("etcd", "etcdctl", "etcdutl"):
        shutil.copy(TOOLS / "etcd-programs", programs / name)
    own = tmp_path / "bin"
    own.mkdir()
    (own / "stat").write_text(_STAT)
    (own / "stat").chmod(0o755)
    node.environment["PATH"] = f"{own}:{node.variables()['PATH']}"
    database = tmp_path / "etcd/member/snap/db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"x" * 4096)
    for directory in ("pki/etcd", "manifests"):
        (node.root / "fs/etc/kubernetes" / directory).mkdir(parents=True)
    arguments = ["--cert-file=/etc/kubernetes/pki/etcd/server.crt", f"--data-dir={tmp_path / 'etcd'}"]
    command = [sys.executable, "-c", _CONTAINER, str(tmp_path / "container"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    node.pretend_process("etcd", process.pid)
    yield node
    process.kill()
    process.communicate()


def take(node: FakeNode, live: str = SAME, restored: str = SAME) -> subprocess.CompletedProcess[str]:
    (node.systemd / "etcd-live").write_text(live + "\n")
    (node.systemd / "etcd-restored").write_text(restored + "\n")
    command = [str(NODE_SCRIPTS / "jobs" / "snapshot-etcd")]
    return subprocess.run(
        command, capture_output=True, text=True, env=node.variables(), timeout=60, check=False
    )


def result(done: subprocess.CompletedProcess[str]) -> dict:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def bundles(node: FakeNode) -> list[Path]:
    return list((node.state / "snapshots").iterdir())


def test_equal_sides_leave_one_private_bundle(member):
    done = take(member)
    assert done.returncode == 0, done.stdout + done.stderr
    told = result(done)
    assert told["saved"] == told["restored"] == {"revision": 1234, "key_count": 567, "hash": 89}
    (bundle,) = bundles(member)
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert bundle.name == told["bundle"]
    with tarfile.open(bundle) as tar:
        assert {"snapshot.db", "status.json", "kubernetes/pki", "kubernetes/manifests"} <= set(tar.getnames())


def test_the_bundle_says_what_was_proven(member):
    """restore-etcd compares with it, in the morning, when nobody is left to ask."""
    assert take(member).returncode == 0
    (bundle,) = bundles(member)
    with tarfile.open(bundle) as tar:
        text = tar.extractfile("proof.txt").read().decode()
    proof = dict(line.split("=", 1) for line in text.splitlines())
    assert proof.pop("taken").endswith("Z")
    assert proof == {
        "revision": "1234",
        "key_count": "567",
        "hash": "89",
        "etcd_version": "3.6.5",
        "members": "cp1=https://10.0.0.11:2380",
    }


def test_a_snapshot_left_half_written_is_recognised_and_taken_anew(member):
    partial = member.state / "snapshots/.partial.abc123"
    partial.mkdir(parents=True)
    (partial / "snapshot.db.part").write_text("half")
    done = take(member)
    assert done.returncode == 0, done.stderr
    assert "found: a snapshot that was left half written" in done.stdout
    assert [path.name for path in bundles(member)] == [result(done)["bundle"]]


@pytest.mark.parametrize(
    ("restored", "different"),
    [("1233 567 89 1000", "revision"), ("1234 566 89 1000", "key_count"), ("1234 567 88 1000", "hash")],
)
def test_any_difference_is_a_mismatch_and_leaves_no_bundle(member, restored, different):
    done = take(member, restored=restored)
    assert done.returncode == ExitCode.SNAPSHOT_MISMATCH
    told = result(done)
    assert [name for name in told["saved"] if told["saved"][name] != told["restored"][name]] == [different]
    assert bundles(member) == []


def test_revisions_a_lease_added_in_the_throwaway_etcd_are_no_difference(member):
    done = take(member, restored="1240 567 89 1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(done)["restored"]["revision"] == 1234


def test_two_empty_sides_prove_nothing(member):
    assert take(member, "0 0 0 0", "0 0 0 0").returncode == ExitCode.SNAPSHOT_MISMATCH
    assert bundles(member) == []


def test_a_compaction_in_every_attempt_proves_nothing(member):
    done = take(member, restored="1234 567 89 900")
    assert done.returncode == ExitCode.SNAPSHOT_MISMATCH
    assert "compacted" in done.stderr
    assert bundles(member) == []


def test_only_the_clusters_own_etcd_is_saved(node):
    assert take(node).returncode == ExitCode.ETCD_UNAVAILABLE
