"""The button: pull or release the brake, read it back, and say what goes on and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nightshift.clients.kube_api import BRAKE_NAME, NAMESPACE
from nightshift.domain.brake import (
    RELEASE,
    Brake,
    BrakeMode,
    NodeAtWork,
    foresee,
    parse_until,
    read_brake,
    said,
)
from nightshift.domain.debts import OWNER_ANNOTATION
from nightshift.domain.errors import ConfigError, NightshiftError, UnreachableError, VerificationError
from nightshift.domain.facts import NodeFacts
from nightshift.steps.brake import KUBEADM_JOB, brake_sentence
from nightshift.steps.session import Session, on_all, patiently


def set_brake(
    session: Session, action: str, reason: str | None, until: str | None, by: str
) -> dict[str, Any]:
    """Pull or release the brake; answer {"answer": on|off, "sentence"}: what goes on now, and what comes of it.

    Args:
        session: the cluster.
        action: "pause", "stop now" or "release".
        reason: why, for whoever reads the note of a held night.
        until: when it releases itself, ISO 8601; None or empty: when somebody releases it.
        by: who asks.

    Raises:
        ConfigError: BRAKE_INVALID, the form; API_FORBIDDEN.
        VerificationError: VERIFY_FAILED, the cluster did not keep it.
    """
    wanted = _wanted(action, reason, until, by, session.clock())
    before = patiently(session, "reading the brake", session.kube.brake)
    data = None if wanted is None else wanted.to_data()
    if before != (data or {}):
        patiently(session, "setting the brake", lambda: session.kube.set_brake(data))
    after = patiently(session, "reading the brake", session.kube.brake)
    if after != (data or {}):
        raise VerificationError(
            "VERIFY_FAILED",
            f"The brake is not what it should be: it says {after or 'nothing'}.",
            cause=f"Somebody else writes the ConfigMap {NAMESPACE}/{BRAKE_NAME} at the same time.",
            next_step="Look who does, then start this DAG again.",
        )
    head = brake_sentence(session, wanted) if wanted else _released(before, session.clock())
    sentence = f"{head} {_outlook(session, wanted)}"
    session.log(sentence)
    return {"answer": "on" if wanted else "off", "sentence": sentence}


def _wanted(action: str, reason: str | None, until: str | None, by: str, now: float) -> Brake | None:
    """The brake as the form describes it; None: released."""
    if action == RELEASE:
        return None
    moment = None
    if text := (until or "").strip():
        try:
            moment = parse_until(text)
        except ValueError as error:
            raise _invalid(f"{text!r} is no moment.") from error
        if moment <= now:
            raise _invalid(f"{said(moment)} has passed already.")
    if action not in list(BrakeMode):
        raise _invalid(f"{action!r} is nothing a brake can do.")
    return Brake(BrakeMode(action), (reason or "").strip(), by, moment)


def _invalid(message: str) -> ConfigError:
    return ConfigError(
        "BRAKE_INVALID",
        f"The brake stays as it is: {message}",
        cause="The form was filled in with what it cannot mean.",
        next_step="Start this DAG again with another moment (ISO 8601, e.g. 2027-01-15T06:00:00+00:00), or with none.",
    )


def _released(before: dict[str, str], now: float) -> str:
    """What was released."""
    was = read_brake(before, now)
    return f"The brake is off. It said: {was.sentence}" if was else "The brake is off; it was not on."


def _outlook(session: Session, brake: Brake | None) -> str:
    """What goes on in the cluster, and what comes of it. A brake that is set is set, whatever can be seen."""
    try:
        lease, nodes = session.kube.lease(), session.kube.nodes()
    except UnreachableError as error:
        return f"What goes on in the cluster cannot be seen ({error.cause.rstrip('.')})."
    holder = lease.holder if lease.is_live(session.clock()) else ""
    taken = [node for node in nodes if OWNER_ANNOTATION in node.annotations]
    return foresee(brake, holder, tuple(_at_work(session, taken, holder)) if holder else ())


def _at_work(session: Session, nodes: Sequence[NodeFacts], holder: str) -> Iterator[NodeAtWork]:
    """What goes on on the nodes that are taken."""
    for name, answer in on_all(nodes, lambda node: session.on(node).probe().jobs).items():
        if isinstance(answer, NightshiftError):
            yield NodeAtWork(name, None)
        else:
            running = tuple(job.step for job in answer if job.state == "running")
            begun = any(job.step == KUBEADM_JOB and job.run_id == holder for job in answer)
            yield NodeAtWork(name, running, begun)
