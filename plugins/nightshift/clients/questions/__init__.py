"""How a topic is read: one file per subject with the question and the parser of its answer.

Three kinds of question, by whom they are put to: the API server (`ApiQuestion`), every node over SSH (`NodeQuestion`:
one section of the verb `look`, all sections of a round in one call), or something else (a function of its own in
`steps/look`). Parsers are pure; one that meets what it does not understand raises `ValueError` and the topic is blind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from nightshift.clients.permissions import Permission

T = TypeVar("T")


class ApiReader(Protocol):
    """The API server, read only."""

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page; a resource that the server does not know has none."""

    def get(self, path: str) -> dict[str, Any] | None:
        """One object; None when it does not exist."""


@dataclass(frozen=True)
class ApiQuestion(Generic[T]):
    """Something the API server knows.

    Args:
        ask: reads it; raises ValueError when the answer is not understood.
        permissions: what asking it takes; the shipped ClusterRole and the check of `open_night` are made from them.
    """

    ask: Callable[[ApiReader], T]
    permissions: tuple[Permission, ...] = ()


@dataclass(frozen=True)
class NodeQuestion(Generic[T]):
    """Something a node knows about itself: the section of the verb `look` with this name.

    Args:
        section: `include/scripts/node/lib/look/<section>.sh` defines `look_<section>` (dashes as underscores).
        parse: its output; raises ValueError when it is not understood.
    """

    section: str
    parse: Callable[[str], T]
