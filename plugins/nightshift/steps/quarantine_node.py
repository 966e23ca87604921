"""Set one failed worker aside for the night, or say why the night stops instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.errors import UnreachableError, VerificationError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.quarantine import (
    QUARANTINE_ANNOTATION,
    new_quarantine,
    read_quarantine,
    set_aside_by,
    why_not,
)
from nightshift.domain.recovery import work_on
from nightshift.steps.hold import hold
from nightshift.steps.session import Session, patiently


def quarantine_node(session: Session, node_name: str, failure: Mapping[str, Any] | None) -> dict[str, Any]:
    """Answer {"answer": "quarantined"|"stop", "node", "reason", "sentence"}.

    A node that was set aside is uncordoned if it was us who cordoned it, also one that is not Ready: its own taint keeps
    pods away until it is. One that cannot be reached keeps cordon and mark, as a debt for the recovery: whether
    work still runs there is unknown.

    Args:
        session: the cluster.
        node_name: a worker, not of the canary's wave, whose upgrade failed.
        failure: {"step", "code"} of the step that failed; None when none left a word.

    Raises:
        VerificationError: VERIFY_FAILED, the API did not keep the mark.
    """
    with hold(session, []):
        node = session.node(node_name)
        work = _work(session, node)
        refusal = why_not(failure, session.policy.workers)
        if not refusal and work:
            refusal = f"work still runs there: {', '.join(work)}"
        if refusal or failure is None:
            return _said(session, "stop", node_name, "", f"{node_name} is not set aside: {refusal}.")
        reason = str(failure["code"])
        refusal = _mark(session, node_name, reason)
        if refusal:
            return _said(session, "stop", node_name, reason, f"{node_name} is not set aside: {refusal}.")
        if work is not None:
            patiently(
                session, f"uncordoning {node_name}", lambda: session.kube.uncordon(node_name, session.owner)
            )
        return _said(session, "quarantined", node_name, reason, _sentence(session.node(node_name), reason))


def _work(session: Session, node: NodeFacts) -> tuple[str, ...] | None:
    """What still runs on the node; None: it cannot be reached."""
    try:
        return work_on(session.on(node).probe())
    except UnreachableError as error:
        session.log(f"{node.name}: {error}")
        return None


def _mark(session: Session, node_name: str, reason: str) -> str:
    """Mark the node, then count: of two nodes of one wave none may overlook the other. Says why not; "" when done."""
    mark = new_quarantine(reason, session.owner, session.clock())
    _annotate(session, node_name, mark.to_text())
    marked = set_aside_by(session.owner, patiently(session, "reading the nodes", session.kube.nodes))
    limit = session.policy.workers.max_quarantined
    if len(marked) > limit:
        _annotate(session, node_name, None)
        others = ", ".join(name for name in marked if name != node_name)
        return f"{others} is already, and the policy allows {limit} per night (workers.max_quarantined)"
    if read_quarantine(session.node(node_name)) != mark:
        raise VerificationError(
            "VERIFY_FAILED",
            f"{node_name} does not carry the mark {QUARANTINE_ANNOTATION} that was just written.",
            cause="Something else writes the annotations of this node.",
            next_step=f"Look who does: kubectl get node {node_name} -o yaml --show-managed-fields",
        )
    return ""


def _annotate(session: Session, node_name: str, value: str | None) -> None:
    values = {QUARANTINE_ANNOTATION: value}
    patiently(session, f"marking {node_name}", lambda: session.kube.annotate_node(node_name, values))


def _sentence(node: NodeFacts, reason: str) -> str:
    state = "stays cordoned" if node.is_unschedulable else "takes pods again"
    return f"{node.name} is set aside ({reason}) and {state}; the other workers go on."


def _said(session: Session, answer: str, node: str, reason: str, sentence: str) -> dict[str, Any]:
    session.log(sentence)
    return {"answer": answer, "node": node, "reason": reason, "sentence": sentence}
