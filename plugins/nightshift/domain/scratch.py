"""Which leftovers of kubeadm in /etc/kubernetes/tmp may be removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.facts import ScratchEntry


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


def choose_reapable(
    entries: Sequence[ScratchEntry], now: float, retention_days: int, *, kubeadm_runs: bool
) -> ScratchPlan:
    """Choose what to remove: exact kubeadm names, older than the retention, never the newest backups.

    Args:
        entries: content of /etc/kubernetes/tmp.
        now: the *node's* clock (`NodeProbe.clock`), seconds since the epoch: modification times are its own.
        retention_days: `DiskPolicy.scratch_retention_days`.
        kubeadm_runs: a kubeadm process or upgrade job is running on the node; then nothing is chosen.
    """
    raise NotImplementedError
