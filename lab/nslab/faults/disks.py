"""Faults of a node's own disk: a neighbour that syncs all the time, a planted fill, a file system without inodes.

A node has one disk. What can be filled besides it is kubeadm's scratch directory, once `scratch-mount` has given it a
file system of its own: every other directory that matters is held open by etcd, containerd or the kubelet, and a mount
laid over it would pull their files away from under them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nslab.faults.model import Case, Fault, node_name, positive, read_arguments
from nslab.nodes import machine
from nslab.shell import CommandError, LabError

CONTENDED_USAGE = "disk-contended NODE"
CONTENDED_UNIT = "nslab-disk-contended.service"
CONTENDED_DIRECTORY = "/var/lib/nslab-disk-contended"  # on the file system of /var/lib/etcd

# Runs on the node, which has only Debian's minimal Python. Each process appends and syncs, so every
# round trip makes the file system commit its journal: that is what etcd then waits for.
WRITER = """
import os, sys
directory, writers, block, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for number in range(writers - 1):
    if os.fork() == 0:
        break
else:
    number = writers - 1
data = os.urandom(block)
descriptor = os.open(f"{directory}/{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
while True:
    os.write(descriptor, data)
    os.fsync(descriptor)
    if os.lseek(descriptor, 0, os.SEEK_CUR) >= limit:
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.ftruncate(descriptor, 0)
"""
WRITERS, BLOCK, LIMIT = 8, 4 * 2**20, 128 * 2**20  # processes, bytes per write, bytes per file

FILL_USAGE = "disk-fill NODE MOUNT SIZE"
FILL_NAME = ".nslab-disk-fill"
SLACK = 8 * 2**20  # bytes: the file's own metadata must not lift what `df` shows (it rounds up) by one

MOUNT_USAGE = "scratch-mount NODE MIB"
MOUNT_DIRECTORY = "/etc/kubernetes/tmp"  # kubeadm's copies of etcd's data; open only while kubeadm upgrades
MOUNT_LIMIT = 256  # MiB: it is the machine's memory
MOUNT = """
set -eu
mkdir -p "$1"
mount -t tmpfs -o "size=$2m,mode=0700" nslab-scratch-mount "$1"
"""
UNMOUNT = """
set -eu
! mountpoint -q "$1" || umount "$1"
"""

INODES_USAGE = "inode-exhaustion NODE MOUNT PERCENT"
INODES_NAME = ".nslab-inode-exhaustion"
INODES_TIMEOUT = 600  # seconds; a million empty files take one or two minutes

# Runs on the node: empty files, 10,000 to a directory; they take inodes and next to no blocks. Arguments: directory, count.
PLANT_FILES = """
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
for number in range(0, count, 10000):
    directory = f"{top}/{number}"
    os.makedirs(directory)
    descriptor = os.open(directory, os.O_RDONLY)
    for name in range(min(10000, count - number)):
        os.mknod(str(name), 0o600, dir_fd=descriptor)
    os.close(descriptor)
os.sync()
"""


def parse_contended(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, CONTENDED_USAGE, 1)
    return [Case("disk-contended", node_name(name))]


def contend(case: Case) -> str:
    """Start the writers as a unit of the node's own systemd, so that they end with the node."""
    stop_contending(case)
    machine.enter(case.subject, ["mkdir", "-p", CONTENDED_DIRECTORY])
    writer = ["/usr/bin/python3", "-c", WRITER, CONTENDED_DIRECTORY, str(WRITERS), str(BLOCK), str(LIMIT)]
    unit = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={CONTENDED_UNIT}",
        "--description=A noisy neighbour",
    ]
    machine.enter(case.subject, [*unit, *writer])
    return f"{WRITERS} processes write and sync {BLOCK >> 20} MiB blocks on the disk of {case.subject}"


def stop_contending(case: Case) -> str:
    """Stop the writers and delete what they wrote."""
    if not machine.is_on(case.subject):
        raise LabError(
            f"node {case.subject} is off", f"switch it on first: `lab/lab heal node-power-off {case.subject}`"
        )
    machine.enter(
        case.subject, ["systemctl", "stop", CONTENDED_UNIT], check=False
    )  # fails when there is none
    machine.enter(case.subject, ["rm", "-rf", CONTENDED_DIRECTORY])
    return f"the disk of {case.subject} is quiet again"


@dataclass(frozen=True)
class FileSystem:
    """Sizes of a file system in bytes, as statfs(2) tells them."""

    size: int
    free: int
    available: int  # to anybody but root

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self.size - self.free


def fill_bytes(wanted: str, disk: FileSystem) -> int:
    """Return how long the fill must be: `12G` is its own size, `85%` what `df` shall show afterwards.

    Raises `LabError` for another notation and when it does not fit.
    """
    match = re.fullmatch(r"(\d+)([KMGT]|%)", wanted)
    if match is None:
        raise LabError(f"the size is {wanted!r}", "write it like 500M, 12G or 85%")
    number, unit = int(match[1]), match[2]
    if unit == "%":
        length = (disk.used + disk.available) * number // 100 - disk.used - SLACK
    else:
        length = number << 10 * ("KMGT".index(unit) + 1)
    if not 0 < length <= disk.available:
        raise LabError(
            f"{wanted} would be a file of {length >> 20} MiB; the disk has {disk.available >> 20} MiB free "
            f"and {disk.used >> 20} MiB in use",
            "choose another size",
        )
    return length


def parse_fill(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE MOUNT SIZE`."""
    name, mount, size = read_arguments(arguments, FILL_USAGE, 3)
    if not mount.startswith("/"):
        raise LabError(f"the mount is {mount!r}", "give an absolute path, e.g. /var/lib/kubelet or /")
    return [Case("disk-fill", f"{node_name(name)}:{mount}", {"node": name, "mount": mount, "size": size})]


def fill(case: Case) -> str:
    """Reserve the space with one file; the node's disk is sparse, so the machine's own disk stays as it is."""
    drain_fill(case)
    node, mount = case.text("node"), case.text("mount")
    length = fill_bytes(case.text("size"), _file_system(node, mount))
    machine.enter(node, ["fallocate", "-l", str(length), _fill_path(case)])
    shown = machine.enter(node, ["df", "--output=pcent", mount]).stdout.split()[-1]
    return f"{mount} on {node} is {shown} full ({length >> 20} MiB planted)"


def drain_fill(case: Case) -> str:
    """Delete the planted file."""
    machine.enter(case.text("node"), ["rm", "-f", _fill_path(case)])
    return f"the fill on {case.text('node')} is gone from {case.text('mount')}"


def _fill_path(case: Case) -> str:
    return f"{case.text('mount').rstrip('/')}/{FILL_NAME}"


def _file_system(node: str, mount: str) -> FileSystem:
    try:
        answer = machine.enter(node, ["stat", "--file-system", "--format=%S %b %f %a", mount]).stdout
    except CommandError as error:
        raise LabError(
            f"{mount} cannot be looked at on {node}: {error.output.strip()}", "name a directory there"
        ) from None
    block, size, free, available = (int(x) for x in answer.split())
    return FileSystem(size * block, free * block, available * block)


def parse_mount(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE MIB`."""
    name, size = read_arguments(arguments, MOUNT_USAGE, 2)
    return [Case("scratch-mount", node_name(name), {"size": positive(size, "the size in MiB", MOUNT_LIMIT)})]


def mount_scratch(case: Case) -> str:
    """Lay a small file system over kubeadm's scratch directory; in memory, so it ends with the node."""
    unmount_scratch(case)
    size = case.number("size")
    machine.enter(case.subject, ["sh", "-c", MOUNT, "sh", MOUNT_DIRECTORY, str(size)])
    return f"{MOUNT_DIRECTORY} on {case.subject} is a file system of its own with {size} MiB"


def unmount_scratch(case: Case) -> str:
    """Take it away with everything on it; without one nothing happens."""
    machine.enter(case.subject, ["sh", "-c", UNMOUNT, "sh", MOUNT_DIRECTORY])
    return f"{MOUNT_DIRECTORY} on {case.subject} is a plain directory"


def parse_inodes(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE MOUNT PERCENT`."""
    name, mount, percent = read_arguments(arguments, INODES_USAGE, 3)
    if not mount.startswith("/"):
        raise LabError(f"the mount is {mount!r}", "give an absolute path, e.g. /var/lib/kubelet or /")
    share = positive(percent.removesuffix("%"), "the percentage of inodes in use", 99)
    return [
        Case(
            "inode-exhaustion", f"{node_name(name)}:{mount}", {"node": name, "mount": mount, "percent": share}
        )
    ]


def inodes_to_take(total: int, free: int, percent: int) -> int:
    """Return how many inodes must be taken so that `percent` of all are in use; raise `LabError` when they are already."""
    wanted = total * percent // 100 - (total - free)
    if wanted <= 0:
        raise LabError(
            f"{100 * (total - free) // max(total, 1)} % of the inodes are in use",
            "choose a higher percentage",
        )
    return wanted


def take_inodes(case: Case) -> str:
    """Make empty files until so many inodes are in use."""
    free_inodes(case)
    node, mount = case.text("node"), case.text("mount")
    total, free = (
        int(x) for x in machine.enter(node, ["stat", "--file-system", "--format=%c %d", mount]).stdout.split()
    )
    count = inodes_to_take(total, free, case.number("percent"))
    machine.enter(
        node, ["/usr/bin/python3", "-c", PLANT_FILES, _inodes_path(case), str(count)], timeout=INODES_TIMEOUT
    )
    return f"{case.number('percent')} % of the inodes of {mount} on {node} are in use ({count} empty files planted)"


def free_inodes(case: Case) -> str:
    """Delete the planted files."""
    machine.enter(case.text("node"), ["rm", "-rf", _inodes_path(case)], timeout=INODES_TIMEOUT)
    return f"the empty files on {case.text('node')} are gone from {case.text('mount')}"


def _inodes_path(case: Case) -> str:
    return f"{case.text('mount').rstrip('/')}/{INODES_NAME}"


DISK_CONTENDED = Fault(
    "disk-contended", CONTENDED_USAGE, "write and sync all the time on the disk etcd uses",
    parse_contended, contend, stop_contending,
)  # fmt: skip
DISK_FILL = Fault(
    "disk-fill", FILL_USAGE, "fill a mount of a node; SIZE is a file's (12G) or df's percentage (85%)",
    parse_fill, fill, drain_fill,
)  # fmt: skip
INODE_EXHAUSTION = Fault(
    "inode-exhaustion", INODES_USAGE, "use up the inodes of a mount, up to PERCENT of all of them",
    parse_inodes, take_inodes, free_inodes,
)  # fmt: skip
SCRATCH_MOUNT = Fault(
    "scratch-mount", MOUNT_USAGE, "give kubeadm's copies of etcd's data a small file system of their own",
    parse_mount, mount_scratch, unmount_scratch,
)  # fmt: skip
