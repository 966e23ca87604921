"""etcd's counters between two samples, as far as they tell of trouble that the histograms do not show.

Part of the gate etcd_latency, because that one has the window. A counter that is absent, or is lower than before in a
process that did not restart, makes the gate blind: what it would tell of is not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from nightshift.domain.facts import EtcdSample
from nightshift.domain.gates.findings import Finding
from nightshift.domain.verdicts import Outcome

_LEADER_CHANGES_LIMIT = 2  # one may be a passing hiccup, or somebody who moved the leader
_FAILED_LIMIT = 5  # as etcd's own alert, which allows them a quarter of an hour

# Field of EtcdSample -> etcd's name of it. Each is there from the first second of every etcd.
_TOTALS = {
    "leader_changes_total": "etcd_server_leader_changes_seen_total",
    "proposals_failed_total": "etcd_server_proposals_failed_total",
    "proposals_committed": "etcd_server_proposals_committed_total",
}
_PENDING = "etcd_server_proposals_pending"


def judge_counters(old: EtcdSample, new: EtcdSample) -> Iterator[Finding]:
    """Judge one member: leader changes, proposals that failed, proposals that wait and do not move.

    The two samples are of one process: a restart in between is told elsewhere.
    """
    unknown = _unknown(old, new)
    if unknown:
        yield Finding(
            Outcome.BLIND,
            "ETCD_UNREADABLE",
            f"etcd on {new.member} did not tell all of its counters over the window: {', '.join(unknown)}.",
            "A counter is absent from its metrics, is no number, or went back within the window.",
            "On the node: curl http://127.0.0.1:2381/metrics, and look for them. Then check again.",
            value=f"{len(unknown)} unknown",
            threshold="all known",
        )
    changes = gained(old.leader_changes_total, new.leader_changes_total)
    if changes:
        yield _leader_changed(new.member, changes)
    failed = gained(old.proposals_failed_total, new.proposals_failed_total)
    if failed is not None and failed >= _FAILED_LIMIT:
        yield Finding(
            Outcome.WARN,
            "ETCD_PROPOSALS_FAILED",
            f"etcd on {new.member} failed {failed:.0f} proposals within the window; from {_FAILED_LIMIT} on it is said.",
            "Writes were lost in an election, or the quorum was away for a moment.",
            "Look for elections and lost peers in the log of that etcd.",
            value=f"{failed:.0f} failed",
            threshold=f"fewer than {_FAILED_LIMIT}",
        )
    if _is_waiting(old.proposals_pending) and _is_waiting(new.proposals_pending):
        moved = gained(old.proposals_committed, new.proposals_committed)
        if moved == 0:
            yield Finding(
                Outcome.BLOCK,
                "ETCD_PROPOSALS_STUCK",
                f"etcd on {new.member} has {new.proposals_pending:.0f} proposals waiting and committed none within the window.",
                "The cluster takes no writes: no quorum, or a leader whose disk hangs.",
                "Look at the members, the network between them and the leader's disk; then check again.",
                value=f"{new.proposals_pending:.0f} pending, none committed",
                threshold="pending ones are committed",
            )


def _unknown(old: EtcdSample, new: EtcdSample) -> list[str]:
    """The counters that say nothing about the window."""
    unknown = [
        name for field, name in _TOTALS.items() if gained(getattr(old, field), getattr(new, field)) is None
    ]
    if not (_is_number(old.proposals_pending) and _is_number(new.proposals_pending)):
        unknown.append(_PENDING)
    return unknown


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _is_waiting(pending: float | None) -> bool:
    return pending is not None and math.isfinite(pending) and pending > 0


def _leader_changed(member: str, changes: float) -> Finding:
    return Finding(
        Outcome.BLOCK if changes >= _LEADER_CHANGES_LIMIT else Outcome.WARN,
        "ETCD_LEADER_CHANGED",
        f"etcd on {member} saw {changes:.0f} leader change{'' if changes == 1 else 's'} within the window; "
        f"from {_LEADER_CHANGES_LIMIT} on it blocks.",
        "Heartbeats come late: a slow disk or CPU under the leader, or the network between the members.",
        "Look for elections in the logs of the members (raft.node: … lost leader), and check again when they have ended.",
        value=f"{changes:.0f} leader changes",
        threshold=f"fewer than {_LEADER_CHANGES_LIMIT}",
    )


def gained(old: float | None, new: float | None) -> float | None:
    """What a counter grew by; None when it is absent, no number, or was reset in between."""
    if old is None or new is None or not math.isfinite(new - old) or new < old:
        return None
    return new - old
