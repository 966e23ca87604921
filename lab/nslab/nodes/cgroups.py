"""A cgroup of its own for every node, in every controller.

A node's systemd and kubelet see the cgroup they were started in as the root. Without this all
kubelets of the lab would share `/kubepods` and destroy each other's pods as orphans.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from nslab.settings import BRIDGE
from nslab.shell import LabError, wait_until

# All nodes together get as much of a busy machine as this many ordinary processes. As one group among processes
# they would get the share of a single one, and a compiler running beside the lab would look like a slow etcd.
_WEIGHT = 16
_DEFAULTS = {"cpu.shares": 1024, "cpu.weight": 100}  # of one process or group, v1 and v2

ROOT = Path("/sys/fs/cgroup")
PARENT = BRIDGE.removesuffix("0")  # another lab on this machine has another bridge


def hierarchies() -> list[Path]:
    """Return the mount points of this machine's cgroup trees (one per v1 controller, one for v2)."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return mounted_hierarchies(lines)


def mounted_hierarchies(mounts: list[str]) -> list[Path]:
    """Pick the cgroup trees out of lines of /proc/mounts, each once even when it is mounted twice."""
    found: dict[str, Path] = {}
    for line in mounts:
        _device, target, kind, options, *_ = line.split()
        if kind in ("cgroup", "cgroup2") and Path(target).is_relative_to(ROOT):
            key = (
                "v2"
                if kind == "cgroup2"
                else ",".join(sorted(set(options.split(",")) - {"rw", "ro", "relatime"}))
            )
            found.setdefault(key, Path(target))
    return list(found.values())


def create(name: str) -> list[Path]:
    """Make a group in every tree and return the groups; may be repeated."""
    return [_create_in(tree, name) for tree in hierarchies()]


def enter(groups: list[Path]) -> None:
    """Move the calling process into the groups (called between fork and exec)."""
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def names() -> set[str]:
    """Return the names of all groups that exist."""
    return {path.name for tree in hierarchies() for path in (tree / PARENT).glob("*") if path.is_dir()}


def kill(name: str) -> None:
    """Kill every process in the groups and wait until all have ended."""
    for pid in processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes(name), f"the processes of {name} have ended", 15, 0.02)


def remove(name: str, patience: float = 10) -> None:
    """Remove the groups with all below them; their processes must have ended."""
    for tree in hierarchies():
        _remove_tree(tree / PARENT / name, patience)


def remove_parent() -> None:
    """Remove the group that held all nodes' groups; all must have been removed."""
    for tree in hierarchies():
        _remove_tree(tree / PARENT, 1)


def processes(name: str) -> set[int]:
    """Return the pids of everything that runs in the groups."""
    found: set[int] = set()
    for tree in hierarchies():
        # os.walk passes over a group that vanishes meanwhile, as those of ending containers do; Path.rglob does not.
        for directory, _, files in os.walk(tree / PARENT / name):
            if "cgroup.procs" not in files:
                continue
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
    return found


def _create_in(tree: Path, name: str) -> Path:
    parent, group = tree / PARENT, tree / PARENT / name
    for child in (parent, group):
        child.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            _inherit(child, setting)
        if (child / "cgroup.clone_children").exists():
            (child / "cgroup.clone_children").write_text("1")
    for above in (tree, parent):
        _delegate(above)
    for setting, default in _DEFAULTS.items():
        if (parent / setting).exists():
            (parent / setting).write_text(str(default * _WEIGHT))
    return group


def _inherit(group: Path, setting: str) -> None:
    """Copy a cpuset value of the parent: in v1 an empty one refuses every process."""
    above, here = group.parent / setting, group / setting
    if above.exists() and here.exists() and not here.read_text().strip():
        here.write_text(above.read_text())


def _delegate(group: Path) -> None:
    """Hand all controllers of a v2 group down to its children."""
    control = group / "cgroup.subtree_control"
    if control.exists():
        for controller in (group / "cgroup.controllers").read_text().split():
            control.write_text(f"+{controller}")


def _remove_tree(group: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while group.exists():
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                continue  # a process is still on its way out; tried again below
        if group.exists() and time.monotonic() > until:
            raise LabError(f"{group} cannot be removed; a process is still in it", "run `lab/lab down` again")
        time.sleep(0 if not group.exists() else 0.05)
