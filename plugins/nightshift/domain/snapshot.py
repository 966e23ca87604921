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
    """Compare the saved snapshot with what restoring it gave; an unread or empty side is never a match."""
    left, right = asdict(saved), asdict(restored)
    evidence = {"saved": left, "restored": right}
    unread = [
        f"{name} of the {side}"
        for side, state in (("saved", left), ("restored", right))
        for name, value in state.items()
        if not value
    ]
    if unread:
        return Verdict(
            GATE,
            Outcome.BLIND,
            "SNAPSHOT_UNREADABLE",
            f"The snapshot is not proven: {', '.join(unread)} copy could not be read or is zero.",
            cause="etcdutl or the throwaway etcd gave no usable answer.",
            resolution="Read the snapshot-etcd job's output; then take the snapshot again.",
            evidence=evidence,
        )
    different = [f"{name} {left[name]} became {right[name]}" for name in left if left[name] != right[name]]
    if different:
        return Verdict(
            GATE,
            Outcome.BLOCK,
            "SNAPSHOT_MISMATCH",
            f"The restored snapshot is not the saved one: {'; '.join(different)}.",
            cause="The snapshot file is damaged, or it was restored from another file.",
            resolution="Take it again; if it repeats, check etcd's data (etcdutl check) before any upgrade.",
            value=_said(restored),
            threshold=_said(saved),
            evidence=evidence,
        )
    said = _said(saved)
    message = f"The snapshot was restored and is the same: {said}."
    return Verdict(GATE, Outcome.PASS, "OK", message, value=said, threshold=said, evidence=evidence)


def require_proven(saved: SnapshotState, restored: SnapshotState) -> Verdict:
    """Return the passing verdict of `compare_snapshot`.

    Raises:
        VerificationError: SNAPSHOT_MISMATCH or SNAPSHOT_UNREADABLE, with both sides named.
    """
    verdict = compare_snapshot(saved, restored)
    if verdict.outcome is not Outcome.PASS:
        raise VerificationError(
            verdict.code, verdict.message, cause=verdict.cause, next_step=verdict.resolution
        )
    return verdict


def _said(state: SnapshotState) -> str:
    return f"revision {state.revision}, {state.key_count} keys, hash {state.hash}"
