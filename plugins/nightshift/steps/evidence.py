"""The first evidence of a failed node step: off the node and into the store before anything is retried, then judged."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from nightshift.clients.evidence_bundle import read_stream
from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import diagnose, to_dict
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.errors import NightshiftError, RemoteJobError, VerificationError
from nightshift.domain.facts import ENDED_BADLY, JobFacts, NodeFacts
from nightshift.steps.session import Session, path_safe

_BEFORE_SECONDS = 120.0  # what led to a failure is often said just before the job began
_IN_MEMORY_BYTES = 8 * 1024 * 1024  # of a bundle; a larger one is kept in a temporary file while it is judged


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
        said = _save(session, node, step, since, str(error))
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


def _save(session: Session, node: NodeFacts, step: str, since: float, failure: str = "") -> str:
    """Save the node's logs; returns the sentence that says where they lie, or why they do not."""
    name = f"{index_folder(session)}/{node.name}-{step}-{session.clock():.0f}.tar.gz"
    port = session.on(node)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:

        def fill(target: BinaryIO) -> None:
            port.collect_evidence(since - _BEFORE_SECONDS, cast("BinaryIO", copy))
            copy.seek(0)
            shutil.copyfileobj(copy, target)

        try:
            path = session.store.write_stream(name, fill)
            _index(session, node.name, path)
        except NightshiftError as problem:
            return f"Evidence could not be saved ({problem.code}: {problem.message})"
        _diagnose(session, node, name, copy, failure)
    return f"Evidence: {path}."


def _diagnose(session: Session, node: NodeFacts, name: str, bundle: IO[bytes], failure: str) -> None:
    """Log the first cause and write the diagnosis beside the bundle; one that cannot be made is said, and hides nothing."""
    try:
        bundle.seek(0)
        files = read_stream(bundle, name)
        if failure:
            files["driver/error.txt"] = failure
        found = diagnose(read(files), CATALOGUE, SYMPTOMS)
        path = session.store.write_json(f"{name}.diagnosis.json", to_dict(found))
    except Exception as problem:  # noqa: BLE001 - whatever a strange bundle does to the reader, the failure itself must come out
        session.log(f"{node.name}: no diagnosis of {name}: {problem}")
        return
    session.log(f"{node.name}: diagnosis ({found.confidence.value}): {found.sentence} All of it: {path}")


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
