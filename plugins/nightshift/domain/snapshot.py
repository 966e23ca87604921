"""Whether an etcd snapshot is proven: restored into a throwaway etcd, it must be the same data."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nightshift.domain.errors import VerificationError
from nightshift.domain.verdicts import Outcome, Verdict

GATE = "snapshot"


@dataclass(frozen=True)
class SnapshotState:
    """What identifies the content of an etcd: None means it could not be read.

    Args:
        revision: etcd revision.
        key_count: number of keys.
        hash: content hash (the two sides must use the same algorithm at the same revision).
    """

    revision: int | None
    key_count: int | None
    hash: int | str | None


def compare_snapshot(saved: SnapshotState, restored: SnapshotState) -> Verdict:
    """Compare the saved snapshot with what came out of restoring it; an unread or zero side is never a match."""
    raise NotImplementedError


def require_proven(saved: SnapshotState, restored: SnapshotState) -> Verdict:
    """Return the passing verdict of `compare_snapshot`.

    Raises:
        VerificationError: SNAPSHOT_MISMATCH, with both sides named.
    """
    raise NotImplementedError
