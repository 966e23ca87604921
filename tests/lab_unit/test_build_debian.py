"""Installing Debian packages: only the missing, with a reason, without starting their services."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nslab import debian


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Stand in for apt and dpkg; returns the list of apt's calls."""
    calls: list[tuple[str, ...]] = []
    installed = {"curl"}

    def fake_apt(*arguments: str) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        if arguments[0] == "install":
            assert debian._POLICY.stat().st_mode & 0o111, "services would start"
            if "broken" in arguments:
                return subprocess.CompletedProcess([], 100, stdout="E: no such thing")
            installed.update(arguments[2:])
        return subprocess.CompletedProcess([], 0, stdout="")

    monkeypatch.setattr(debian, "_apt", fake_apt)
    monkeypatch.setattr(debian, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(debian, "_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(debian, "missing_packages", lambda names: [n for n in names if n not in installed])
    monkeypatch.setattr(debian, "_candidates_known", lambda names: True)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    return calls


def test_only_missing_packages_are_installed_after_saying_why(apt: list[tuple[str, ...]]) -> None:
    said: list[str] = []
    debian.ensure_debian_packages({"curl": "asks", "strace": "slows etcd down"}, said.append)
    assert said == ["installing Debian package strace: slows etcd down"]
    assert ("install", "--no-install-recommends", "strace") in apt
    assert not debian._POLICY.exists()
    apt.clear()
    debian.ensure_debian_packages({"curl": "asks", "strace": "slows etcd down"}, said.append)
    assert apt == []


def test_a_failed_install_is_tried_with_fresh_lists_and_then_told(apt: list[tuple[str, ...]]) -> None:
    with pytest.raises(debian.DebianError, match="no such thing"):
        debian.ensure_debian_packages({"broken": "x"}, str)
    assert [c[0] for c in apt if c[0] != "update"] == ["install", "install"]
    assert not debian._POLICY.exists()


def test_the_administrators_own_policy_stays(apt: list[tuple[str, ...]]) -> None:
    debian._POLICY.write_text("#!/bin/sh\nexit 0\n")
    debian._POLICY.chmod(0o755)
    debian.ensure_debian_packages({"strace": "x"}, str)
    assert debian._POLICY.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_left_by_a_killed_run_is_removed(apt: list[tuple[str, ...]]) -> None:
    debian._POLICY.write_text(f"#!/bin/sh\n{debian._POLICY_MARK}\nexit 101\n")
    debian.ensure_debian_packages({"strace": "x"}, str)
    assert not debian._POLICY.exists()


def test_without_root_the_missing_names_are_told(
    apt: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    with pytest.raises(debian.DebianError, match="only root may install them: strace"):
        debian.ensure_debian_packages({"curl": "x", "strace": "x"}, str)


def test_the_mirror_is_the_one_apt_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        "http://mirror.test/debian-security bookworm-security main Debian-Security\n"
        "http://mirror.test/debian bookworm-updates main Debian\n"
        "http://mirror.test/debian bookworm main Debian\n"
    )
    done = subprocess.CompletedProcess([], 0, stdout=lines)
    monkeypatch.setattr(debian.subprocess, "run", lambda *a, **k: done)
    assert debian.debian_source() == ("http://mirror.test/debian", "bookworm")
