"""What a bundle of evidence shows: named signs, each seen, looked for and absent, or not to be told.

Parsers (`clients/evidence`) turn log lines, listings and metrics into signs; causes are judged by signs alone. A sign
whose source is not in the bundle is *unread*, never absent: no cause is ruled out by what nobody could see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

QUOTE_LIMIT = 300  # characters of a quoted line


class State(StrEnum):
    """What is known about a sign."""

    SEEN = "seen"
    ABSENT = "absent"  # its source was read, and it is not there
    UNREAD = "unread"  # its source is missing, cut off or not understood


@dataclass(frozen=True)
class Sign:
    """One thing that a bundle shows.

    Args:
        name: "<source>.<what>", e.g. "manifests.stray"; see `docs/diagnosis.md`.
        subject: what it is about: a file, a component, a device, a flag ("" when there is nothing to name).
        quote: the line that shows it, as it stands in the bundle.
        source: file in the bundle, with the line where that helps: "pods/…/0.log:120".
        first: when it was first seen, seconds since the epoch; None when the source has no times.
        last: when it was last seen.
        count: how often.
        value: the decisive number with its unit ("" when there is none).
        tied: whether it is about the upgrade, its node or its control plane; False: it may be a tenant's own trouble.
        steady: seconds of the longest stretch in which it was said again and again, without a long pause, and when that ended; None when
            its source has no such times. Between `first` and `last` may lie hours of silence.
    """

    name: str
    subject: str = ""
    quote: str = ""
    source: str = ""
    first: float | None = None
    last: float | None = None
    count: int = 1
    value: str = ""
    tied: bool = True
    steady: tuple[float, float] | None = None


@dataclass(frozen=True)
class Signs:
    """All signs of one bundle.

    Args:
        seen: in the order of the bundle's files.
        unread: name of a sign that could not be looked for -> why.
        looked: names of the signs that were looked for with success, seen or not.
        files: the bundle's files that say something.
    """

    seen: tuple[Sign, ...] = ()
    looked: frozenset[str] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def state(self, name: str) -> State:
        """What is known about a sign. One that nobody looked for at all is unread."""
        if any(sign.name == name for sign in self.seen):
            return State.SEEN
        if name in self.looked and name not in self.unread:
            return State.ABSENT
        return State.UNREAD

    def of(self, *names: str) -> tuple[Sign, ...]:
        """The signs with one of these names."""
        return tuple(sign for sign in self.seen if sign.name in names)

    @staticmethod
    def merged(parts: Iterable[Signs]) -> Signs:
        """Join what several parsers found; what one of them could read was read."""
        all_parts = list(parts)
        looked = frozenset(name for part in all_parts for name in part.looked)
        unread = {n: why for part in all_parts for n, why in part.unread.items() if n not in looked}
        files = tuple(dict.fromkeys(path for part in all_parts for path in part.files))
        return Signs(tuple(sign for part in all_parts for sign in part.seen), looked, unread, files)


def guarded(names: Iterable[str], reader: Callable[[], Signs]) -> Signs:
    """What a reader found; when a file breaks it, its signs are unread, and the other readers' stay.

    Args:
        names: of the signs that the reader looks for.
        reader: without arguments.
    """
    try:
        return reader()
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        return Signs(unread=dict.fromkeys(names, f"not understood ({type(error).__name__})"))
