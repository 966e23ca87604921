"""Which leftovers of kubeadm in /etc/kubernetes/tmp may be removed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.facts import ScratchEntry

_DAY_SECONDS = 86_400
_STAMP = "[0-9]{4}(-[0-9]{2}){5}"  # YYYY-MM-DD-HH-MM-SS, the node's local time

# The ways back: a copy of etcd's data and of the manifests, one each per upgrade attempt.
BACKUP_PATTERNS = (
    re.compile(f"kubeadm-backup-etcd-{_STAMP}"),
    re.compile(f"kubeadm-backup-manifests-{_STAMP}"),
)
# Everything kubeadm leaves in /etc/kubernetes/tmp and never removes itself; older kubeadm appends random digits, newer
# a time. Exact on purpose: what a person put there under another name is theirs. The node's job reclaim-scratch checks
# each name against this very expression (a test compares the two).
LEFTOVER = re.compile(
    f"kubeadm-(backup-(etcd|manifests)-{_STAMP}"
    f"|(upgraded-manifests|kubelet-config|kubelet-env|upgrade-dryrun)(-{_STAMP}|[0-9]+))"
)


@dataclass(frozen=True)
class ScratchPlan:
    """What to remove on one node.

    Args:
        reap: exact names to remove, oldest first.
        keep: name -> why it stays.
        reap_bytes: what removal frees.
    """

    reap: tuple[str, ...]
    keep: Mapping[str, str]
    reap_bytes: int


def choose_reapable(entries: Sequence[ScratchEntry], now: float, retention_days: int) -> ScratchPlan:
    """Choose what to remove: exact kubeadm names, older than the retention, never the newest backups.

    While a kubeadm runs on the node none of it may be touched; that is for the caller to know.

    Args:
        entries: content of /etc/kubernetes/tmp.
        now: the *node's* clock (`NodeProbe.clock`), seconds since the epoch: modification times are its own.
        retention_days: `DiskPolicy.scratch_retention_days`.
    """
    protected = _newest_backups(entries)
    reap: list[ScratchEntry] = []
    keep: dict[str, str] = {}
    for entry in sorted(entries, key=lambda e: e.modified):
        reason = _reason_to_keep(entry, now - retention_days * _DAY_SECONDS, protected)
        if reason:
            keep[entry.name] = reason
        else:
            reap.append(entry)
    return ScratchPlan(tuple(e.name for e in reap), keep, sum(e.size_bytes for e in reap))


def _reason_to_keep(entry: ScratchEntry, oldest_kept: float, protected: frozenset[str]) -> str:
    """Say why the entry stays; "" when it may go."""
    if not LEFTOVER.fullmatch(entry.name):
        return "not a name kubeadm gives"
    if entry.name in protected:
        return "newest backup of its kind"
    if not entry.modified < oldest_kept:
        return "younger than the retention"
    return ""


def _newest_backups(entries: Sequence[ScratchEntry]) -> frozenset[str]:
    """Return the newest backup of each kind, by name and by modification time.

    Both count, because the names carry the node's local time (which can jump) and a modification time can be
    touched; keeping one directory too many is cheap, losing the way back is not.
    """
    newest: set[str] = set()
    for pattern in BACKUP_PATTERNS:
        backups = [entry for entry in entries if pattern.fullmatch(entry.name)]
        if backups:
            newest.add(max(backups, key=lambda e: e.name).name)
            newest.add(max(backups, key=lambda e: e.modified).name)
    return frozenset(newest)
