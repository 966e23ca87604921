"""Whether an etcd snapshot is proven: restored into a throwaway etcd, it must be the same data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from nightshift.domain.errors import VerificationError
from nightshift.domain.verdicts import Outcome, Verdict

GATE = "snapshot"
_BUNDLE = re.compile(r"etcd-(\d{8}T\d{6})Z\.tar\.gz")  # as include/scripts/node/jobs/snapshot-etcd calls it


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


def is_recent(taken: object, now: float, max_age_seconds: float) -> bool:
    """Tell whether a snapshot of that time is still a way back; an unknown time or one in the future is not."""
    return isinstance(taken, int | float) and 0 <= now - taken <= max_age_seconds


@dataclass(frozen=True)
class Bundle:
    """The file a snapshot job made: plain name and SHA-256 in hex."""

    name: str
    sha256: str


def named_bundle(result: Mapping[str, Any]) -> Bundle:
    """Return the bundle that the job's result names; any other file on the node is not proven.

    Raises:
        VerificationError: SNAPSHOT_UNREADABLE, it names none.
    """
    name, sha256 = result.get("bundle"), result.get("bundle_sha256")
    if isinstance(name, str) and isinstance(sha256, str) and name and sha256:
        return Bundle(name, sha256)
    raise VerificationError(
        "SNAPSHOT_UNREADABLE",
        "The snapshot job did not say which bundle it made.",
        cause="Its RESULT line has no bundle with its SHA-256.",
        next_step="Read the snapshot-etcd job's output; then take the snapshot again.",
    )


def require_intact(bundle: Bundle, received_sha256: str) -> None:
    """Refuse bytes that are not those which were proven.

    Raises:
        VerificationError: SNAPSHOT_MISMATCH.
    """
    if received_sha256 != bundle.sha256:
        raise VerificationError(
            "SNAPSHOT_MISMATCH",
            f"What came off the node as {bundle.name} has SHA-256 {received_sha256}, not {bundle.sha256}.",
            cause="The file on the node is not the one that its job made and proved, or it cannot be read whole.",
            next_step="Find out what changed it or whether the disk has errors; then take the snapshot again.",
        )


def _said(state: SnapshotState) -> str:
    return f"revision {state.revision}, {state.key_count} keys, hash {state.hash}"


def bundle_time(name: str) -> float | None:
    """When a bundle of this name was begun, seconds since the epoch, also of a copy that died half way; None: no bundle's."""
    match = _BUNDLE.search(name)
    try:
        return datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp() if match else None
    except ValueError:
        return None
