"""Hold the Lease while a mutating step works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nightshift.domain.facts import NodeFacts
from nightshift.steps.session import Session


@dataclass(frozen=True)
class Held:
    """A Lease that is ours: its fencing token, and the question whether it still is ours."""

    token: int
    check: Callable[[], None]  # raises FencedError (RUN_FENCED) when the Lease was lost


@contextmanager
def hold(session: Session, nodes: Sequence[NodeFacts]) -> Iterator[Held]:
    """Claim or renew the Lease, fence `nodes`, keep renewing in a thread until the block ends."""
    raise NotImplementedError
    yield


def renew_if_ours(session: Session) -> bool:
    """Renew the Lease when this run holds it (long waits between mutating steps); False when it does not."""
    raise NotImplementedError
