"""Disks: full now, full during the upgrade, out of inodes; the node's one disk, and a mount of its own."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="disk-fill",
        faults=(("disk-fill", "w1", "/", "84%"),),
        gate="disk_usage",
        outcome="block",
        code="DISK_WOULD_FILL",
        words=("w1: / would be", "now 84", "image GC high 85 %"),
    ),
    # Below every threshold of the kubelet now: what the upgrade writes (some 7 % of a 20 GiB disk) leads over it.
    GateCase(
        name="disk-fills-during-the-upgrade",
        faults=(("disk-fill", "w2", "/", "80%"),),
        gate="disk_usage",
        outcome="block",
        code="DISK_WOULD_FILL",
        words=("w2: / would be", "now 80", "images", "packages"),
    ),
    # A node of the lab has one disk: what fills /var/lib/etcd fills /.
    GateCase(
        name="disk-fill-control-plane",
        faults=(("disk-fill", "cp1", "/var/lib/etcd", "80%"),),
        gate="disk_usage",
        outcome="block",
        code="DISK_WOULD_FILL",
        words=("cp1: / would be", "copies of etcd's data by kubeadm"),
    ),
    # A file system of its own on the same node, while / has room: it alone is named.
    GateCase(
        name="disk-fill-of-a-mount-of-its-own",
        faults=(
            ("scratch-mount", "cp1", "128"),
            ("disk-fill", "cp1", "/etc/kubernetes/tmp", "40M"),
        ),
        gate="disk_usage",
        outcome="block",
        code="DISK_WOULD_FILL",
        words=("cp1: /etc/kubernetes/tmp would be", "now 31", "copies of etcd's data by kubeadm"),
    ),
    # Between the gate's limit (5 % + 2 % free) and the kubelet's (5 %): nothing is evicted yet.
    GateCase(
        name="inode-exhaustion",
        faults=(("inode-exhaustion", "w1", "/", "94"),),
        gate="disk_usage",
        outcome="block",
        code="DISK_INODES_LOW",
        words=("w1: / would have", "of its inodes free", "nodefs.inodesFree<5%"),
    ),
)
