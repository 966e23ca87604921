"""restore-etcd-ha: all members or none, with one cluster token and one jump of revisions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.scripts.conftest import REPOSITORY
from tests.scripts.test_restore_etcd import (
    HALF_WAY,
    REFUSED,
    SERVERS,
    TWO,
    build,
    component_process,
    manifest,
    put_backup,
)

__all__ = ["component_process"]
SCRIPT = REPOSITORY / "include" / "scripts" / "restore-etcd-ha"
SSH = Path(__file__).parent / "restore" / "ssh"


class Cluster:
    """Two members the morning after; the bundle is of the first."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self.nodes = {name: build(root / name) for name in ("cp1", "cp2")}
        first, second = self.nodes.values()
        first.make_bundle(TWO)
        (second.fake / "address").write_text("10.0.0.12\n")
        for component in ("etcd", *SERVERS):
            version = "3.6.6-0" if component == "etcd" else "v1.35.4"
            (second.manifests / f"{component}.yaml").write_text(
                manifest(component, version, "cp2", "10.0.0.12")
            )
        put_backup(second, "2026-11-24-23-10-00", "v1.34.4", "3.6.5-0")
        second.database.write_text("1350\n")  # ahead of the first
        for number, node in enumerate(self.nodes.values(), 1):
            (node.fake / "pid").write_text(f"{pid}\n")
            (node.fake / "members").write_text(
                "".join(
                    f"8e{n}, started, cp{n}, https://10.0.0.1{n}:2380, https://x, false\n" for n in (1, 2)
                )
            )
            (node.fake / "ready").write_text(f"cp{number} True\n")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        first = self.nodes["cp1"]
        options = ["--bundle", str(first.bundle), "--sha256", first.sha256, "--yes", "--wait", "2"]
        targets = [word for word in words if "=" in word] or ["cp1=root@cp1", "cp2=root@cp2"]
        variables = {
            "PATH": f"{first.root / 'bin'}:{os.environ['PATH']}",
            "RESTORE_SSH": str(SSH),
            "FAKE_NODES": str(self.root),
        }
        return subprocess.run(
            [str(SCRIPT), *options, *(word for word in words if "=" not in word), *targets],
            capture_output=True,
            text=True,
            env=variables,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def states(self) -> dict[str, dict[str, str]]:
        return {name: node.state() for name, node in self.nodes.items()}

    def restores(self) -> list[str]:
        return [
            call[call.index("--initial-cluster ") :].split(" --initial-advertise")[0]
            + call[call.index(" --initial-cluster-token") :]
            for node in self.nodes.values()
            for call in node.calls
            if call.startswith("etcdutl snapshot restore ")
        ]


@pytest.fixture
def cluster(tmp_path: Path, component_process: int) -> Cluster:
    return Cluster(tmp_path, component_process)


def assert_restored(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        assert node.state()["revision"] == str(1234 + 116 + 1_000_000_000), "past the newest of all members"
        assert "v1.34.4" in node.state()["kube-apiserver.yaml"]
        assert (node.fake / "brake").exists()
    assert "--advertise-address=10.0.0.12" in cluster.nodes["cp2"].state()["kube-apiserver.yaml"]
    one, other = cluster.restores()
    assert one == other
    assert f"--initial-cluster {TWO}" in one


def test_all_members_are_restored_as_one_new_cluster(cluster: Cluster) -> None:
    done = cluster.run()
    assert done.returncode == 0, done.stderr
    assert_restored(cluster)


def test_what_one_member_refuses_is_done_on_none(cluster: Cluster) -> None:
    before = cluster.states()
    (cluster.nodes["cp2"].fake / "kubelet").write_text("failed\n")
    done = cluster.run()
    assert done.returncode == REFUSED
    assert "cp2:   NO: the kubelet does not run" in done.stderr
    assert cluster.states() == before


def test_all_members_must_be_named_or_said_to_be_lost(cluster: Cluster) -> None:
    before = cluster.states()
    done = cluster.run("cp1=root@cp1")
    assert done.returncode == REFUSED
    assert f"the bundle has the members {TWO}" in done.stderr
    done = cluster.run("cp1=root@cp2", "cp2=root@cp1")
    assert (done.returncode, "root@cp2 is member 'cp2', not cp1" in done.stderr) == (REFUSED, True)
    assert cluster.states() == before


def test_a_lost_member_is_left_out_of_the_new_cluster(cluster: Cluster) -> None:
    (cluster.nodes["cp1"].fake / "members").write_text(
        "8e1, started, cp1, https://10.0.0.11:2380, x, false\n"
    )
    (cluster.root / "cp2/away").touch()
    done = cluster.run("--without", "cp2", "cp1=root@cp1")
    assert done.returncode == 0, done.stderr
    assert cluster.restores()[0].startswith("--initial-cluster cp1=https://10.0.0.11:2380 ")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(r"^mv .*/restored/member ", id="no data in place"),
        pytest.param(r"^mv .*/manifests/kube-apiserver.yaml$", id="one API server is back"),
        pytest.param(r"^mv -T \S*/current ", id="one member is finished"),
    ],
)
def test_what_stopped_half_way_on_one_member_goes_on_on_all(cluster: Cluster, change: str) -> None:
    (cluster.root / "cp2/die-at").write_text(change)
    assert cluster.run().returncode == HALF_WAY
    (cluster.root / "cp2/die-at").unlink()
    done = cluster.run()
    assert done.returncode == 0, done.stderr
    assert_restored(cluster)


def test_a_dry_run_touches_no_member(cluster: Cluster) -> None:
    before = cluster.states()
    done = cluster.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert cluster.states() == before
    assert done.stderr.count("etcdutl snapshot restore") == 2
