"""The first evidence of a failed node step: off the node and into the store before anything is retried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from nightshift.domain.errors import NightshiftError, RemoteJobError, VerificationError
from nightshift.domain.facts import ENDED_BADLY, JobFacts, NodeFacts
from nightshift.steps.session import Session, path_safe

_BEFORE_SECONDS = 120.0  # what led to a failure is often said just before the job began


@contextmanager
def evidence_first(session: Session, node: NodeFacts, step: str, since: float) -> Iterator[None]:
    """Let no failure of a step on `node` out before its logs since `since` (epoch seconds) are off the node.

    Evidence that cannot be taken is said, and never hides the failure itself.

    Raises:
        RemoteJobError: the job's failure; the message says where the evidence lies.
        VerificationError: likewise, when the job was content and the world did not follow.
    """
    try:
        yield
    except (RemoteJobError, VerificationError) as error:
        said = _save(session, node, step, since)
        session.log(f"{node.name}: {said}")
        raise error.saying(said) from error


def evidence_of_unseen(session: Session, node: NodeFacts, known: JobFacts) -> None:
    """Save the logs of this run's own job that failed while nobody followed it, before it is started again.

    Args:
        session: the run.
        node: where the job ran.
        known: the job, as the node tells it; nothing is done for one that ended well, or of another run.
    """
    if known.state in ENDED_BADLY and known.run_id == session.owner and not _bundles(session, node.name):
        session.log(f"{node.name}: {_save(session, node, known.step, known.started)}")


def _save(session: Session, node: NodeFacts, step: str, since: float) -> str:
    """Save the node's logs; returns the sentence that says where they lie, or why they do not."""
    name = f"{index_folder(session)}/{node.name}-{step}-{session.clock():.0f}.tar.gz"
    port = session.on(node)
    try:
        path = session.store.write_stream(name, lambda t: port.collect_evidence(since - _BEFORE_SECONDS, t))
        _index(session, node.name, path)
    except NightshiftError as problem:
        return f"Evidence could not be saved ({problem.code}: {problem.message})"
    return f"Evidence: {path}."


def saved_evidence(session: Session, nodes: Iterable[str]) -> tuple[str, ...]:
    """Where this run's bundles of these nodes lie."""
    return tuple(path for node in nodes for path in _bundles(session, node))


def index_folder(session: Session) -> str:
    """This run's folder in the store."""
    return f"evidence/{path_safe(session.run_id)}"


def _index(session: Session, node: str, path: str) -> None:
    """Remember a bundle: object stores are not listed. One file per node: two nodes of a wave may fail together."""
    session.store.write_json(_index_file(session, node), {"bundles": [*_bundles(session, node), path]})


def _bundles(session: Session, node: str) -> list[str]:
    return list((session.store.read_json(_index_file(session, node)) or {}).get("bundles", ()))


def _index_file(session: Session, node: str) -> str:
    return f"{index_folder(session)}/{node}.json"
