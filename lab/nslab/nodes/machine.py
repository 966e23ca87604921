"""One node as a machine: its disk, its power switch, and two ways in.

A node is a systemd-nspawn container with a disk of its own (an ext4 image on a loop device), so a
full disk, eviction and image garbage collection are real and stay on that node. Functions take the
node's name.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nslab.nodes import cgroups, identity, network, pool, processes, state
from nslab.settings import BRIDGE, STATE_DIR, Node
from nslab.shell import LabError, run, wait_until

NODES = STATE_DIR / "nodes"
_BOOT = Path(__file__).with_name("boot-node.sh")


def disk_of(name: str) -> Path:
    """Return the image file that is the node's disk."""
    return pool.LIVE / f"{name}.img"


def root_of(name: str) -> Path:
    """Return where the node's file system is mounted while the node is on."""
    return NODES / name / "root"


def create_disk(node: Node, lab: state.Lab, source: Path) -> None:
    """Give the node a disk that shares its blocks with `source`, and write the node's identity to it."""
    pool.clone(source, disk_of(node.name))
    _mount(node.name)
    identity.write(root_of(node.name), node, lab.profile)


def drop_disk(name: str) -> None:
    """Delete the disk of a node that is off."""
    disk_of(name).unlink(missing_ok=True)


def power_on(name: str) -> None:
    """Boot the node from its disk; nothing happens when it is on. Does not wait: see `wait_booted`."""
    if processes.pid_of(_process(name)) is not None:
        return
    power_off(name)  # what an interrupted command has left
    _mount(name)
    groups = cgroups.create(name)
    processes.start(_process(name), network.inside(_nspawn(name)), lambda: cgroups.enter(groups))


def power_off(name: str) -> None:
    """Cut the node's power: all its processes are killed at once and its disk is unmounted."""
    leader = find_leader(name)
    if leader is not None:
        os.kill(leader, signal.SIGKILL)  # the kernel kills the whole PID namespace with it
    processes.stop(_process(name), kill=leader is None)
    cgroups.kill(name)
    cgroups.remove(name)
    _unmount(name)


def shut_down(name: str, patience: float = 30) -> None:
    """Let the node's systemd power it off; cut the power after `patience` seconds."""
    if find_leader(name) is not None:
        enter(name, ["systemctl", "poweroff", "--no-block"], check=False)
        pid = processes.pid_of(_process(name))
        if pid is not None:
            processes.wait_gone(pid, patience)
    power_off(name)


def is_on(name: str) -> bool:
    """Return whether the node's systemd runs."""
    return find_leader(name) is not None


def leader_pid(name: str) -> int:
    """Return the pid, as this machine sees it, of the node's systemd; raise `LabError` when the node is off."""
    pid = find_leader(name)
    if pid is None:
        raise LabError(
            f"node {name} is off", f"see `lab/lab status` and {processes.log_file(_process(name))}"
        )
    return pid


def find_leader(name: str) -> int | None:
    """Return the pid of the node's systemd, None when the node is off."""
    container = processes.pid_of(_process(name))
    if container is None:
        return None
    for child in _children(container):
        if _pid_inside(child) == 1:
            return child
    return None


def enter(
    name: str,
    argv: Sequence[str],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command inside the node without SSH, as root with all the node's namespaces."""
    return run([*_entry(name), *argv], check=check, stdin=stdin, timeout=timeout)


def ssh(
    name: str,
    argv: Sequence[str],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command on the node over SSH, as the product would, with pinned host key."""
    return run([*ssh_command(name), shlex.join(argv)], check=check, stdin=stdin, timeout=timeout)


def ssh_command(name: str) -> list[str]:
    """Return the ssh command line that logs in on the node as root."""
    options = {
        "UserKnownHostsFile": str(identity.KNOWN_HOSTS),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "LogLevel": "ERROR",
    }
    settings = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    return [
        "ssh",
        "-F",
        "none",
        "-i",
        str(identity.PRIVATE_KEY),
        *settings,
        f"root@{state.node(name).address}",
    ]


def wait_booted(name: str, timeout: float = 60) -> None:
    """Wait until the node's basic services run, sshd among them."""

    def booted() -> bool:
        if not is_on(name):
            return False
        return (
            enter(name, ["systemctl", "is-active", "--quiet", "ssh", "containerd"], check=False).returncode
            == 0
        )

    log = processes.log_file(_process(name))
    wait_until(booted, f"node {name} has booted", timeout, 0.2, f"read {log}")


def _process(name: str) -> str:
    return f"node-{name}"


def _entry(name: str) -> list[str]:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [
        "nsenter",
        "-t",
        str(leader_pid(name)),
        "-m",
        "-u",
        "-i",
        "-n",
        "-p",
        "-C",
        "--",
        "env",
        "-i",
        path,
        "HOME=/root",
    ]


def _nspawn(name: str) -> list[str]:
    root = str(root_of(name))
    alone = ["unshare", "--mount", "--propagation", "slave", "--", "sh", str(_BOOT), root]
    return [
        *alone,
        *("systemd-nspawn", "--quiet", "--boot", "--directory", root, "--machine", name),
        *(
            "--register=no",
            "--keep-unit",
            f"--network-bridge={BRIDGE}",
            "--resolv-conf=off",
            "--timezone=off",
        ),
        *("--link-journal=no", "--capability=all", "--system-call-filter=add_key keyctl bpf"),
        *("--bind=/dev/kmsg", "--console=pipe"),
    ]


def _mount(name: str) -> None:
    root = root_of(name)
    if not os.path.ismount(root):
        root.mkdir(parents=True, exist_ok=True)
        run(["mount", "-o", "discard,noatime", pool.attach(disk_of(name)), str(root)])


def _unmount(name: str) -> None:
    if os.path.ismount(root_of(name)):
        wait_until(
            lambda: run(["umount", str(root_of(name))], check=False).returncode == 0,
            f"unmount {name}",
            10,
            0.1,
        )
    if disk_of(name).exists():
        pool.detach(disk_of(name))


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []


def _pid_inside(pid: int) -> int | None:
    """Return the pid a process has in its innermost PID namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return int(numbers[-1]) if len(numbers) > 1 else None
