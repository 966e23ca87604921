"""One cause that a failed night can have: what it explains, what speaks against it, how it is told from its rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from nightshift.domain.diagnosis.signs import Sign, Signs


class Role(StrEnum):
    """What a cause can be in the chain of causation."""

    FIRST = "first"  # stands at the beginning of a chain
    CONDITION = (
        "condition"  # makes failures likelier; by itself it brings a night down only when nothing else did
    )


@dataclass(frozen=True)
class Match:
    """How a bundle speaks for a cause.

    Args:
        decisive: the signs that nothing but this cause explains.
        subject: what it is about, for the sentence: a file, a flag, a device.
        kept_down: why it is a condition here and not the cause, though it was seen ("" when it may be the cause).
    """

    decisive: tuple[Sign, ...]
    subject: str = ""
    kept_down: str = ""


@dataclass(frozen=True)
class Cause:
    """One entry of the catalogue.

    Args:
        name: lower_snake, also of its file and in the corpus' labels.
        title: one sentence with `{subject}`, as a tired person wants to read it.
        decisive: names of the signs it is decided by: when all are unread, the cause cannot be told.
        explains: names of the symptoms that follow from it.
        test: the question that separates it from its rivals, and the read-only command that answers it.
        remedy: what to do.
        runbook: name of the page, without its suffix.
        specificity: of two causes that explain the same, the more specific one is the first; 1 (general) to 5 (names the
            very thing).
        match: finds the decisive signs; None when there are none.
        role: see `Role`.
        forbids: names of signs that speak against it.
        leads_to: names of causes that are consequences of it: they never come before it.
        links: names of signs that tie it to the failure: without one of them it is never more than likely (none: it needs
            no link, its decisive sign is the failure's own words).
    """

    name: str
    title: str
    decisive: tuple[str, ...]
    explains: tuple[str, ...]
    test: str
    remedy: str
    runbook: str
    specificity: int
    match: Callable[[Signs], Match | None]
    role: Role = Role.FIRST
    forbids: tuple[str, ...] = ()
    leads_to: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


def by_signs(*names: str) -> Callable[[Signs], Match | None]:
    """The usual way to match: any sign of these names is there; the first one's subject is what it is about."""

    def match(signs: Signs) -> Match | None:
        found = signs.of(*names)
        return Match(found, next((sign.subject for sign in found if sign.subject), "")) if found else None

    return match
