"""stage and package-index against a real package repository: real apt, real packages, real HTTP; only the runtime is not."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS, FakeNode
from tests.scripts.test_kubeadm_upgrade import TOOLS

from nightshift.clients.node_ssh import ExitCode

PACKAGE = "1.35.4-1.1"
IMAGE = "registry.example/kube-proxy:v1.35.4"
PROBE = "registry.example/probe:1"
KUBEADM = f"#!/bin/sh\necho {IMAGE}\n"
# The machine's own apt has no part in this: no keys, no locks, no packages, no other user.
APT_CONFIG = """
Acquire::AllowInsecureRepositories "true";
APT::Get::AllowUnauthenticated "true";
APT::Sandbox::User "root";
Debug::NoLocking "true";
Dir::State::status "{status}";
"""
CRICTL = """#!/bin/bash
case "$*" in
    *inspecti*) exit 1 ;;
    *) ! grep -qxF "${{!#}}" {missing} ;;
esac
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing."""


class Repository:
    """The repository of one minor, and the registry's gaps."""

    def __init__(self, root: Path) -> None:
        self.debs = root / "v1.35" / "deb"
        self.missing_images = root / "missing-images"
        self.debs.mkdir(parents=True)
        self.missing_images.touch()
        for name in ("kubeadm", "kubelet", "kubectl"):
            self.add(name)

    def add(self, name: str, version: str = PACKAGE, needs: str = "") -> None:
        tree = self.debs.parent / "tree" / name
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
        (tree / "usr/bin" / name).write_text(KUBEADM)
        (tree / "usr/bin" / name).chmod(0o755)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@t>\nDescription: t\n"
        )
        control += f"Depends: {needs}\n" if needs else ""
        (tree / "DEBIAN/control").write_text(control)
        deb = self.debs / f"{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--build", str(tree), str(deb)], check=True, capture_output=True)
        self.publish()

    def publish(self) -> None:
        """Write the index of what is there now."""
        entries = []
        for deb in sorted(self.debs.glob("*.deb")):
            control = subprocess.run(["dpkg-deb", "-f", str(deb)], check=True, capture_output=True, text=True)
            data = deb.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            entries.append(f"{control.stdout}Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n\n")
        packages = "".join(entries).encode()
        (self.debs / "Packages").write_bytes(packages)
        digest = hashlib.sha256(packages).hexdigest()
        (self.debs / "Release").write_text(f"SHA256:\n {digest} {len(packages)} Packages\n")

    def forget(self, name: str) -> None:
        """Not in the index: a mirror that was copied half way."""
        self.lose(name)
        self.publish()

    def lose(self, name: str) -> None:
        """Named by the index, and gone."""
        (self.debs / f"{name}_{PACKAGE}_all.deb").unlink()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def address(repository: Repository) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(repository.debs.parents[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def staging(node: FakeNode, repository: Repository, tmp_path: Path, address: str) -> FakeNode:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("kubectl", "dpkg", "dpkg-query"):
        (tools / name).symlink_to(TOOLS / "fake")
    (tools / "crictl").write_text(CRICTL.format(missing=repository.missing_images))
    (tools / "crictl").chmod(0o755)
    (tmp_path / "status").touch()
    (tmp_path / "apt.conf").write_text(APT_CONFIG.format(status=tmp_path / "status"))
    node.environment["PATH"] = f"{tools}:{node.variables()['PATH']}"
    node.environment["APT_CONFIG"] = str(tmp_path / "apt.conf")
    fs = node.root / "fs"
    for directory in ("etc/apt/sources.list.d", "etc/kubernetes/manifests", "var/lib/dpkg/updates"):
        (fs / directory).mkdir(parents=True)
    (fs / "etc/apt/sources.list.d/kubernetes.list").write_text(f"deb {address}/v1.34/deb/ /\n")
    (fs / "etc/kubernetes/manifests/kube-apiserver.yaml").touch()
    (node.systemd / "cluster-configuration").write_text(
        "kind: ClusterConfiguration\nkubernetesVersion: v1.34.4\n"
    )
    (node.systemd / "installed-kubectl").write_text("1.34.4-1.1")
    return node


def stage(node: FakeNode, address: str) -> subprocess.CompletedProcess[str]:
    command = [str(NODE_SCRIPTS / "jobs" / "stage"), "1.35", PACKAGE, address, PROBE]
    return subprocess.run(
        command, capture_output=True, text=True, env=node.variables(), timeout=60, check=False
    )


def files(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_packages_and_images_are_fetched_and_nothing_is_installed(staging: FakeNode, address: str) -> None:
    before = files(staging.root / "fs")
    done = stage(staging, address)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))
    assert result["images"] == [IMAGE, PROBE]
    assert sorted(Path(path).name.split("_")[0] for path in result["packages"]) == [
        *("kubeadm", "kubectl", "kubelet")
    ]
    assert files(staging.root / "fs") == before


def test_unpacked_images_are_on_the_disk_before_the_next_gate_looks_at_etcd(
    staging: FakeNode, address: str, tmp_path: Path
) -> None:
    containerd = staging.root / "fs/var/lib/containerd"
    containerd.mkdir(parents=True)
    sync = tmp_path / "tools/sync"
    sync.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/synced\n')
    sync.chmod(0o755)
    done = stage(staging, address)
    assert done.returncode == 0, done.stderr
    assert f"--file-system {containerd}" in (tmp_path / "synced").read_text().splitlines()


@pytest.mark.parametrize(
    ("plant", "code", "said"),
    [
        pytest.param(
            lambda r: r.forget("kubelet"), ExitCode.PACKAGE_MISSING, "does not offer", id="not in the index"
        ),
        pytest.param(
            lambda r: r.lose("kubelet"), ExitCode.PACKAGE_MISSING, "does not offer", id="named but gone"
        ),
        pytest.param(
            lambda r: r.missing_images.write_text(IMAGE), ExitCode.IMAGE_MISSING, IMAGE, id="cluster's image"
        ),
        pytest.param(
            lambda r: r.missing_images.write_text(PROBE), ExitCode.IMAGE_MISSING, PROBE, id="probe's image"
        ),
    ],
)
def test_what_is_missing_is_told_apart_and_leaves_nothing_half_done(
    staging: FakeNode,
    repository: Repository,
    address: str,
    plant: Callable[[Repository], object],
    code: int,
    said: str,
) -> None:
    before = files(staging.root / "fs")
    plant(repository)
    done = stage(staging, address)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert files(staging.root / "fs") == before
    assert list((staging.state / "packages").glob(".partial.*")) == []
    if code == ExitCode.PACKAGE_MISSING:
        assert list((staging.state / "packages").iterdir()) == []


@pytest.mark.parametrize("held", ["conntrack", "conntrack:amd64"])
def test_what_the_owner_holds_is_not_changed_on_the_way(
    staging: FakeNode, repository: Repository, address: str, tmp_path: Path, held: str
) -> None:
    (tmp_path / "tools/apt-mark").symlink_to(TOOLS / "fake")
    for name in ("conntrack", "kubernetes-cni"):
        repository.add(name)
    repository.add("kubelet", needs="conntrack, kubernetes-cni")
    for harmless in ("", "kubernetes-cni\nkubelet\nvim\nconntrack-extras\n"):
        (staging.systemd / "held").write_text(harmless)
        done = stage(staging, address)
        assert done.returncode == 0, done.stderr
    (staging.systemd / "held").write_text(f"kubelet\n{held}\n")
    for _ in range(2):  # also of what was staged before
        done = stage(staging, address)
        assert done.returncode == ExitCode.PACKAGE_HELD, done.stdout + done.stderr
        assert done.stderr.splitlines()[-1].endswith("need another version of it: conntrack")
    (staging.systemd / "installed-conntrack").write_text(PACKAGE)
    assert stage(staging, address).returncode == 0, "an earlier try brought it, and it was held again"


def test_an_interrupted_dpkg_is_brought_to_its_end_before_anything_is_fetched(
    staging: FakeNode, address: str
) -> None:
    (staging.root / "fs/var/lib/dpkg/updates/0001").touch()
    done = stage(staging, address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("found: dpkg was interrupted")
    assert "dpkg --configure -a --force-confold" in (staging.systemd / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)",
            ExitCode.DPKG_BUSY,
        ),
        (
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
            ExitCode.INSTALL_FAILED,
        ),
        (
            "E: The package cri-tools needs to be reinstalled, but I can't find an archive for it.",
            ExitCode.INSTALL_FAILED,
        ),
    ],
)
def test_the_nodes_own_dpkg_is_waited_for_and_not_told_as_the_repositorys_fault(
    staging: FakeNode, address: str, tmp_path: Path, said: str, code: int
) -> None:
    apt = tmp_path / "tools/apt-get"
    apt.write_text(
        f'#!/bin/bash\n[[ " $* " == *" --download-only "* ]] || exec /usr/bin/apt-get "$@"\n'
        f'echo "$*" >{tmp_path}/asked\necho "{said}"\nexit 100\n'
    )
    apt.chmod(0o755)
    done = stage(staging, address)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "-o DPkg::Lock::Timeout=300 " in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("left", ["half downloaded", "changed"])
def test_what_an_earlier_download_left_is_named_and_fetched_anew(
    staging: FakeNode, address: str, left: str
) -> None:
    final = staging.state / "packages" / PACKAGE
    if left == "changed":
        assert stage(staging, address).returncode == 0
        next(final.glob("kubelet_*.deb")).write_text("changed")
    else:
        (staging.state / "packages/.partial.abc123").mkdir(parents=True)
    done = stage(staging, address)
    assert done.returncode == 0, done.stderr
    assert "found: packages " in done.stdout
    assert list((staging.state / "packages").iterdir()) == [final]
    check = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=final, check=False)
    assert check.returncode == 0
    assert "found:" not in stage(staging, address).stdout


def offered(node: FakeNode, address: str, minor: str = "1.35") -> tuple[int, list[str]]:
    done = node.run("package-index", minor, address)
    return done.returncode, done.stdout.split()


def test_only_a_version_with_all_its_packages_is_offered(
    staging: FakeNode, repository: Repository, address: str
) -> None:
    repository.add("kubeadm", "1.35.5-1.1")
    assert offered(staging, address) == (0, [PACKAGE]), "a kubeadm without its kubelet is half a mirror"
    for name in ("kubelet", "kubectl"):
        repository.add(name, "1.35.5-1.1")
    assert offered(staging, address) == (0, ["1.35.5-1.1", PACKAGE])


def test_a_node_without_kubectl_does_not_wait_for_it(
    staging: FakeNode, repository: Repository, address: str
) -> None:
    repository.forget("kubectl")
    assert offered(staging, address) == (0, [])
    (staging.systemd / "installed-kubectl").unlink()
    assert offered(staging, address) == (0, [PACKAGE])
    assert stage(staging, address).returncode == 0


def test_a_minor_that_is_not_there_is_absent_and_a_silent_repository_is_not(
    staging: FakeNode, address: str
) -> None:
    assert offered(staging, address, "1.36") == (ExitCode.ABSENT, [])
    assert offered(staging, "http://127.0.0.1:1") == (ExitCode.REPOSITORY_REFUSED, [])
