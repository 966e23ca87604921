"""Give a node back, if it was us who took it."""

from __future__ import annotations

from typing import Any

from nightshift.domain.debts import OWNER_ANNOTATION
from nightshift.domain.errors import VerificationError
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.steps.hold import hold
from nightshift.steps.session import Session, patiently


def uncordon_node(session: Session, node_name: str) -> dict[str, Any]:
    """Answer {"node", "uncordoned": bool, "sentence"}; a node cordoned by somebody else is left as it is.

    It came to the end of its upgrade: a mark of an earlier night that had set it aside goes.

    Raises:
        VerificationError: VERIFY_FAILED, the node still carries our mark.
    """
    with hold(session, []):
        is_done = patiently(
            session, f"uncordoning {node_name}", lambda: session.kube.uncordon(node_name, session.owner)
        )
        if QUARANTINE_ANNOTATION in session.node(node_name).annotations:
            session.log(f"{node_name} is not set aside any more")
            session.kube.annotate_node(node_name, {QUARANTINE_ANNOTATION: None})
        after = session.node(node_name)
    if OWNER_ANNOTATION in after.annotations:
        raise VerificationError(
            "VERIFY_FAILED",
            f"{node_name} still carries the mark of {after.annotations[OWNER_ANNOTATION]}.",
            cause="Another run cordoned it, or the API did not keep our change.",
            next_step="If no other run is active, clear this task; the sweeper repays what is left.",
        )
    sentence = f"{node_name} takes pods again."
    if after.is_unschedulable:
        sentence = f"{node_name} stays cordoned: it was cordoned by somebody else."
    session.log(sentence)
    return {"node": node_name, "uncordoned": is_done, "sentence": sentence}
