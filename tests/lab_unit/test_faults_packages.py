"""Faults of packages and add-ons: refused in words, complete in their undo, tried on directories and a dpkg of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nslab.faults import addons, packages
from nslab.faults.model import Case
from nslab.nodes import cluster, infra, machine, state
from nslab.shell import LabError


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    state.Lab("small").save()
    monkeypatch.setattr(
        infra.Sources, "load", lambda: infra.Sources(tmp_path / "packages", tmp_path / "registry")
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Laid out as the lab's builder does it: the minor's name is a link."""
    true = tmp_path / "packages/.v1.35-r1-abc/deb"
    true.mkdir(parents=True)
    for name in ("Release", *packages.SIGNED):
        (true / name).write_text(f"the true {name}\n")
    (tmp_path / "packages/v1.35").symlink_to(".v1.35-r1-abc")
    return true


def _content(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_a_stranger_signs_and_the_true_signature_comes_back(repository: Path) -> None:
    before = _content(repository)
    (case,) = packages.parse_signature(["1.35"])
    for _ in range(2):
        packages.sign_as_a_stranger(case)
        signed = (repository / "InRelease").read_text()
        assert "the true Release" in signed
        assert "BEGIN PGP SIGNATURE" in signed
        assert "BEGIN PGP SIGNATURE" in (repository / "Release.gpg").read_text()
    for _ in range(2):
        packages.restore_signature(case)
        assert _content(repository) == before


@pytest.mark.parametrize(
    ("parse", "words", "cause"),
    [
        (packages.parse_signature, ["1.99"], "no repository of 1.99"),
        (packages.parse_signature, [], "usage: lab/lab break repo-wrong-signature MINOR"),
        (packages.parse_away, ["x"], "usage: lab/lab break repo-away"),
        (packages.parse_broken, ["w9"], "no node w9"),
        (packages.parse_lock, [], "usage: lab/lab break apt-lock-held NODE"),
        (packages.parse_reboot, ["w9"], "no node w9"),
        (packages.parse_flag, ["w1"], "usage: lab/lab break kubelet-flag NODE NAME=VALUE"),
        (packages.parse_flag, ["w1", "a=$(reboot)"], "is no flag"),
        (addons.parse, ["quay.io/calico/node"], "has no tag"),
        (addons.parse, ["registry:5000/calico/node"], "has no tag"),
    ],
)
def test_refused(parse: Callable[[Sequence[str]], list[Case]], words: list[str], cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        parse(words)


def test_the_kubelets_file_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "default" / "kubelet"
    file.parent.mkdir()
    file.write_text("KUBELET_EXTRA_ARGS=--v=2\n")
    for _ in range(2):
        _run(packages.ADD_FLAG.replace(packages.DEFAULTS, str(file)), "feature-gates=A=true")
        assert file.read_text() == 'KUBELET_EXTRA_ARGS="--feature-gates=A=true"\n'
    for _ in range(2):
        _run(packages.TAKE_FLAG.replace(packages.DEFAULTS, str(file)))
        assert file.read_text() == "KUBELET_EXTRA_ARGS=--v=2\n"
        assert os.listdir(file.parent) == ["kubelet"]


def _run(script: str, *words: str) -> None:
    subprocess.run(["sh", "-c", script, "sh", *words], check=True)


def test_a_package_is_really_half_configured_and_really_gone(tmp_path: Path) -> None:
    """With a dpkg database of its own: dpkg's programs are told of it by their arguments."""
    root = tmp_path / "root"
    admin = root / "var/lib/dpkg"
    for directory in ("info", "updates", "triggers"):
        (admin / directory).mkdir(parents=True)
    for name in ("status", "available"):
        (admin / name).touch()
    # The package's script must not need a root file system: it fails either way, by itself or for want of a shell.
    dpkg = f"dpkg --root={root} --force-script-chrootless --log={tmp_path}/dpkg.log"
    query = f"dpkg-query --admindir={admin}"

    def here(script: str) -> str:
        return (
            script.replace("dpkg --install", f"{dpkg} --install")
            .replace("dpkg --purge", f"{dpkg} --purge")
            .replace("dpkg-query", query)
        )

    for _ in range(2):
        _run(here(packages.MEND_DPKG))
        _run(here(packages.BREAK_DPKG))
        audit = subprocess.run(
            ["dpkg", f"--root={root}", "--audit"], capture_output=True, text=True, check=False
        )
        assert packages.PACKAGE in audit.stdout
    _run(here(packages.MEND_DPKG))
    assert packages.PACKAGE not in (admin / "status").read_text()


def test_the_holder_of_the_lock_holds_it(tmp_path: Path) -> None:
    locks = tuple(str(tmp_path / name) for name in ("lock-frontend", "lock"))
    text = packages.HOLD.replace(repr(packages.LOCKS), repr(locks)).replace("/run/", f"{tmp_path}/")
    try_it = f"import fcntl; fcntl.lockf(open({locks[1]!r}, 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with subprocess.Popen([sys.executable, "-c", text]) as holder:
        try:
            for _ in range(200):
                if (tmp_path / packages.LOCK_UNIT).exists():
                    break
                subprocess.run(["sleep", "0.05"], check=True)
            held = subprocess.run([sys.executable, "-c", try_it], check=False, capture_output=True)
        finally:
            holder.kill()
    assert b"BlockingIOError" in held.stderr
    subprocess.run([sys.executable, "-c", try_it], check=True)


def test_a_wanted_reboot_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(machine, "enter", lambda _node, argv: calls.append(argv))
    (case,) = packages.parse_reboot(["w1"])
    packages.want_reboot(case)
    packages.forget_reboot(case)
    made = {word.removeprefix(">") for word in calls[0][2].split() if word.startswith(">")}
    assert made == set(calls[1][2:])


def test_an_addon_has_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], str | None]] = []
    monkeypatch.setattr(cluster, "kubectl", lambda args, stdin=None: calls.append((args, stdin)))
    (case,) = addons.parse(["quay.io/calico/node:v3.29.1"])
    addons.install(case)
    addons.remove(case)
    made = json.loads(calls[0][1] or "")
    assert made["spec"]["replicas"] == 0
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "quay.io/calico/node:v3.29.1"
    assert calls[1][0][:3] == ["delete", "deployment", made["metadata"]["name"]]
