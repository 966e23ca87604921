"""A proven way back, off the node: saved, restored into a throwaway etcd, compared, fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.domain.errors import BlindError, NightshiftError, UnreachableError, VerificationError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.retention import expired_snapshots
from nightshift.domain.snapshot import (
    Bundle,
    SnapshotState,
    bundle_time,
    is_recent,
    named_bundle,
    require_intact,
    require_proven,
)
from nightshift.domain.store_paths import path_safe
from nightshift.steps.brake import require_may_begin
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import Held, hold, push
from nightshift.steps.session import Session, node_log

SNAPSHOTS = "snapshots"
_JOB = "snapshot-etcd"


def snapshot(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"path", "sha256", "bundle", "file", "node", "saved", "restored", "kept", "taken", "sentence"}.

    A snapshot this run has already proven and stored is kept: a cleared task needs no second one. It is taken anew
    when it is older than `limits.snapshot_max_age_seconds`; the older stays beside it.

    Raises:
        VerificationError: SNAPSHOT_MISMATCH, the restored data is not the saved data, or what came off the node is
            not the bundle that was proven; SNAPSHOT_UNREADABLE.
        BlindError: ETCD_UNHEALTHY, no member to take it from.
    """
    require_may_begin(session)
    base = f"{SNAPSHOTS}/{path_safe(session.run_id)}"
    if known := _known(session, base):
        session.log(f"Kept: {known['sentence']}")
        return {**known, "kept": True}
    node = healthy_member(session, [n for n in session.kube.nodes() if n.is_control_plane])
    with hold(session, [node]) as held, evidence_first(session, node, _JOB, session.clock()):
        taken = session.clock()
        found, bundle = _take(session, node, held)
        file = f"{base}/{path_safe(bundle.name)}"
        path = _store(session, node, bundle, file)
    target = choice["target"]["version"]
    sentence = (
        f"etcd snapshot of {node.name} restored and compared (revision {found['saved']['revision']}, "
        f"{found['saved']['key_count']} keys), stored at {path}."
    )
    entry = {
        **found,
        "path": path,
        "file": file,
        "node": node.name,
        "taken": taken,
        "before": target,
        "sentence": sentence,
    }
    session.store.write_json(f"{base}.json", entry)
    push(session, {"k8s_upgrade_snapshot_taken": 1.0})
    session.log(sentence)
    return {**entry, "kept": False}


def require_way_back(session: Session) -> dict[str, Any]:
    """Return what this run's proven snapshot is (as `snapshot` answers it), however old it is by now.

    Without one no control plane is changed.

    Raises:
        VerificationError: SNAPSHOT_ABSENT.
    """
    base = f"{SNAPSHOTS}/{path_safe(session.run_id)}"
    known = session.store.read_json(f"{base}.json") or {}
    if not known.get("file") or not session.store.exists(known["file"]):
        raise VerificationError(
            "SNAPSHOT_ABSENT",
            f"Run {session.run_id} has no proven etcd snapshot in the store.",
            cause="The task `snapshot` was marked as success before it was done, or its file was removed.",
            next_step="Clear `snapshot` with downstream: it takes one, and the night goes on from there.",
        )
    return known


def forget_old_snapshots(session: Session) -> tuple[str, ...]:
    """Remove the snapshots of old runs, as the policy's `snapshots` says; returns these runs' names.

    A bundle goes before the file that names it: interrupted, the next night removes the rest. One that cannot be read or
    removed is said and keeps none of the others; one whose age nobody can tell stays.
    """
    policy, listed = session.policy.snapshots, session.store.names(SNAPSHOTS)
    runs = sorted({name.removesuffix(".json") for name in listed if not name.startswith(".")})
    made = {run: found for run in runs if (found := _made(session, run)) is not None}
    gone = expired_snapshots(made, listed, session.clock(), policy.keep_days, policy.keep_runs)
    removed = tuple(run for run in gone if _is_removed(session, run))
    if removed:
        session.log(f"Snapshots older than {policy.keep_days} days were removed: {', '.join(removed)}")
    return removed


def _made(session: Session, run: str) -> float | None:
    """When a run's snapshot was taken, seconds since the epoch: as its entry says, else as its bundle is called."""
    try:
        taken = (session.store.read_json(f"{SNAPSHOTS}/{run}.json") or {}).get("taken")
        if isinstance(taken, int | float):
            return float(taken)
        times = [bundle_time(name) for name in session.store.names(f"{SNAPSHOTS}/{run}")]
    except NightshiftError as error:
        session.log(f"Snapshot of {run}: its age cannot be read: {error}")
        return None
    return max((time for time in times if time is not None), default=None)


def _is_removed(session: Session, run: str) -> bool:
    try:
        session.store.remove(f"{SNAPSHOTS}/{run}")
        session.store.remove(f"{SNAPSHOTS}/{run}.json")
    except NightshiftError as error:
        session.log(f"Snapshot of {run} could not be removed: {error}")
        return False
    return True


def _known(session: Session, base: str) -> dict[str, Any] | None:
    """What this run has stored already and may still rely on."""
    known = session.store.read_json(f"{base}.json")
    if not known or not known.get("file") or not session.store.exists(known["file"]):
        return None
    limit = session.policy.limits.snapshot_max_age_seconds
    if is_recent(known.get("taken"), session.clock(), limit):
        return known
    session.log(
        f"This run's snapshot at {known['path']} was not taken within the last {limit} s: taking another"
    )
    return None


def healthy_member(session: Session, nodes: Sequence[NodeFacts]) -> NodeFacts:
    """A control-plane node whose etcd has a leader; a follower rather than the leader: it has less to do."""
    leaders = []
    for node in nodes:
        try:
            text = session.on(node).etcd_metrics()
        except UnreachableError as error:
            session.log(f"{node.name}: {error}")
            continue
        sample = parse_etcd_metrics(text, node.name, session.clock()) if text else None
        if sample and sample.has_leader:
            if not sample.is_leader:
                return node
            leaders.append(node)
    if leaders:
        return leaders[0]
    raise BlindError(
        "ETCD_UNHEALTHY",
        f"No etcd member to snapshot among {', '.join(n.name for n in nodes) or 'no control-plane nodes'}.",
        cause="None could be reached and said that it has a leader.",
        next_step="Look at etcd on these nodes (crictl logs), then clear this task.",
    )


def _take(session: Session, node: NodeFacts, held: Held) -> tuple[dict[str, Any], Bundle]:
    """The node-side job; what it says is judged here, not there."""
    session.log(f"Taking the snapshot on {node.name}")
    outcome = session.on(node).run_job(
        _JOB,
        held.token,
        session.owner,
        [],
        session.policy.limits.snapshot_job_seconds,
        node_log(session, node.name),
        held.check,
    )
    result = outcome.result or {}
    saved, restored = result.get("saved") or {}, result.get("restored") or {}
    require_proven(_state(saved), _state(restored))
    bundle = named_bundle(result)
    return {"saved": saved, "restored": restored, "bundle": bundle.name, "sha256": bundle.sha256}, bundle


def _store(session: Session, node: NodeFacts, bundle: Bundle, relative: str) -> str:
    """Bring the proven bundle off the node; what is another never appears under its name."""

    def fill(target: BinaryIO) -> None:
        require_intact(bundle, session.on(node).fetch("snapshot", bundle.name, target))

    return session.store.write_stream(relative, fill)


def _state(side: Mapping[str, Any]) -> SnapshotState:
    return SnapshotState(side.get("revision"), side.get("key_count"), side.get("hash"))
