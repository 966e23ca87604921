"""Say what tonight would be, from what is there now; reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.drain import plan_drain
from nightshift.domain.errors import NightshiftError
from nightshift.domain.plan import Plan
from nightshift.domain.preview import preview
from nightshift.domain.rehearsal import reason_against
from nightshift.domain.target import TargetChoice
from nightshift.domain.verdicts import Answer, Decision
from nightshift.steps.brake import measured_seconds
from nightshift.steps.session import Session, on_all


def say_night(session: Session, decision: Decision, plan: Plan, target: TargetChoice) -> dict[str, Any]:
    """Answer the decision of a dry run: {"answer": dry_run, "sentence", "preview", …}; its plan is carried out by nobody."""
    evicted = _evicted(session)
    seen = preview(
        plan,
        decision,
        target=target.version or "",
        members=sum(node.is_control_plane for node in session.kube.nodes()),
        evicted=evicted,
        fetched_bytes=_fetched(decision),
        measured_seconds=measured_seconds(session),
        uploads=_uploads(decision),
        rehearsal=_rehearsal(session, plan, target),
    )
    for line in seen.lines():
        session.log(line)
    return {
        **decision.to_dict(),
        "answer": Answer.DRY_RUN.value,
        "sentence": seen.sentence,
        "preview": seen.to_dict(),
        "plan": None,
    }


def _evicted(session: Session) -> dict[str, tuple[str, ...]] | None:
    """Pods that the drain of each node would evict now; None when they cannot be read."""
    try:
        budgets = session.kube.budgets()
        answers = on_all(
            session.kube.nodes(),
            lambda node: plan_drain(session.kube.pods_on(node.name), budgets, session.policy.drain),
        )
    except NightshiftError as error:
        session.log(f"What the drains would evict could not be read: {error}")
        return None
    found: dict[str, tuple[str, ...]] = {}
    for name, answer in answers.items():
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: what its drain would evict could not be read: {answer}")
            return None
        found[name] = tuple(f"{pod.namespace}/{pod.name}" for pod in answer.evict)
    return found


def _fetched(decision: Decision) -> Mapping[str, int]:
    """Bytes of images each node would fetch, as the disk gate forecast them."""
    evidence = next((v.evidence for v in decision.verdicts if v.gate == "disk_usage"), {})
    fetched = evidence.get("fetched_bytes") or {}
    return {node: int(size) for node, size in fetched.items()}


def _uploads(decision: Decision) -> list[str]:
    """What would be written into kubeadm-config before the first node, as the drift gate found it."""
    evidence = next((v.evidence for v in decision.verdicts if v.gate == "drift"), {})
    return [f"Into kubeadm-config would be written, {said}." for said in evidence.get("uploads") or ()]


def _rehearsal(session: Session, plan: Plan, target: TargetChoice) -> str:
    """Whether the night would begin with a rehearsal; a dry run has none, for it takes no snapshot."""
    against = reason_against(session.policy.rehearse, target.kind, has_control_plane=bool(plan.control_plane))
    if against is not None:
        return f"Nothing would be rehearsed: {against}."
    return f"kube-apiserver {target.version} would be rehearsed on the snapshot before anything is changed."
