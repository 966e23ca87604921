"""The one recovery: fence, repay, empty the Lease. Idempotent, safe beside itself and beside a new run.

Called by the night's teardown and failure callback (for their own run) and by the sweeper (for whoever died).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import LeaseFacts, NodeFacts, NodeProbe
from nightshift.domain.owner import meant_owner
from nightshift.domain.recovery import DEBT_ANNOTATIONS, OWNER_ANNOTATION, RecoveryPlan, plan_recovery
from nightshift.steps.hold import RUN_ANNOTATION, push
from nightshift.steps.session import Session, on_all, patiently

_FENCE_TRIES = 3
_POLL_SECONDS = 5.0


@dataclass(frozen=True)
class _Look:
    """The cluster at one moment, and what may be repaired in it."""

    lease: LeaseFacts
    nodes: tuple[NodeFacts, ...]
    marks: Mapping[str, str]  # nightshift.io/ annotations of our namespace
    plan: RecoveryPlan

    @property
    def has_debts(self) -> bool:
        """Tell whether anything at all was left behind."""
        return bool(self.lease.holder or self.marks or self.indebted)

    @property
    def indebted(self) -> tuple[str, ...]:
        """Nodes that carry marks."""
        return tuple(n.name for n in self.nodes if _has_marks(n))


def recover(
    session: Session, own_run_id: str | None, reason: str, *, wait_seconds: float = 0.0
) -> dict[str, Any]:
    """Answer {"answer": recovered|nothing|live|waiting|partial, "done": [...], "remaining": [...], "sentence"}.

    Args:
        session: the cluster.
        own_run_id: the run that ends itself, by Airflow's run id or as an owner; None (sweeper) or empty repairs
            only what nobody alive owns: Lease expired and no job active. An unreachable node is unknown, not
            dead: its debts stay.
        reason: why recovery was called, for the log.
        wait_seconds: how long to wait for jobs that still run, and for an API that is away.
    """
    session.log(f"Recovery: {reason}")
    own = _meant(session, own_run_id)
    deadline = session.clock() + wait_seconds
    look = patiently(session, "recovery", lambda: _look(session, own), wait_seconds)
    if not look.plan.may_act:
        return _said(session, "live", [], [], look.plan.reason)
    if not look.has_debts:
        if own is not None:
            push(session, {"k8s_upgrade_in_flight": 0.0})  # an earlier push may have failed
        return _said(session, "nothing", [], [], "Nothing was left behind.")
    if own is None and look.plan.wait_for:
        # Not fenced either: a live run whose API is away cannot renew while its job works.
        return _said(session, "waiting", [], list(look.plan.wait_for), look.plan.reason)
    fenced = _fence(session, look, own)
    if fenced is None:
        return _said(session, "live", [], [], "Somebody took the Lease meanwhile; the cluster is theirs.")
    while fenced.plan.wait_for and session.clock() < deadline:
        session.log(fenced.plan.reason)
        session.sleep(_POLL_SECONDS)
        fenced = _look(session, own)
    return _repay(session, fenced)


def _meant(session: Session, run_id: str | None) -> str | None:
    """The owner that ends itself; None when nobody was named."""
    named = (run_id or "").strip()
    return meant_owner(named, session.installation, session.policy.name) if named else None


def _look(session: Session, own: str | None) -> _Look:
    """Read everything; nodes are asked over SSH only when there is something to decide."""
    lease, nodes = session.kube.lease(), session.kube.nodes()
    marks = session.kube.namespace_annotations()
    look = _Look(lease, nodes, marks, plan_recovery(lease, nodes, {}, session.clock(), own))
    if not look.plan.may_act or not look.has_debts:
        return look
    probes: dict[str, NodeProbe | None] = {}
    for name, answer in on_all(nodes, lambda node: session.on(node).probe()).items():
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: {answer}")
        probes[name] = None if isinstance(answer, NightshiftError) else answer
    return _Look(lease, nodes, marks, plan_recovery(lease, nodes, probes, session.clock(), own))


def _fence(session: Session, look: _Look, own: str | None) -> _Look | None:
    """Raise the token in the Lease and on every reachable node; None when somebody alive took the Lease.

    From here on no command of the old run is taken. A job that already runs is left to its end: killing
    kubeadm in the middle of a manifest swap is worse than waiting.
    """
    for _ in range(_FENCE_TRIES):
        bumped = session.kube.bump_token(look.lease)
        if bumped is not None:
            _fence_nodes(session, [n for n in look.nodes if n.name in look.plan.fence], bumped.token)
            return _Look(bumped, look.nodes, look.marks, look.plan)
        look = _look(session, own)
        if not look.plan.may_act:
            return None
    return None


def _fence_nodes(session: Session, nodes: list[NodeFacts], token: int) -> None:
    """Raise the token where it can be raised; an unreachable node keeps its debts anyway."""
    for name, error in on_all(nodes, lambda node: session.on(node).fence(token)).items():
        if isinstance(error, NightshiftError):
            session.log(f"{name}: not fenced: {error}")
    session.log(f"Fenced with token {token}: {', '.join(n.name for n in nodes) or 'no node'}")


def _repay(session: Session, look: _Look) -> dict[str, Any]:
    """Do what the plan allows, Lease last; then look again and say what is left."""
    now = session.kube.lease()
    if (now.holder, now.token) != (look.lease.holder, look.lease.token):
        return _said(session, "live", [], [], f"Run {now.holder or 'nobody'} has the Lease by now.")
    done = [*_repay_nodes(session, look), *_clear_marks(session, look)]
    if look.plan.empty_lease and session.kube.release_lease(look.lease.holder, look.lease.token):
        done.append(f"Lease of {look.lease.holder} emptied, token {look.lease.token} kept")
    left = [
        f"{n.name} still carries our marks"
        for n in session.kube.nodes()
        if _is_left(n, look.plan.drop_annotations)
    ]
    remaining = [*look.plan.wait_for, *look.plan.unknown, *left]
    if look.plan.wait_for:
        answer = "waiting"
    elif remaining:
        answer = "partial"
    else:
        answer = "recovered"
    sentence = "; ".join(done) + "." if done else "Nothing could be repaired yet."
    if remaining:
        sentence += f" Left for the next recovery: {'; '.join(remaining)}."
    return _said(session, answer, done, remaining, sentence)


def _repay_nodes(session: Session, look: _Look) -> list[str]:
    """Uncordon what a run cordoned, and drop its marks. Only the owner that was seen: a new run's mark stays."""
    done = []
    owners = {n.name: n.annotations.get(OWNER_ANNOTATION) for n in look.nodes}
    for name in look.plan.uncordon:
        if session.kube.uncordon(name, owners[name]):
            done.append(f"{name} uncordoned")
    for name in look.plan.drop_annotations:
        if name not in look.plan.uncordon:
            session.kube.drop_node_annotations(name)
            done.append(f"marks of {name} dropped")
    return done


def _clear_marks(session: Session, look: _Look) -> list[str]:
    """Namespace annotations and the in-flight gauge, unless a new run has put up its own meanwhile."""
    if not look.plan.clear_in_flight:
        return []
    marks = session.kube.namespace_annotations()
    if marks.get(RUN_ANNOTATION) != look.marks.get(RUN_ANNOTATION):
        return []
    if marks:
        session.kube.set_namespace_annotations(dict.fromkeys(marks))
    push(session, {"k8s_upgrade_in_flight": 0.0})
    return ["in-flight marks cleared"]


def _is_left(node: NodeFacts, dropped: tuple[str, ...]) -> bool:
    """A node that was to be clean by now and is not."""
    return node.name in dropped and _has_marks(node)


def _has_marks(node: NodeFacts) -> bool:
    """Tell whether a run left its marks on this node."""
    return any(key in node.annotations for key in DEBT_ANNOTATIONS)


def _said(
    session: Session, answer: str, done: list[str], remaining: list[str], sentence: str
) -> dict[str, Any]:
    session.log(f"Recovery {answer}: {sentence}")
    return {"answer": answer, "done": done, "remaining": remaining, "sentence": sentence}
