"""Reap old kubeadm leftovers on every node; best effort: an old copy left lying is no reason to stop a night."""

from __future__ import annotations

from typing import Any

from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.scratch import choose_reapable
from nightshift.steps.hold import describe_holder
from nightshift.steps.session import Session, node_log, on_all

_MIB = 1024**2


def reclaim_scratch(session: Session, *, dry_run: bool = False) -> dict[str, Any]:
    """Answer {"sentence", "nodes": {name: {"removed": [...], "freed_bytes", "error": str|None}}}.

    A dry run says what would go, and removes nothing. Nor is anything removed while somebody else is at the cluster:
    this runs before the Lease is claimed, and one job per node is all that a node takes.

    Errors of single nodes are logged and returned; the disk gate afterwards sees what really is.
    """
    if other := _somebody_else(session):
        session.log(f"Nothing is removed: {other}")
        return {"sentence": f"Nothing is removed: {other}.", "nodes": {}}
    nodes: dict[str, dict[str, Any]] = {}
    for name, found in on_all(session.kube.nodes(), lambda node: _reclaim_on(session, node, dry_run)).items():
        if isinstance(found, NightshiftError):
            session.log(f"{name}: leftovers stay: {found}")
            found = {"removed": [], "freed_bytes": 0, "error": str(found)}
        nodes[name] = found
    removed = sum(len(n["removed"]) for n in nodes.values())
    freed = sum(n["freed_bytes"] for n in nodes.values())
    sentence = "A dry run removes nothing."
    if not dry_run:
        sentence = _what_went(removed, freed, sorted(name for name, node in nodes.items() if node["error"]))
    session.log(sentence)
    return {"sentence": sentence, "nodes": nodes}


def _somebody_else(session: Session) -> str:
    """Say who is at the cluster since when, if that is anybody but this run; else nothing."""
    lease = session.kube.lease()
    if lease.holder == session.owner or not lease.is_live(session.clock()):
        return ""
    return f"somebody is at this cluster: {describe_holder(lease)}"


def _what_went(removed: int, freed: int, failed: list[str]) -> str:
    stayed = f" On {', '.join(failed)} they stay or could not be looked at: see the log." if failed else ""
    if removed:
        return f"{removed} kubeadm leftovers removed, {freed / _MIB:.0f} MiB freed.{stayed}"
    return stayed.strip() or "No kubeadm leftovers older than the retention."


def _reclaim_on(session: Session, node: NodeFacts, dry_run: bool) -> dict[str, Any]:
    """One node: look, choose, remove by exact name, look again."""
    days = session.policy.disk.scratch_retention_days
    port = session.on(node)
    probe = port.probe()
    plan = choose_reapable(probe.scratch, probe.clock, days)
    if not plan.reap:
        return {"removed": [], "freed_bytes": 0, "error": None}
    amount = f"{len(plan.reap)} leftovers, {plan.reap_bytes / _MIB:.0f} MiB"
    if dry_run:
        session.log(f"{node.name}: would remove {amount}")
        return {"removed": [], "freed_bytes": 0, "error": None}
    if probe.kubeadm_pids:
        pids = ", ".join(map(str, probe.kubeadm_pids))
        why = f"kubeadm is running (pid {pids}); {amount}, stay until the next night"
        session.log(f"{node.name}: {why}")
        return {"removed": [], "freed_bytes": 0, "error": why}
    # Once more, after the token was read: whoever claims later fences the node first, and the token is too old then.
    if other := _somebody_else(session):
        why = f"{other}; {amount}, stay until the next night"
        session.log(f"{node.name}: {why}")
        return {"removed": [], "freed_bytes": 0, "error": why}
    session.log(f"{node.name}: removing {amount}")
    limit = session.policy.limits.package_job_seconds
    # The token as the node knows it: this runs before the Lease is claimed, and a newer run fences it out.
    port.run_job(
        "reclaim-scratch",
        probe.token,
        session.owner,
        [str(days), *plan.reap],
        limit,
        node_log(session, node.name),
    )
    left = {entry.name for entry in port.probe().scratch}
    removed = [name for name in plan.reap if name not in left]
    stayed = [name for name in plan.reap if name in left]
    freed = sum(e.size_bytes for e in probe.scratch if e.name in removed)
    error = f"still there after removal: {', '.join(stayed)}" if stayed else None
    return {"removed": removed, "freed_bytes": freed, "error": error}
