"""Packages and their signed repositories, made from stand-in programs with the real tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nslab.build import binaries, packages, store
from nslab.build.versions import KUBERNETES_COMMANDS

needs_tools = pytest.mark.skipif(
    not (shutil.which("dpkg-deb") and shutil.which("gpg")), reason="needs dpkg-deb and gpg"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (*KUBERNETES_COMMANDS, "crictl"):
        (programs / name).write_text(f"#!/bin/sh\necho {name}\n")
    monkeypatch.setattr(store, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(store, "_DURATIONS", tmp_path / "durations.json")
    monkeypatch.setattr(packages, "REPO_ROOT", tmp_path / "packages")
    monkeypatch.setattr(packages, "_DEBS", tmp_path / "debs")
    monkeypatch.setattr(packages, "_KEYS", tmp_path / "key")
    monkeypatch.setattr(binaries, "ensure_kubernetes", lambda version, report: programs)
    monkeypatch.setattr(binaries, "ensure_cri_tools", lambda version, report: programs)
    return tmp_path


def out(*argv: str | Path) -> str:
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True).stdout


@needs_tools
def test_a_repository_is_laid_out_and_signed_like_the_official_one(cache: Path) -> None:
    flat = packages.ensure_repositories(["1.34.4"], str) / "v1.34/deb"
    names = {p.name for p in flat.iterdir()}
    assert {"Packages", "Packages.gz", "Release", "Release.gpg", "InRelease", "Release.key"} <= names
    assert sum(name.endswith("_1.34.4-1.1_amd64.deb") for name in names) == 3
    assert not any(name.endswith(".entry") for name in names)
    ring = packages.keyring(str)
    for arguments in ([flat / "InRelease"], [flat / "Release.gpg", flat / "Release"]):
        subprocess.run(["gpgv", "--keyring", ring, *arguments], check=True, capture_output=True)


@needs_tools
def test_package_contents_follow_upstream(cache: Path) -> None:
    flat = packages.ensure_repositories(["1.34.4"], str) / "v1.34/deb"
    kubelet, kubeadm = (next(flat.glob(f"{name}_*.deb")) for name in ("kubelet", "kubeadm"))
    listing = out("dpkg-deb", "-c", kubelet)
    for path in ("/usr/lib/systemd/system/kubelet.service", "/etc/default/kubelet", "/usr/bin/kubelet"):
        assert f".{path}\n" in listing
    assert "root/root" in listing
    assert "10-kubeadm.conf" not in listing
    assert "./usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf\n" in out("dpkg-deb", "-c", kubeadm)
    assert "kubernetes-cni" not in out("dpkg-deb", "-f", kubelet)
    # The upgrade restarts the kubelet itself; the package must not.
    postinst = out("dpkg-deb", "-I", kubelet, "postinst")
    assert "daemon-reload" in postinst
    assert "systemctl restart" not in [line.strip() for line in postinst.splitlines() if line[:1] != "#"]
    assert out("dpkg-deb", "-f", kubelet, "Version").strip() == "1.34.4-1.1"


@needs_tools
def test_every_minor_offers_crictl_and_nothing_depends_on_it(cache: Path) -> None:
    root = packages.ensure_repositories(["1.34.2", "1.34.4", "1.35.4"], str)
    for minor in ("v1.34", "v1.35"):
        assert (root / minor / "deb/Packages").read_text().count("Package: cri-tools\n") == 1
        (deb,) = (root / minor / "deb").glob("cri-tools_1.34.0-1.1_*.deb")
        assert "./usr/bin/crictl\n" in out("dpkg-deb", "-c", deb)
        (kubeadm,) = (root / minor / "deb").glob("kubeadm_*.4-*.deb")
        # Upstream's has had no such relation since 1.32.
        assert out("dpkg-deb", "-f", kubeadm, "Depends", "Recommends") == ""


@needs_tools
def test_a_second_release_of_a_minor_joins_the_first_and_minors_are_apart(cache: Path) -> None:
    root = packages.ensure_repositories(["1.34.4", "1.35.4"], str)
    assert not list((root / "v1.34/deb").glob("*1.34.2*"))
    before = os.readlink(root / "v1.34")
    packages.ensure_repositories(["1.34.4"], str)
    assert os.readlink(root / "v1.34") == before
    packages.ensure_repositories(["1.34.2"], str)
    index = (root / "v1.34/deb/Packages").read_text()
    assert index.count("Version: 1.34.2-1.1\n") == index.count("Version: 1.34.4-1.1\n") == 3
    assert "1.34.4" not in (root / "v1.35/deb/Packages").read_text()
    assert not (root / before).exists()


@needs_tools
@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt")
def test_apt_takes_it_with_the_lab_key_and_refuses_it_when_tampered(cache: Path) -> None:
    flat = packages.ensure_repositories(["1.34.4"], str) / "v1.34/deb"
    served = cache / "served"
    shutil.copytree(flat, served)
    root = cache / "apt"
    for directory in ("etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (root / directory).mkdir(parents=True)
    (root / "status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [signed-by={packages.keyring(str)}] file:{served} /\n")
    options = [f"Dir={root}", f"Dir::State::status={root}/status", "APT::Sandbox::User=root"]
    command = [
        "apt-get",
        *(f"-o{option}" for option in options),
        "-o",
        "Dir::Etc::trustedparts=/none",
        "update",
    ]
    done = subprocess.run([*command, "--error-on=any"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    policy = out("apt-cache", *(f"-o{option}" for option in options), "policy", "kubelet")
    assert "Candidate: 1.34.4-1.1" in policy
    signed = (served / "InRelease").read_text()
    (served / "InRelease").write_text(signed.replace("Codename: deb", "Codename: bad"))
    done = subprocess.run([*command, "--error-on=any"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "BADSIG" in done.stderr + done.stdout


def test_release_file_names_its_indexes_with_checksums() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    text = packages.release_file("1.34", {"Packages": b"x"}, when)
    assert "Date: Fri, 02 Jan 2026 03:04:05 UTC\n" in text
    assert "Label: isv:kubernetes:core:stable:v1.34\n" in text
    assert " 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 1 Packages\n" in text


def test_control_file_carries_the_relations_of_the_kubelet_only() -> None:
    assert "Depends: mount, util-linux\n" in packages.control_file("kubelet", "1.34.4-1.1", 1)
    assert "Depends" not in packages.control_file("kubeadm", "1.34.4-1.1", 1)
