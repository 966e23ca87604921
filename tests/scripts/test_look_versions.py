"""The sections `platform` and `packages` of the verb `look`, on a node in a directory; real dpkg, real locks."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.scripts.conftest import FakeNode

from nightshift.clients.questions.packages import parse_packages
from nightshift.clients.questions.platform import parse_platform
from nightshift.domain.facts.packages import BrokenPackage, PackageHealth
from nightshift.domain.facts.versions import KubeletFlag

STATUS = """\
Package: kubeadm
Status: hold ok installed
Version: 1.34.4-1.1
Architecture: amd64
Maintainer: x
Description: x

Package: web
Status: install ok installed
Version: 1
Architecture: all
Maintainer: x
Description: x

"""


def look(node: FakeNode, section: str) -> str:
    done = node.shell(f"look/{section}.sh", f"look_{section}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def dpkg(node: FakeNode) -> Path:
    if shutil.which("dpkg-query") is None:
        pytest.fail("these tests need dpkg, as the nodes have it")
    directory = node.root / "fs/var/lib/dpkg"
    (directory / "updates").mkdir(parents=True)
    (directory / "info").mkdir()
    (directory / "status").write_text(STATUS)
    (directory / "lock").touch()
    (directory / "lock-frontend").touch()
    (node.root / "fs/run").mkdir(exist_ok=True)
    return directory


def test_a_healthy_node(node: FakeNode, dpkg: Path) -> None:
    assert parse_packages(look(node, "packages")) == PackageHealth(held=("kubeadm",))


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("install ok half-configured", "half-configured"),
        ("install ok unpacked", "unpacked"),
        ("install ok half-installed", "half-installed"),
        ("install reinstreq half-installed", "reinst-required"),
    ],
)
def test_a_package_left_half_way(node: FakeNode, dpkg: Path, state: str, found: str) -> None:
    (dpkg / "status").write_text(STATUS.replace("install ok installed", state))
    assert parse_packages(look(node, "packages")).broken == (BrokenPackage("web", found),)


def test_a_package_that_is_removed_is_not_broken(node: FakeNode, dpkg: Path) -> None:
    (dpkg / "status").write_text(STATUS.replace("install ok installed", "deinstall ok config-files"))
    assert parse_packages(look(node, "packages")).broken == ()


def test_the_journal_of_an_interrupted_dpkg(node: FakeNode, dpkg: Path) -> None:
    (dpkg / "updates" / "tmp.i").touch()
    assert not parse_packages(look(node, "packages")).has_journal
    (dpkg / "updates" / "0001").touch()
    assert parse_packages(look(node, "packages")).has_journal


@pytest.mark.parametrize("name", ["lock", "lock-frontend"])
def test_who_holds_the_lock(node: FakeNode, dpkg: Path, name: str) -> None:
    with (dpkg / name).open("w") as file:
        assert parse_packages(look(node, "packages")).locks == ()  # open is not held
        fcntl.lockf(file, fcntl.LOCK_EX)
        (holder,) = parse_packages(look(node, "packages")).locks
    assert (holder.pid, holder.file) == (os.getpid(), f"/var/lib/dpkg/{name}")
    assert re.search(r"python|pytest", holder.command)  # xdist gives its workers a title of their own
    assert holder.seconds >= 0
    assert parse_packages(look(node, "packages")).locks == ()


def test_a_lock_of_another_disk_has_the_same_number(node: FakeNode, dpkg: Path) -> None:
    inode = (dpkg / "lock").stat().st_ino
    line = f"1: POSIX  ADVISORY  WRITE {os.getpid()} 00:99:{inode} 0 EOF"
    assert node.shell("look/packages.sh", f'held_locks "{line}"').stdout == ""
    with (dpkg / "lock").open("w"):
        assert node.shell("look/packages.sh", f'held_locks "{line}"').stdout.startswith("lock\t")


def test_a_wanted_reboot(node: FakeNode, dpkg: Path) -> None:
    (node.root / "fs/run/reboot-required").touch()
    assert parse_packages(look(node, "packages")).needs_reboot
    (node.root / "fs/run/reboot-required.pkgs").write_text("linux-base\nlinux-image-amd64\n")
    assert parse_packages(look(node, "packages")).reboot_packages == ("linux-base", "linux-image-amd64")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["/usr/bin/unattended-upgrade", "30"], True),
        (["/usr/bin/python3 /usr/bin/unattended-upgrade", "30"], True),
        # The service of unattended-upgrades, which waits all day for the machine's shutdown.
        (["/usr/bin/python3 /usr/share/unattended-upgrades/unattended-upgrade-shutdown", "30"], False),
    ],
)
def test_an_unattended_upgrade(node: FakeNode, dpkg: Path, command: list[str], found: bool) -> None:
    node.environment["PATH"] = os.environ["PATH"]  # the real pgrep
    with subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep "$1"', *command]) as process:
        try:
            for _ in range(100):
                if Path(f"/proc/{process.pid}/cmdline").read_text().startswith(command[0]):
                    break
            unattended = parse_packages(look(node, "packages")).unattended
        finally:
            process.kill()
    assert any(line.startswith(f"{process.pid} ") for line in unattended) is found


def test_without_dpkgs_database_the_section_fails(node: FakeNode) -> None:
    done = node.shell("look/packages.sh", "look_packages")
    assert done.returncode != 0
    assert not done.stdout.endswith("end\n")


def platform_node(node: FakeNode, unit: str = "ExecStart={ argv[]=/usr/bin/kubelet --v=2 ; }") -> Path:
    """A node with a kubelet; returns where its files begin."""
    fs = node.root / "fs"
    for directory in ("sys/fs/cgroup", "var/lib/kubelet", "etc/default", "run/containerd", "bin"):
        (fs / directory).mkdir(parents=True, exist_ok=True)
    (fs / "var/lib/kubelet/kubeadm-flags.env").write_text('KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.1"\n')
    (fs / "var/lib/kubelet/config.yaml").write_text("featureGates:\n  A: true\n")
    (fs / "run/containerd/containerd.sock").touch()
    programs = {
        "containerd": "echo containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
        "stat": f'[[ "$*" == *{fs}/sys/fs/cgroup ]] && echo cgroup2fs',
        "systemctl": f"echo '{unit}'",
    }
    for name, text in programs.items():
        (fs / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (fs / "bin" / name).chmod(0o755)
    node.environment["PATH"] = f"{fs}/bin:{node.variables()['PATH']}"
    return fs


def test_a_platform(node: FakeNode) -> None:
    platform_node(node)
    found = parse_platform(look(node, "platform"))
    assert (found.cgroup, found.kernel) == ("v2", os.uname().release)
    assert (found.runtime, found.runtime_version) == ("containerd", "1.6.20")
    assert found.kubelet_config == {"featureGates": {"A": True}}
    assert set(found.kubelet_flags) == {
        KubeletFlag("node-ip", "10.0.0.1", "kubeadm-flags.env"),
        KubeletFlag("v", "2", "kubelet.service"),
    }


KUBEADMS_UNIT = (
    "ExecStart={ argv[]=/usr/bin/kubelet $KUBELET_CONFIG_ARGS $KUBELET_EXTRA_ARGS ; }\n"
    "Environment=KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf "
    "KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
)


def test_the_files_that_the_next_kubelet_lays_over_its_own(node: FakeNode) -> None:
    fs = platform_node(node, KUBEADMS_UNIT)
    directory = fs / "etc/kubernetes/kubelet.conf.d"
    (directory / "inner").mkdir(parents=True)
    (directory / "20.conf").write_text("featureGates: {B: false}\n")
    (directory / "10.conf").write_text("featureGates: {B: true, C: true}\n")
    (directory / "inner" / "30.conf").write_text("maxPods: 50\n")
    (directory / "readme.md").write_text("featureGates: {D: true}\n")
    default = fs / "etc/default/kubelet"
    default.write_text("#KUBELET_EXTRA_ARGS=--config-dir=/etc/kubernetes/kubelet.conf.d\n")
    assert parse_platform(look(node, "platform")).kubelet_config == {"featureGates": {"A": True}}
    for words in (
        "--config-dir=/etc/kubernetes/kubelet.conf.d",
        '"--v=2 --config-dir /etc/kubernetes/kubelet.conf.d"',
    ):
        default.write_text(f"KUBELET_EXTRA_ARGS={words}\n")
        assert parse_platform(look(node, "platform")).kubelet_config == {
            "featureGates": {"A": True, "B": False, "C": True},
            "maxPods": 50,
        }


def test_another_file_than_kubeadms(node: FakeNode) -> None:
    fs = platform_node(node, KUBEADMS_UNIT)
    (fs / "etc/default/kubelet").write_text("KUBELET_EXTRA_ARGS=--config=/etc/kubelet.yaml\n")
    assert parse_platform(look(node, "platform")).kubelet_config is None
    (fs / "etc/kubelet.yaml").write_text("featureGates: {Mine: true}\n")
    assert parse_platform(look(node, "platform")).kubelet_config == {"featureGates": {"Mine": True}}


def test_a_kubelet_without_its_file(node: FakeNode) -> None:
    fs = platform_node(node, KUBEADMS_UNIT)
    (fs / "var/lib/kubelet/config.yaml").unlink()
    assert parse_platform(look(node, "platform")).kubelet_config is None
