"""The owner's word in the night: brake, window, frozen dates. Asked before whatever is begun and inside every wait.

Up to the moment in which kubeadm begins on a node, the word ends the work there: the node is given back as it was. From
then on the node is carried to its end, unless the brake says "stop now": that ends it after the job that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nightshift.clients.kube_api import BRAKE_NAME, NAMESPACE
from nightshift.domain.brake import RELEASE, Brake, BrakeMode, read_brake
from nightshift.domain.errors import HeldError, NightshiftError, StoppedError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.limits import node_seconds
from nightshift.domain.verdicts import Answer, Outcome, Verdict
from nightshift.domain.window import check_fit, check_window
from nightshift.steps.session import Session, patiently

KUBEADM_JOB = "kubeadm-upgrade"
KUBELET_JOB = "kubelet-upgrade"
MEASURED_FILE = "node_seconds.json"
_ASK_SECONDS = 5.0  # between two looks inside a wait


@dataclass(frozen=True)
class Hold:
    """Why nothing may be begun now, by the owner's own word."""

    code: str
    sentence: str
    is_stop: bool = False


def held(session: Session, nodes: Sequence[str] = ()) -> Hold | None:
    """What keeps `nodes` (or, when none is named, any other step) from being begun now; None: nothing."""
    brake = read_brake(session.kube.brake(), session.clock())
    if brake is not None:
        return Hold("BRAKE_ON", brake_sentence(session, brake), brake.mode is BrakeMode.STOP)
    now = datetime.fromtimestamp(session.clock(), UTC)
    for verdict in (check_window(session.policy.window, now), _fits(session, nodes, now)):
        if verdict.outcome is not Outcome.PASS:
            again = f" {verdict.look_again.sentence}" if verdict.look_again else ""
            return Hold(verdict.code, f"{verdict.message}{again}")
    return None


def may_go_on(session: Session, nodes: Sequence[str] = ()) -> dict[str, Any]:
    """Answer {"answer": go|held, "code", "sentence"}: may these nodes be begun now?

    It waits for an API that is away. Once a kubelet of another minor has started, it starts its static pods anew; when the
    API was away meanwhile, in its own time of back-off (40 s and more), after the node was verified.
    """
    found = patiently(session, "reading the brake", lambda: held(session, nodes))
    if found is None:
        return {"answer": Answer.GO.value, "code": "OK", "sentence": "The window is open, the brake is off."}
    session.log(f"held: {found.sentence}")
    return {"answer": Answer.HELD.value, "code": found.code, "sentence": found.sentence}


def _fits(session: Session, nodes: Sequence[str], now: datetime) -> Verdict:
    measured = measured_seconds(session) if nodes else {}
    return check_fit(session.policy.window, now, nodes, measured, node_seconds(session.policy))


def measured_seconds(session: Session) -> dict[str, float]:
    """How long each node took last time; what is not known counts as never measured."""
    try:
        known = session.store.read_json(MEASURED_FILE) or {}
    except NightshiftError as error:
        session.log(f"How long nodes took is not known, their limits count: {error.cause}")
        known = {}
    return {name: float(seconds) for name, seconds in known.items() if isinstance(seconds, int | float)}


def require_may_begin(session: Session) -> None:
    """Let a step begin that takes no node.

    Raises:
        HeldError: with the code of what holds it.
    """
    found = patiently(session, "reading the brake", lambda: held(session))
    if found is not None:
        raise _held_error(found)


def asking(session: Session, node: NodeFacts, job: str, *, begins: bool = False) -> Callable[[], None]:
    """Return the question whether a step may go on with a node; in a wait it may be put as often as one likes.

    Args:
        session: the cluster.
        node: whose step it is.
        job: what the step is about to start there; while that runs nothing else counts.
        begins: the first question is whether the node may be begun at all; then it has to fit into the window.
    """
    nodes, asked, told = [node.name] if begins else [], [float("-inf")], {""}

    def ask() -> None:
        if session.clock() - asked[0] < _ASK_SECONDS:
            return
        asked[0] = session.clock()
        found = patiently(session, "reading the brake", lambda: held(session, nodes))
        nodes.clear()
        if found is None:
            return
        _require_begun(session, node, job, found)
        if found.sentence not in told:
            told.add(found.sentence)
            session.log(f"{node.name} is carried to its end, no other node is begun. {found.sentence}")

    return ask


def _require_begun(session: Session, node: NodeFacts, job: str, found: Hold) -> None:
    """Let the work on a node go on although the owner said no, if its own jobs say that it must.

    Raises:
        HeldError: kubeadm was not begun there.
        StoppedError: STOPPED_HALF_WAY, it was, and the brake says "stop now".
    """
    port = session.on(node)
    known, kubeadm = port.job(job), port.job(KUBEADM_JOB)
    is_running = known is not None and known.state == "running"
    is_begun = job != KUBEADM_JOB or (kubeadm is not None and kubeadm.run_id == session.owner)
    if not is_running and not is_begun:
        raise _held_error(found)
    if not is_running and found.is_stop:
        raise StoppedError(
            "STOPPED_HALF_WAY",
            f"{node.name} was stopped half way, before {job}. {found.sentence}",
            cause='The brake says "stop now", and kubeadm has been begun on this node.',
            next_step="Nothing is broken: the node takes pods again, and the next night that is not held goes on with it. "
            "To go on now, release the brake and clear this task.",
        )


def noticing(session: Session, check: Callable[[], None]) -> Callable[[], None]:
    """Return `check` for the wait for a job, with a line in the log when somebody pulls the brake meanwhile."""
    asked, is_said = [session.clock()], [False]

    def look() -> None:
        check()
        if is_said[0] or session.clock() - asked[0] < _ASK_SECONDS:
            return
        asked[0] = session.clock()
        try:
            brake = read_brake(session.kube.brake(), session.clock())
        except NightshiftError:
            return  # the job's own node may be the one that has the API
        if brake is not None:
            is_said[0] = True
            session.log(f"The job comes to its end. {brake.sentence}")

    return look


@contextmanager
def given_back(session: Session, node_name: str) -> Iterator[None]:
    """Let a node take pods again at once when the owner's word ended the work on it."""
    try:
        yield
    except HeldError:
        what = f"giving {node_name} back"
        if patiently(session, what, lambda: session.kube.uncordon(node_name, session.owner)):
            session.log(f"{node_name} takes pods again")
        raise


def _held_error(found: Hold) -> HeldError:
    return HeldError(
        found.code,
        found.sentence,
        cause="The owner of this cluster said so.",
        next_step="Nothing has to be done: what was not begun continues on the next night.",
    )


def brake_sentence(session: Session, brake: Brake) -> str:
    """Who pulled the brake and why, and how it is released."""
    return (
        f"{brake.sentence} To release it: run brake_{session.policy.name} with {RELEASE!r}, or "
        f"kubectl -n {NAMESPACE} delete configmap {BRAKE_NAME}."
    )
