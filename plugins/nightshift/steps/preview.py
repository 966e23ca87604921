"""Say what tonight would be, from what is there now; reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.drain import plan_drain
from nightshift.domain.errors import NightshiftError
from nightshift.domain.plan import Plan
from nightshift.domain.preview import preview
from nightshift.domain.verdicts import Answer, Decision
from nightshift.steps.brake import measured_seconds
from nightshift.steps.session import Session, on_all


def say_night(session: Session, decision: Decision, plan: Plan) -> dict[str, Any]:
    """Answer the decision of a dry run: {"answer": dry_run, "sentence", "preview", …}; its plan is carried out by nobody."""
    evicted = _evicted(session)
    seen = preview(
        plan,
        decision,
        members=sum(node.is_control_plane for node in session.kube.nodes()),
        evicted=evicted,
        fetched_bytes=_fetched(decision),
        measured_seconds=measured_seconds(session),
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
