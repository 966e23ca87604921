"""One cause that a failed night can have: what it explains, what speaks against it, how it is told from its rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from nightshift.domain.diagnosis.signs import Sign, Signs

RUNBOOKS = "causes/"  # below docs/runbooks; the pages beside it are of gates and errors


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
        doubt: why it is at most likely, though it was seen ("" when it may be sure).
        yields: it comes after a cause that has no doubt and explains enough, however specific it is itself.
    """

    decisive: tuple[Sign, ...]
    subject: str = ""
    kept_down: str = ""
    doubt: str = ""
    yields: bool = False


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
        specificity: of two causes that explain the same, the more specific one is the first; 1 (general) to 5 (names the
            very thing).
        match: finds the decisive signs; None when there are none.
        role: see `Role`.
        forbids: names of signs that speak against it.
        leads_to: names of causes that are consequences of it: they never come before it.
        links: names of signs that tie it to the failure: without one of them it is never more than likely (none: it needs
            no link, its decisive sign is the failure's own words).
        answers: regular expressions of the bundle's files that hold the answer to `test` as it was then.
        hints: names of signs that prove nothing and keep it from being ruled out.
    """

    name: str
    title: str
    decisive: tuple[str, ...]
    explains: tuple[str, ...]
    test: str
    remedy: str
    specificity: int
    match: Callable[[Signs], Match | None]
    role: Role = Role.FIRST
    forbids: tuple[str, ...] = ()
    leads_to: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def runbook(self) -> str:
        """Its page below docs/runbooks, without the suffix: what to look at and to do after a step that failed half-way."""
        return f"{RUNBOOKS}{self.name}"


def by_signs(*names: str) -> Callable[[Signs], Match | None]:
    """The usual way to match: any sign of these names is there; the first one's subject is what it is about."""

    def match(signs: Signs) -> Match | None:
        return matched(signs.of(*names))

    return match


def of_the_unpulled(*names: str) -> Callable[[Signs], Match | None]:
    """The same about an image: when a registry's or ctr's own line does not name it whole, the job that needed it does."""

    def match(signs: Signs) -> Match | None:
        found = matched(signs.of(*names))
        named = signs.of("image.unpulled")
        is_named = found is not None and any(char in found.subject for char in "/@")
        return found if found is None or is_named or not named else replace(found, subject=named[0].subject)

    return match


def matched(found: tuple[Sign, ...]) -> Match | None:
    """A match of these signs; one that is tied to nothing of the upgrade is kept down, whatever it says."""
    if not found:
        return None
    tied = tuple(sign for sign in found if sign.tied)
    subject = next((sign.subject for sign in tied or found if sign.subject), "")
    if tied:
        return Match(tied, subject)
    why = f"{found[0].source} says it, but not of the control plane, and the failed step says nothing of it"
    return Match(found, subject, kept_down=why)
