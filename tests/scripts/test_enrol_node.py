"""The installer of `nightshift enrol`: what it refuses before it changes anything. The lab plays all of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "include" / "scripts"
KEY = "ssh-ed25519 AAAA"


@dataclass
class Machine:
    """The installer in a directory, with everything but what only a whole machine has: a user, sudo."""

    root: Path

    @property
    def library(self) -> Path:
        return self.root / "library"

    def install(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.root / "unpacked/enrol-node"), "install", KEY, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def remove(self) -> subprocess.CompletedProcess[str]:
        command = [str(self.root / "unpacked/enrol-node"), "remove"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def program(self, name: str, text: str) -> None:
        """From now on this is what the installer calls by that name."""
        stub = self.root / "bin" / name
        stub.write_text(f"#!/bin/bash\n{text}\n")
        stub.chmod(0o755)

    def work(self, unit: str) -> None:
        """From now on systemd knows this job; "": none."""
        asked = "list-units --no-legend --plain --state=active,activating,deactivating nightshift-*.service"
        answer = f"{unit} loaded active running\n" if unit else ""
        stub = self.root / "bin/systemctl"
        stub.write_text(f"#!/bin/sh\n[ \"$*\" = '{asked}' ] || exit 9\nprintf '{answer}'\n")
        stub.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if os.geteuid() != 0:
        pytest.skip("the installer refuses to run as anybody but root")
    unpacked, binaries = tmp_path / "unpacked", tmp_path / "bin"
    shutil.copytree(SCRIPTS / "node", unpacked / "node")
    (unpacked / "node/VERSION").write_text("one\n")
    for path in (unpacked / "node").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o555)
    binaries.mkdir()
    for name in ("id", "usermod"):
        (binaries / name).write_text("#!/bin/sh\n")
        (binaries / name).chmod(0o755)
    text = (SCRIPTS / "enrol-node").read_text()
    for old, new in (
        ("LIBRARY=/usr/local/lib/nightshift", f"LIBRARY={tmp_path}/library"),
        ("STATE=/var/lib/nightshift", f"STATE={tmp_path}/state"),
        ("PATH=/usr/local/sbin", f"PATH={binaries}:/usr/local/sbin"),
        ("        require_programs\n", ""),
        ("ACCOUNT_HOME=/home/nightshift", f"ACCOUNT_HOME={tmp_path}/home"),
        ("        install_sudoers # last", "        : # last"),
        ("SUDOERS=/etc/sudoers.d/nightshift", f"SUDOERS={tmp_path}/sudoers"),
        ("/run/nightshift\n", f"{tmp_path}/run\n"),
        ("            sleep 1\n", ""),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (unpacked / "enrol-node").write_text(text)
    (unpacked / "enrol-node").chmod(0o755)
    made = Machine(tmp_path)
    made.work("")
    return made


def test_a_run_at_the_cluster_keeps_its_scripts(machine: Machine) -> None:
    assert machine.install("held").returncode == 0, "a node that joins has none yet"
    assert machine.install("held").stdout == ""
    (machine.root / "unpacked/node/VERSION").chmod(0o755)
    (machine.root / "unpacked/node/VERSION").write_text("two\n")
    refused = machine.install("held")
    assert refused.returncode == 1
    assert "a run is at the cluster and works with other scripts" in refused.stderr
    assert (machine.library / "VERSION").read_text() == "one\n"
    assert machine.install().returncode == 0
    assert (machine.library / "VERSION").read_text() == "two\n"


def test_the_scripts_of_a_job_at_work_stay(machine: Machine) -> None:
    machine.install()
    machine.work("nightshift-kubeadm-upgrade.service")
    assert machine.install().returncode == 0, "nothing would change"
    (machine.root / "unpacked/node/VERSION").chmod(0o755)
    (machine.root / "unpacked/node/VERSION").write_text("two\n")
    refused = machine.install()
    assert (refused.returncode, (machine.library / "VERSION").read_text()) == (1, "one\n")
    assert "a job is at work on this node: nightshift-kubeadm-upgrade.service" in refused.stderr
    machine.work("nightshift-recorder.service")
    assert machine.install().returncode == 0


def test_a_systemd_that_does_not_answer_is_no_idle_node(machine: Machine) -> None:
    machine.install()
    (machine.root / "unpacked/node/VERSION").chmod(0o755)
    (machine.root / "unpacked/node/VERSION").write_text("two\n")
    (machine.root / "bin/systemctl").write_text("#!/bin/sh\nexit 1\n")
    refused = machine.install()
    assert refused.returncode == 1
    assert "systemd does not say whether a job is at work" in refused.stderr


def test_a_run_at_the_cluster_keeps_its_key(machine: Machine) -> None:
    keys = machine.root / "home/.ssh/authorized_keys"
    machine.install()
    keys.write_text("restrict ssh-ed25519 BBBB nightshift\n")
    refused = machine.install("held")
    assert (refused.returncode, keys.read_text()) == (1, "restrict ssh-ed25519 BBBB nightshift\n")
    assert "logs in with another key" in refused.stderr
    assert machine.install().returncode == 0
    assert keys.read_text() == f"restrict {KEY} nightshift\n"


def test_damaged_scripts_are_mended_under_a_run(machine: Machine) -> None:
    machine.install()
    (machine.library / "nightshift-node").chmod(0o777)
    assert "installed" in machine.install("held").stdout
    assert (machine.library / "nightshift-node").stat().st_mode & 0o777 == 0o555


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """A node whose sessions end at once and whose user goes at the second try."""
    machine.install()
    machine.program("systemctl", "true")
    machine.program("pkill", "true")
    machine.program("apt-mark", f'echo "$*" >>{machine.root}/marked')
    tries = machine.root / "tries"
    machine.program(
        "userdel", f"echo x >>{tries}; (($(wc -l <{tries}) > 1)) || {{ echo 'user is busy' >&2; exit 8; }}"
    )
    return machine


def test_removing_gives_the_holds_back_that_a_dead_job_had_taken_off(installed: Machine) -> None:
    (installed.root / "state/held").write_text("kubeadm\nkubelet\n")
    done = installed.remove()
    assert done.returncode == 0, done.stderr
    assert "held again: kubeadm kubelet" in done.stdout
    assert (installed.root / "marked").read_text() == "hold kubeadm kubelet\n"
    assert not (installed.root / "state").exists()
    assert not installed.library.exists()


def test_what_cannot_be_given_back_is_not_forgotten(installed: Machine) -> None:
    held = installed.root / "state/held"
    held.write_text("kubeadm\n")
    installed.program("apt-mark", "exit 100")
    done = installed.remove()
    assert (done.returncode, held.read_text()) == (1, "kubeadm\n")
    assert "could not be set again" in done.stderr
    assert installed.library.exists(), "it is repeated with the same scripts"


def test_a_user_that_is_still_busy_is_asked_to_go_again(installed: Machine) -> None:
    assert "removed user nightshift" in installed.remove().stdout
    assert (installed.root / "tries").read_text() == "x\nx\n"


def test_a_user_that_stays_is_said_in_the_systems_own_words(installed: Machine) -> None:
    installed.program("userdel", "echo 'user nightshift is currently used by process 7' >&2; exit 8")
    done = installed.remove()
    assert done.returncode == 1
    assert "cannot be removed: user nightshift is currently used by process 7" in done.stderr
    installed.program("userdel", "exit 6")  # somebody removed it meanwhile
    assert installed.remove().returncode == 0
