"""The first evidence of a failed node step: off the node and into the store before anything is retried."""

from __future__ import annotations

from nightshift.domain.errors import NightshiftError, RemoteJobError
from nightshift.domain.facts import NodeFacts
from nightshift.steps.session import Session, path_safe

_BEFORE_SECONDS = 120.0  # what led to a failure is often said just before the job began


def save_evidence(
    session: Session, node: NodeFacts, step: str, since: float, error: RemoteJobError
) -> RemoteJobError:
    """Save the node's logs since `since` (epoch seconds) and return `error` saying where they lie.

    Evidence that cannot be taken is said, and never hides the failure itself.
    """
    name = f"{index_folder(session)}/{node.name}-{step}-{session.clock():.0f}.tar.gz"
    port = session.on(node)
    try:
        path = session.store.write_stream(name, lambda t: port.collect_evidence(since - _BEFORE_SECONDS, t))
        _index(session, path)
        said = f"Evidence: {path}."
    except NightshiftError as problem:
        said = f"Evidence could not be saved ({problem.code}: {problem.message})"
    session.log(f"{node.name}: {said}")
    return RemoteJobError(
        error.code,
        f"{error.message} {said}",
        cause=error.cause,
        next_step=error.next_step,
        exit_code=error.exit_code,
    )


def saved_evidence(session: Session) -> tuple[str, ...]:
    """Where this run's bundles lie."""
    return tuple((session.store.read_json(f"{index_folder(session)}/index.json") or {}).get("bundles", ()))


def index_folder(session: Session) -> str:
    """This run's folder in the store."""
    return f"evidence/{path_safe(session.run_id)}"


def _index(session: Session, path: str) -> None:
    """Remember a bundle: object stores are not listed."""
    bundles = [*saved_evidence(session), path]
    session.store.write_json(f"{index_folder(session)}/index.json", {"bundles": bundles})
