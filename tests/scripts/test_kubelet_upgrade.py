"""kubelet-upgrade: never before kubeadm, only what is not so already, and healthy at the end."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS, FakeNode
from tests.scripts.test_kubeadm_upgrade import BASE, TOOLS, calls, control_plane, stage
from tests.scripts.test_kubeadm_upgrade import upgrade as upgrade_kubeadm

from nightshift.clients.node_ssh import ExitCode

__all__ = ["control_plane"]  # a fixture of the other job's tests


@pytest.fixture
def worker(node: FakeNode) -> FakeNode:
    node.environment["PATH"] = f"{TOOLS}:{node.variables()['PATH']}"
    for directory in ("var/lib/kubelet", "var/lib/dpkg/updates"):
        (node.root / "fs" / directory).mkdir(parents=True)
    config = node.root / "fs/var/lib/kubelet/config.yaml"
    config.write_text("kind: KubeletConfiguration\n")
    os.utime(config, (0, 0))  # long before the kubelet began
    (node.systemd / "health").write_text("ok")
    node.pretend_process("kubelet", os.getpid())
    set_installed(node, "1.34.4-1.1", "1.34.4-1.1")
    stage(node)
    mark_done(node, "node", "1.35.4")
    return node


def mark_done(node: FakeNode, mode: str, version: str) -> Path:
    """What jobs/kubeadm-upgrade leaves when it comes to its good end."""
    mark = node.state / "done" / f"kubeadm-{mode}-{version}"
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    return mark


def set_installed(node: FakeNode, kubelet: str, kubectl: str) -> None:
    (node.systemd / "installed-kubelet").write_text(kubelet)
    (node.systemd / "installed-kubectl").write_text(kubectl)


def flags(node: FakeNode) -> Path:
    return node.root / "fs/var/lib/kubelet/kubeadm-flags.env"


def upgrade(node: FakeNode, version: str = "1.35.4") -> subprocess.CompletedProcess[str]:
    (node.systemd / "calls").write_text("")
    command = [str(NODE_SCRIPTS / "jobs" / "kubelet-upgrade"), version]
    return subprocess.run(
        command, capture_output=True, text=True, env=node.variables(), timeout=60, check=False
    )


def installed_files(node: FakeNode) -> list[str]:
    line = next((call for call in calls(node) if call.startswith("apt-get install")), "")
    return [word.rsplit("/", 1)[-1].split("_")[0] for word in line.split() if word.endswith(".deb")]


def test_kubelet_and_kubectl_are_installed_and_the_kubelet_restarted(worker):
    done = upgrade(worker)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))["already"] is False
    assert installed_files(worker) == ["kubelet", "kubectl"]


def test_nothing_happens_when_it_is_so_already(worker):
    set_installed(worker, "1.35.4-1.1", "1.35.4-1.1")
    done = upgrade(worker)
    assert json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))["already"] is True
    assert installed_files(worker) == []


def restarts(node: FakeNode) -> int:
    path = node.systemd / "systemctl-calls"
    return path.read_text().splitlines().count("restart kubelet") if path.exists() else 0


def test_a_package_without_its_restart_is_recognised_and_restarted(worker, tmp_path):
    """dpkg put the new file in place and the job died: the old binary runs on, from a file that is gone."""
    set_installed(worker, "1.35.4-1.1", "1.35.4-1.1")
    binary = tmp_path / "kubelet"
    shutil.copy("/bin/sleep", binary)
    process = subprocess.Popen([str(binary), "60"])
    try:
        binary.unlink()
        worker.pretend_process("kubelet", process.pid)
        # as systemd would: after the restart another process is the kubelet
        (worker.systemd / "on-restart").write_text(f"{os.getpid()}")
        done = upgrade(worker)
    finally:
        process.kill()
        process.communicate()
    assert done.returncode == 0, done.stderr
    assert "found: kubelet 1.35.4 is installed and not the one that runs" in done.stdout
    assert restarts(worker) == 1
    assert installed_files(worker) == []


@pytest.mark.parametrize("name", ["config.yaml", "kubeadm-flags.env"])
def test_a_kubelet_older_than_its_configuration_is_recognised_and_restarted(worker, name):
    set_installed(worker, "1.35.4-1.1", "1.35.4-1.1")
    path = worker.root / "fs/var/lib/kubelet" / name
    path.touch()
    tomorrow = time.time() + 86400
    os.utime(path, (tomorrow, tomorrow))  # written after this process, which stands for the kubelet, began
    done = upgrade(worker)
    assert done.returncode == 0, done.stderr
    assert "found: the running kubelet is older than its configuration" in done.stdout
    assert restarts(worker) == 1


def test_a_kubectl_that_dpkg_left_half_installed_is_no_absent_one(worker):
    set_installed(worker, "1.35.4-1.1", "1.34.4-1.1")
    (worker.systemd / "state-kubectl").write_text("half-installed")
    (worker.root / "fs/var/lib/dpkg/updates/0001").touch()
    done = upgrade(worker)
    assert done.returncode == 0, done.stderr
    assert "found: dpkg was interrupted" in done.stdout
    assert installed_files(worker) == ["kubectl"]
    order = [
        call.split()[0] for call in calls(worker) if call.startswith(("dpkg --configure", "apt-get install"))
    ]
    assert order[0] == "dpkg"


@pytest.mark.parametrize("broken", [["kubelet"], ["kubectl"], ["kubelet", "kubectl"]])
def test_what_a_power_loss_left_half_installed_in_the_targets_version_is_installed_anew(worker, broken):
    set_installed(worker, "1.35.4-1.1", "1.35.4-1.1")
    for package in broken:
        (worker.systemd / f"state-{package}").write_text("half-installed")
    done = upgrade(worker)
    assert done.returncode == 0, done.stderr
    assert installed_files(worker) == broken
    assert not list(worker.systemd.glob("state-*"))
    install = next(call for call in calls(worker) if call.startswith("apt-get install"))
    assert " --reinstall " in install


def test_an_apt_that_ends_well_and_mends_nothing_is_no_success(worker):
    set_installed(worker, "1.35.4-1.1", "1.35.4-1.1")
    (worker.systemd / "state-kubelet").write_text("half-installed")
    (worker.systemd / "apt-mends-nothing").touch()
    done = upgrade(worker)
    assert done.returncode == ExitCode.INSTALL_FAILED, done.stdout
    assert "left half installed" in done.stderr


def test_whole_packages_are_not_installed_twice(worker):
    assert upgrade(worker).returncode == 0
    install = next(call for call in calls(worker) if call.startswith("apt-get install"))
    assert " --reinstall " not in install


def test_a_dpkg_at_work_is_waited_for_and_not_taken_for_an_interrupted_one(worker):
    journal = worker.root / "fs/var/lib/dpkg/updates/0001"
    journal.touch()
    with (worker.root / "fs/var/lib/dpkg/lock-frontend").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)

        def end() -> None:
            journal.unlink()
            lock.close()

        threading.Timer(2, end).start()
        done = upgrade(worker)
    assert done.returncode == 0, done.stderr
    assert (
        f"found: somebody else installs packages here; that is waited for, up to 300 s: process {os.getpid()} ("
        in done.stdout
    )
    assert "dpkg was interrupted" not in done.stdout
    assert not [call for call in calls(worker) if call.startswith("dpkg --configure")]
    assert installed_files(worker) == ["kubelet", "kubectl"]


LOCKED = (
    "held_locks() { [[ ! -e $STATE_DIR/locked ]] || printf 'lock\\t812\\t9\\t/l\\tunattended-upgrade\\n'; }; "
)


def test_a_lock_taken_in_front_of_the_mending_is_waited_for_and_looked_at_again(worker):
    """`dpkg --configure -a` waits for nobody."""
    journal = worker.root / "fs/var/lib/dpkg/updates/0001"
    journal.touch()
    taken = 'dpkg() { [[ $1 == --configure ]] || return 0; touch "$STATE_DIR/locked"; return 2; }; '
    given = f'sleep() {{ rm "$STATE_DIR/locked" {journal}; }}; '
    done = worker.shell("apt.sh", f"{LOCKED}{taken}{given}mend_dpkg; echo mended")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "mended"


def test_a_mending_that_fails_by_itself_ends_the_job(worker):
    (worker.root / "fs/var/lib/dpkg/updates/0001").touch()
    done = worker.shell("apt.sh", f"{LOCKED}dpkg() {{ [[ $1 != --configure ]]; }}; mend_dpkg")
    assert (done.returncode, done.stderr) == (ExitCode.INSTALL_FAILED, "dpkg --configure -a failed\n")


def test_what_configuring_leaves_is_named_and_left_to_the_installation(worker):
    """dpkg 1.21.22 ends well over half installed packages and does nothing about them; installing them anew does."""
    audit = (
        'dpkg() { [[ $1 == --configure ]] || printf "The following packages are in a mess:\\n'
        ' kubelet              the agent\\n kubectl              a client\\n"; }; '
    )
    done = worker.shell("apt.sh", f"{audit}mend_dpkg; echo mended")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        "found: dpkg --configure -a does nothing about kubectl, kubelet: they have to be installed anew",
        "mended",
    ]


def test_an_apt_that_waited_for_dpkgs_lock_in_vain_names_who_has_it(worker):
    (worker.state / "locked").touch()
    taken = "mend_dpkg() { :; }; remember_holds() { :; }; sha256sum() { :; }; apt-get() { return 100; }; "
    done = worker.shell("apt.sh", f'{LOCKED}{taken}install_staged "$STATE_DIR" kubelet')
    assert done.returncode == ExitCode.DPKG_BUSY, done.stderr
    assert done.stderr.startswith("Could not get lock ")
    assert done.stderr.endswith("It is held by process 812 (unattended-upgrade)\n")


def test_who_never_gives_dpkgs_lock_back_is_named(worker):
    (worker.state / "locked").touch()
    done = worker.shell("apt.sh", f"{LOCKED}sleep() {{ SECONDS=$((SECONDS + 100)); }}; mend_dpkg")
    assert done.returncode == ExitCode.DPKG_BUSY
    assert done.stderr.startswith("Could not get lock ")  # which the diagnosis knows
    assert done.stderr.endswith(
        "lock-frontend within 300 s. It is held by process 812 (unattended-upgrade)\n"
    )


def test_only_what_is_missing_and_no_kubectl_where_there_was_none(worker):
    set_installed(worker, "1.34.4-1.1", "")
    assert upgrade(worker).returncode == 0
    assert installed_files(worker) == ["kubelet"]
    set_installed(worker, "1.35.4-1.1", "1.34.4-1.1")
    assert upgrade(worker).returncode == 0
    assert installed_files(worker) == ["kubectl"]


def test_never_before_kubeadm_rewrote_the_flags(worker):
    flags(worker).write_text(
        'KUBELET_KUBEADM_ARGS="--pod-infra-container-image=registry.k8s.io/pause:3.10.1"\n'
    )
    done = upgrade(worker)
    assert done.returncode == ExitCode.REFUSED
    assert "--pod-infra-container-image" in flags(worker).read_text()
    assert installed_files(worker) == []


def test_that_flag_is_fine_before_1_35(worker):
    flags(worker).write_text("--pod-infra-container-image=x\n")
    set_installed(worker, "1.34.4-1.1", "1.34.4-1.1")
    mark_done(worker, "node", "1.34.4")
    assert upgrade(worker, "1.34.4").returncode == 0


@pytest.mark.parametrize("kubelet", ["1.34.4-1.1", "1.35.4-1.1"], ids=["an old kubelet", "a new one"])
def test_never_on_a_node_whose_kubeadm_was_left_out(worker, kubelet):
    """`upgrade_node` was marked as success: on a worker no version of anything tells that kubeadm has not run."""
    set_installed(worker, kubelet, kubelet)
    (worker.state / "done/kubeadm-node-1.35.4").unlink()
    mark_done(worker, "node", "1.34.4")
    mark_done(worker, "apply", "1.35.40")
    done = upgrade(worker)
    assert done.returncode == ExitCode.REFUSED
    assert "kubeadm upgrade to 1.35.4 has not come to its end here" in done.stderr
    assert done.stderr.endswith("clear upgrade_node of this node, with downstream\n")
    assert (installed_files(worker), restarts(worker)) == ([], 0)


@pytest.mark.parametrize("mode", ["apply", "node"])
def test_behind_our_own_kubeadm_it_is_let_through(control_plane, mode):
    """Whatever else was done on a node before, also by hand: `upgrade_node` leaves the record that is looked for."""
    (control_plane.root / "fs/var/lib/kubelet").mkdir()
    (control_plane.root / "fs/var/lib/kubelet/config.yaml").touch()
    set_installed(control_plane, "1.34.4-1.1", "1.34.4-1.1")
    (control_plane.systemd / "health").write_text("ok")
    control_plane.pretend_process("kubelet", os.getpid())
    assert upgrade(control_plane).returncode == ExitCode.REFUSED
    assert upgrade_kubeadm(control_plane, mode, "1.35.4", "900", BASE).returncode == 0
    done = upgrade(control_plane)
    assert done.returncode == 0, done.stderr


def test_unstaged_is_refused(worker):
    (worker.state / "packages/1.35.4-1.1/STAGED").unlink()
    assert upgrade(worker).returncode == ExitCode.NOT_STAGED
