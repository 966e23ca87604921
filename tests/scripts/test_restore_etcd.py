"""restore-etcd: refuses before it touches, does everything in order, and goes on from wherever it was killed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.scripts.conftest import REPOSITORY

SCRIPT = REPOSITORY / "include" / "scripts" / "restore-etcd"
FAKE = Path(__file__).parent / "restore" / "fake"
PROGRAMS = [
    "pgrep",
    "etcdctl",
    "etcdutl",
    "kubectl",
    "systemctl",
    "ctr",
    "ip",
    "mountpoint",
    "cp",
    "mv",
    "rm",
    "sync",
]
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
REFUSED, USAGE, HALF_WAY = 1, 2, 3
ONE = "8e9e, started, cp1, https://10.0.0.11:2380, https://10.0.0.11:2379, false\n"
RESTORED = 1234 + 66 + 1_000_000_000  # past the 1300 that the living etcd has seen


def manifest(component: str, version: str, node: str = "cp1", address: str = "10.0.0.11") -> str:
    flags = {
        "kube-apiserver": [f"--advertise-address={address}", "--secure-port=6443"],
        "etcd": [
            f"--name={node}",
            f"--initial-advertise-peer-urls=https://{address}:2380",
            "--data-dir=/var/lib/etcd",
        ],
    }.get(component, ["--leader-elect=true"])
    lines = "".join(f"    - {flag}\n" for flag in flags)
    return f"spec:\n  containers:\n  - command:\n    - {component}\n{lines}    image: k8s.io/{component}:{version}\n"


def old(component: str) -> str:
    return manifest(component, "3.6.5-0" if component == "etcd" else "v1.34.4")


def new(component: str) -> str:
    return manifest(component, "3.6.6-0" if component == "etcd" else "v1.35.4")


@dataclass
class Node:
    """A node the morning after: upgraded to 1.35.4, with a bundle of the evening before."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    bundle: Path = Path()
    sha256: str = ""

    @property
    def fake(self) -> Path:
        return self.root / "fake"

    @property
    def kubernetes(self) -> Path:
        return self.root / "fs/etc/kubernetes"

    @property
    def manifests(self) -> Path:
        return self.kubernetes / "manifests"

    @property
    def lib(self) -> Path:
        return self.root / "fs/var/lib"

    @property
    def database(self) -> Path:
        return self.lib / "etcd/member/snap/db"

    @property
    def calls(self) -> list[str]:
        path = self.fake / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, phase: str = "run", *options: str) -> subprocess.CompletedProcess[str]:
        words = ["--bundle", str(self.bundle), "--sha256", self.sha256, "--wait", "2", "--yes", *options]
        variables = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "NIGHTSHIFT_FS_ROOT": str(self.root / "fs"),
            "FAKE": str(self.fake),
            **self.environment,
        }
        return subprocess.run(
            [str(SCRIPT), phase, *words],
            capture_output=True,
            text=True,
            env=variables,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def state(self) -> dict[str, str]:
        """Everything that makes the control plane: manifests and etcd's data."""
        found = {path.name: path.read_text() for path in self.manifests.iterdir()}
        return {**found, "revision": self.database.read_text().strip() if self.database.exists() else "none"}

    def make_bundle(self, members: str = "cp1=https://10.0.0.11:2380") -> None:
        """As the job snapshot-etcd makes it."""
        tree = self.root / "tree"
        (tree / "kubernetes/manifests").mkdir(parents=True, exist_ok=True)
        for component in ("etcd", *SERVERS):
            (tree / f"kubernetes/manifests/{component}.yaml").write_text(old(component))
        subprocess.run(["cp", "-a", self.kubernetes / "pki", tree / "kubernetes/"], check=True)
        (tree / "snapshot.db").write_text("1234\n")
        (tree / "proof.txt").write_text(
            "revision=1234\nkey_count=567\nhash=89\netcd_version=3.6.5\n"
            f"members={members}\ntaken=2026-11-24T23:01:00Z\n"
        )
        self.bundle = self.root / "etcd-20261124T230100Z.tar.gz"
        with tarfile.open(self.bundle, "w:gz") as tar:
            for name in ("proof.txt", "snapshot.db", "kubernetes"):
                tar.add(tree / name, name)
        self.sha256 = hashlib.sha256(self.bundle.read_bytes()).hexdigest()


def build(root: Path) -> Node:
    node = Node(root)
    node.fake.mkdir(parents=True)
    (root / "bin").mkdir()
    for program in PROGRAMS:
        (root / "bin" / program).symlink_to(FAKE)
    for directory in ("pki/etcd", "manifests", "tmp"):
        (node.kubernetes / directory).mkdir(parents=True)
    for name in ("ca.crt", "etcd/ca.crt"):
        (node.kubernetes / "pki" / name).write_text("our own authority")
    for component in ("etcd", *SERVERS):
        (node.manifests / f"{component}.yaml").write_text(new(component))
    node.database.parent.mkdir(parents=True)
    node.database.write_text("1300\n")
    (node.lib / "nightshift/done").mkdir(parents=True)
    (node.lib / "nightshift/done/kubeadm-apply-1.35.4").touch()
    answers = {
        "etcdutl-version": "3.6.5",
        "members": ONE,
        "keys": "567\n",
        "kubelet": "active\n",
        "address": "10.0.0.11\n",
        "ready": "cp1 True\n",
        "kubelets": "cp1 v1.35.4\n",
        "images": "".join(f"{old(c).rsplit('image: ', 1)[1]}" for c in ("etcd", *SERVERS)),
    }
    for name, text in answers.items():
        (node.fake / name).write_text(text)
    node.make_bundle()
    return node


@pytest.fixture(scope="module")
def component_process() -> Iterator[int]:
    """Stands for every component that runs."""
    words = [
        sys.executable,
        "-c",
        "import time; print(flush=True); time.sleep(600)",
        "--ca=/etc/kubernetes/pki/ca.crt",
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.communicate()


@pytest.fixture
def node(tmp_path: Path, component_process: int) -> Node:
    assert os.geteuid() == 0, "restore-etcd refuses to run as anybody but root"
    made = build(tmp_path)
    (made.fake / "pid").write_text(f"{component_process}\n")
    return made


def assert_restored(node: Node) -> None:
    expected = {f"{component}.yaml": old(component) for component in ("etcd", *SERVERS)}
    assert node.state() == {**expected, "revision": str(RESTORED)}
    (aside,) = node.lib.glob("etcd.before-*")
    assert (aside / "member/snap/db").read_text() == "1300\n", "the old data is kept"
    (finished,) = (node.lib / "nightshift-restore").iterdir()
    kept = {path.name: path.read_text() for path in (finished / "manifests-before").glob("*.yaml")}
    assert kept == {f"{component}.yaml": new(component) for component in ("etcd", *SERVERS)}
    assert not (node.lib / "nightshift/done").exists(), "marks of an upgrade that is undone"
    assert (node.fake / "brake").exists()


def test_a_whole_restore(node: Node) -> None:
    done = node.run()
    assert done.returncode == 0, done.stderr
    assert_restored(node)
    assert "kubelet v1.35.4 is newer than the API server v1.34.4" in done.stderr
    (restore,) = [call for call in node.calls if call.startswith("etcdutl snapshot restore ")]
    attempt = next((node.lib / "nightshift-restore").iterdir()).name
    for words in (
        "--name cp1",
        "--initial-cluster cp1=https://10.0.0.11:2380",
        "--initial-advertise-peer-urls https://10.0.0.11:2380",
        f"--initial-cluster-token nightshift-{attempt}",
        "--bump-revision 1000000066 --mark-compacted",
    ):
        assert words in restore


def test_etcd_starts_after_its_data_and_the_api_after_etcd_is_proven(node: Node) -> None:
    (node.fake / "keys").write_text("566\n")
    done = node.run()
    assert done.returncode == HALF_WAY
    assert "etcd has 566 keys, the snapshot had 567" in done.stderr
    assert set(node.state()) == {"etcd.yaml", "revision"}, "no API server on data that is not the snapshot's"
    (node.fake / "keys").write_text("567\n")
    assert node.run().returncode == 0
    assert_restored(node)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(
            lambda n: (n.kubernetes / "pki/ca.crt").write_text("x"), "another cluster's", id="cluster"
        ),
        pytest.param(
            lambda n: (n.fake / "address").write_text("10.0.0.12"), "not on this machine", id="node"
        ),
        pytest.param(
            lambda n: (n.fake / "kubelet").write_text("failed"), "kubelet does not run", id="kubelet"
        ),
        pytest.param(
            lambda n: (n.fake / "units").write_text("nightshift-stage.service loaded active running x\n"),
            "nightshift-stage.service is at work",
            id="job",
        ),
        pytest.param(
            lambda n: (n.fake / "kubeadm").write_text(f"{os.getpid()}\n"), "kubeadm runs: root", id="kubeadm"
        ),
        pytest.param(
            lambda n: (n.fake / "lease").write_text(f"airflow/lab/run-1|{datetime.now(UTC):%FT%TZ}|120\n"),
            "airflow/lab/run-1 is at the cluster",
            id="lease",
        ),
        pytest.param(
            lambda n: (n.fake / "lease-forbidden").touch(),
            "whether a night is under way cannot be asked",
            id="unread lease",
        ),
        pytest.param(
            lambda n: n.make_bundle("cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380"),
            "use restore-etcd-ha",
            id="several members",
        ),
        pytest.param(
            lambda n: n.make_bundle("cp9=https://10.0.0.19:2380"), "none of the members", id="member"
        ),
    ],
)
def test_what_is_not_right_is_told_before_anything_is_touched(node: Node, spoil: object, said: str) -> None:
    assert callable(spoil)
    spoil(node)
    before = node.state()
    done = node.run()
    assert done.returncode == REFUSED, done.stderr
    assert said in done.stderr
    assert node.state() == before
    assert not (node.fake / "brake").exists()


def test_a_lease_that_expired_is_nobody(node: Node) -> None:
    (node.fake / "lease").write_text("airflow/lab/run-1|2026-11-24T02:00:00.000000Z|120\n")
    assert node.run().returncode == 0


def test_no_controller_and_no_night_begins_without_the_brake(node: Node) -> None:
    (node.fake / "brake-fails").touch()
    done = node.run()
    assert (done.returncode, "the brake could not be pulled. Mend it" in done.stderr) == (HALF_WAY, True)
    assert set(node.state()) == {"etcd.yaml", "kube-apiserver.yaml", "revision"}
    (node.fake / "brake-fails").unlink()
    (node.fake / "brake-by-another").touch()
    assert node.run().returncode == 0
    assert_restored(node)


def test_a_namespace_that_cannot_be_asked_for_is_not_taken_for_none(node: Node) -> None:
    (node.fake / "namespace-forbidden").touch()
    done = node.run("stop")
    assert (done.returncode, "WARNING: the brake could not be pulled" in done.stderr) == (0, True), (
        done.stderr
    )
    assert "Forbidden" in done.stderr
    done = node.run()
    assert (done.returncode, "the brake could not be pulled. Mend it" in done.stderr) == (HALF_WAY, True)
    assert "no namespace nightshift here" not in done.stderr
    assert set(node.state()) == {"etcd.yaml", "kube-apiserver.yaml", "revision"}, "no controller yet"
    (node.fake / "namespace-forbidden").unlink()
    assert node.run().returncode == 0
    assert_restored(node)


def test_a_cluster_without_the_namespace_has_no_brake(node: Node) -> None:
    (node.fake / "no-namespace").touch()
    done = node.run()
    assert (done.returncode, done.stderr.count("no namespace nightshift here")) == (0, 2), done.stderr
    assert not (node.fake / "brake").exists()


def test_a_cluster_whose_api_is_away_is_restored(node: Node) -> None:
    (node.fake / "broken").touch()
    before = node.state()
    done = node.run("run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert node.state() == before
    done = node.run()
    assert done.returncode == 0, done.stderr
    assert "WARNING: the brake could not be pulled; it is pulled again when the API is back" in done.stderr
    assert_restored(node)


def test_kubelets_are_asked_themselves_for_their_version(node: Node) -> None:
    (node.fake / "ready").write_text("cp1 True\nw1 True\nw2 True\nw3 True\n")
    (node.fake / "kubelets").write_text("cp1 v1.35.4\nw1 v1.35.4\nw2 v1.34.4\n")
    done = node.run()
    assert done.returncode == 0, done.stderr
    said = [line.strip() for line in done.stderr.splitlines() if "kubelet v" in line or "its version" in line]
    newer = "kubelet v1.35.4 is newer than the API server v1.34.4: take it back, docs/restore.md says how"
    silent = "w3: its kubelet does not say its version: look with `kubelet --version` on it"
    assert said == [f"cp1: {newer}", f"w1: {newer}", silent]


def test_another_bundle_than_the_hash_says_is_not_opened(node: Node) -> None:
    with node.bundle.open("ab") as bundle:
        bundle.write(b"x")
    done = node.run()
    assert (done.returncode, "does not have SHA-256" in done.stderr) == (REFUSED, True)
    assert not (node.lib / "nightshift-restore").exists()


def test_a_snapshot_of_another_revision_than_was_proven_is_refused(node: Node) -> None:
    (node.root / "tree/snapshot.db").write_text("1200\n")
    with tarfile.open(node.bundle, "w:gz") as tar:
        for name in ("proof.txt", "snapshot.db", "kubernetes"):
            tar.add(node.root / "tree" / name, name)
    node.sha256 = hashlib.sha256(node.bundle.read_bytes()).hexdigest()
    done = node.run()
    assert (done.returncode, "is not of revision 1234" in done.stderr) == (REFUSED, True)


def test_etcds_programs_of_another_minor_are_refused(node: Node) -> None:
    (node.fake / "etcdutl-version").write_text("3.7.0")
    done = node.run()
    assert (done.returncode, "is not of the minor of etcd 3.6.5" in done.stderr) == (REFUSED, True)


def test_an_image_that_was_collected_is_pulled_and_a_silent_registry_touches_nothing(node: Node) -> None:
    images = (node.fake / "images").read_text().splitlines()
    (node.fake / "images").write_text("\n".join(i for i in images if "kube-scheduler" not in i) + "\n")
    (node.fake / "no-registry").touch()
    before = node.state()
    done = node.run()
    assert (done.returncode, "kube-scheduler:v1.34.4 cannot be pulled" in done.stderr) == (REFUSED, True)
    assert node.state() == before
    (node.fake / "no-registry").unlink()
    assert node.run().returncode == 0
    assert_restored(node)


def test_a_dry_run_says_every_change_and_makes_none(node: Node) -> None:
    before, brake = node.state(), node.fake / "brake"
    done = node.run("run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert node.state() == before
    assert not brake.exists()
    for command in (
        "create configmap nightshift-brake",
        "snapshot restore",
        "mv -T",
        "systemctl restart kubelet",
    ):
        assert command in done.stderr
    assert node.run().returncode == 0
    assert_restored(node)


def test_a_component_that_does_not_end_stops_the_restore_before_its_data(node: Node) -> None:
    (node.fake / "hangs-etcd").touch()
    done = node.run()
    assert (done.returncode, "until etcd has ended" in done.stderr) == (HALF_WAY, True)
    assert node.database.read_text() == "1300\n"
    assert not [call for call in node.calls if call.startswith("etcdutl snapshot restore")]
    (node.fake / "hangs-etcd").unlink()
    assert node.run().returncode == 0
    assert_restored(node)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(r"^rm .*/manifests/etcd.yaml$", id="manifest put aside and still there"),
        pytest.param(r"^mv .*/restored$", id="snapshot half restored"),
        pytest.param(r"^mv -T \S*/var/lib/etcd/member ", id="old data still in place"),
        pytest.param(r"^mv .*/restored/member ", id="no data in place"),
        pytest.param(r"^mv .*/manifests/etcd.yaml$", id="etcd not started"),
        pytest.param(r"^mv -T \S*/current ", id="not finished"),
    ],
)
def test_killed_in_the_middle_and_run_again_it_ends_the_same(node: Node, change: str) -> None:
    node.environment["FAKE_DIE_AT"] = change
    assert node.run().returncode == -9
    node.environment.clear()
    done = node.run()
    assert done.returncode == 0, done.stderr
    assert_restored(node)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(r"^cp .*/manifests/kube-apiserver.yaml ", id="the first that is put aside"),
        pytest.param(r"^rm .*/manifests/etcd.yaml$", id="manifest"),
        pytest.param(r"^rm -rf .*/restoring$", id="before the snapshot"),
        pytest.param(r"^mv -T \S*/var/lib/etcd/member ", id="old data"),
        pytest.param(r"^sync -f ", id="new data"),
        pytest.param(r"^mv .*/manifests/kube-scheduler.yaml$", id="put back"),
        pytest.param(r"^mv -T \S*/current ", id="finish"),
    ],
)
@pytest.mark.parametrize("phases", [["run"], ["stop", "data", "etcd", "settle", "control-plane", "finish"]])
def test_what_fails_in_the_middle_is_half_way_and_not_untouched(
    node: Node, change: str, phases: list[str]
) -> None:
    node.environment["FAKE_FAIL_AT"] = change
    done = next(done for phase in phases if (done := node.run(phase)).returncode != 0)
    assert done.returncode == HALF_WAY, done.stderr
    assert "stopped half way; mend it and run the same command again" in done.stderr
    node.environment.clear()
    assert node.run().returncode == 0
    assert_restored(node)


def test_a_refusal_of_the_same_command_later_is_half_way_too(node: Node) -> None:
    (node.fake / "hangs-etcd").touch()
    assert node.run().returncode == HALF_WAY
    (node.fake / "kubelet").write_text("failed")
    done = node.run()
    assert (done.returncode, "kubelet does not run" in done.stderr) == (HALF_WAY, True)
    assert node.run("run", "--dry-run").returncode == REFUSED


def test_data_on_a_disk_of_its_own_stays_on_it(node: Node) -> None:
    (node.fake / "mounted").touch()
    assert node.run().returncode == 0
    (aside,) = (node.lib / "etcd").glob("before-*")
    assert (aside / "member/snap/db").read_text() == "1300\n"
    assert node.database.read_text() == f"{RESTORED}\n"


def test_a_lost_disk_is_no_reason_not_to_restore(node: Node) -> None:
    subprocess.run(["rm", "-rf", node.lib / "etcd"], check=True)
    done = node.run()
    assert done.returncode == 0, done.stderr
    assert node.database.read_text() == f"{1234 + 1_000_000_000}\n"


def test_the_same_bundle_again_later_is_another_attempt_with_newer_revisions(node: Node) -> None:
    assert node.run().returncode == 0
    first = next((node.lib / "nightshift-restore").iterdir()).name
    node.database.write_text(f"{RESTORED + 500}\n")
    done = node.run("run", "--attempt", f"{first}-again")
    assert done.returncode == 0, done.stderr
    assert int(node.database.read_text()) > RESTORED + 500
    assert len(list(node.lib.glob("etcd.before-*"))) == 2


def test_another_bundle_waits_until_this_one_is_done(node: Node) -> None:
    (node.fake / "keys").write_text("1\n")
    assert node.run().returncode == HALF_WAY
    node.make_bundle()
    node.bundle = node.bundle.rename(node.root / "etcd-20261125T230100Z.tar.gz")
    (node.root / "tree/proof.txt").touch()
    with tarfile.open(node.bundle, "w:gz") as tar:
        tar.add(node.root / "tree", ".")
    node.sha256 = hashlib.sha256(node.bundle.read_bytes()).hexdigest()
    done = node.run()
    assert (done.returncode, "another bundle is under way" in done.stderr) == (REFUSED, True)


def test_without_a_yes_nothing_is_touched(node: Node) -> None:
    before = node.state()
    words = [str(SCRIPT), "run", "--bundle", str(node.bundle), "--sha256", node.sha256]
    variables = {
        "PATH": f"{node.root / 'bin'}:{os.environ['PATH']}",
        "NIGHTSHIFT_FS_ROOT": str(node.root / "fs"),
        "FAKE": str(node.fake),
    }
    done = subprocess.run(words, input="no\n", capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == REFUSED
    assert node.state() == before


# -- a second member: its own manifests are not in the bundle ---------------------------------------------------------

TWO = "cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380"


@pytest.fixture
def second(node: Node) -> Node:
    node.make_bundle(TWO)
    (node.fake / "address").write_text("10.0.0.12\n")
    for component in ("etcd", *SERVERS):
        version = "3.6.6-0" if component == "etcd" else "v1.35.4"
        (node.manifests / f"{component}.yaml").write_text(manifest(component, version, "cp2", "10.0.0.12"))
    return node


def put_backup(node: Node, name: str, version: str, etcd: str) -> None:
    directory = node.kubernetes / "tmp" / f"kubeadm-backup-manifests-{name}"
    directory.mkdir()
    for component in ("etcd", *SERVERS):
        image = etcd if component == "etcd" else version
        (directory / f"{component}.yaml").write_text(manifest(component, image, "cp2", "10.0.0.12"))


def test_another_member_takes_its_own_manifests_from_kubeadms_backup_of_that_version(second: Node) -> None:
    put_backup(second, "2026-11-24-23-10-00", "v1.34.4", "3.6.5-0")
    put_backup(second, "2026-11-24-23-30-00", "v1.35.4", "3.6.6-0")  # of a second try
    for phase in ("check", "stop", "data", "etcd"):
        done = second.run(phase, "--members", TWO, "--attempt", "a", "--bump", "1000000066")
        assert done.returncode == 0, done.stderr
    assert second.state()["etcd.yaml"] == manifest("etcd", "3.6.5-0", "cp2", "10.0.0.12")
    assert (second.lib / "nightshift-restore/current/bump").read_text() == "1000000066\n"


def test_a_member_without_manifests_of_that_version_is_refused_by_name(second: Node) -> None:
    done = second.run("check", "--members", TWO)
    assert done.returncode == REFUSED
    assert "no kube-apiserver.yaml of this node with image k8s.io/kube-apiserver:v1.34.4" in done.stderr


def test_who_am_i_and_what_am_i_in_the_middle_of(second: Node) -> None:
    assert second.run("member").stdout == "cp2=https://10.0.0.12:2380\n"
    assert second.run("attempt").stdout == ""
    put_backup(second, "2026-11-24-23-10-00", "v1.34.4", "3.6.5-0")
    assert second.run("stop", "--members", TWO, "--attempt", "a").returncode == 0
    assert second.run("attempt").stdout == "a\n"
    assert second.run("bump").stdout == ""
    assert second.run("revision", "--members", TWO).stdout == "1300\n"
    assert second.run("data", "--members", TWO, "--bump", "1000000100").returncode == 0
    assert second.run("bump").stdout == "1000000100\n"
    assert second.run("revision", "--members", TWO).stdout == "1300\n", "of the old data, which is aside now"
