"""Rank causes by what they explain and what contradicts them; say the first, the chain, what was ruled out, or *unknown*.

Simple on purpose, so that a reader can follow it by hand:

1. A cause is *seen* when a decisive sign of it is there, and *contradicted* when a sign is there that it forbids.
2. A seen cause that another seen cause leads to is a consequence of that one.
3. A condition (a slow disk, a pile of scratch, drift) is the first cause only when nothing else was seen.
4. Of those that explain at least half of what failed the most specific one leads, then the one that explains more.
5. Confident is only who explains at least half of what failed, is tied to it, and has no rival that explains as much.
6. What could not be looked for counts: when a cause that would explain as much and is more specific is unread, the
   answer is *unknown*; when it is as specific, the answer is only likely. So a lost file never makes another cause sure.
7. Without a symptom there is no first cause, whatever else was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nightshift.domain.diagnosis.cause import Cause, Match, Role
from nightshift.domain.diagnosis.signs import Sign, Signs, State

_ENOUGH = 0.5  # share of the failure's symptoms that a confident cause explains


class Confidence(StrEnum):
    """How sure the diagnosis is of its first cause."""

    CONFIDENT = "confident"
    LIKELY = "likely"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Suspect:
    """A cause as this bundle shows it.

    Args:
        cause: of the catalogue.
        match: its decisive signs; None: none was seen.
        explained: symptoms of the failure that it explains, by name.
        against: signs that speak against it.
        missing: names of its decisive signs that could not be looked for.
    """

    cause: Cause
    match: Match | None
    explained: tuple[str, ...]
    against: tuple[Sign, ...]
    missing: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its sentence with the subject filled in."""
        return self.cause.title.format(subject=self.match.subject if self.match else "?")


@dataclass(frozen=True)
class Diagnosis:
    """The answer.

    Args:
        confidence: of `first`.
        first: the first cause; None: unknown.
        chain: what followed from it, in order.
        conditions: what was seen beside it: it made the failure likelier, or explains none of it.
        ruled_out: causes that were looked for and are not it -> why.
        unknowns: what could not be looked for, one sentence each.
        symptoms: the signs of the failure itself.
        rivals: seen causes that could be first as well.
        shadows: names of causes that would explain enough and could not be looked for.
    """

    confidence: Confidence
    first: Suspect | None
    chain: tuple[Suspect, ...]
    conditions: tuple[Suspect, ...]
    ruled_out: Mapping[str, str]
    unknowns: tuple[str, ...]
    symptoms: tuple[Sign, ...]
    rivals: tuple[Suspect, ...] = ()
    shadows: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.first is None:
            if not self.symptoms:
                return "The evidence shows no failure."
            seen = f" Seen was: {self.rivals[0].title}" if self.rivals else ""
            missing = (
                f" Not to be looked for, and it would explain it: {self.shadows[0]}." if self.shadows else ""
            )
            return f"Unknown: no cause is shown that explains what failed.{seen}{missing}"
        sure = "" if self.confidence is Confidence.CONFIDENT else "Most likely: "
        return f"{sure}{self.first.title}"


def diagnose(signs: Signs, catalogue: Sequence[Cause], symptoms: Sequence[str]) -> Diagnosis:
    """Find the first cause.

    Args:
        signs: what the bundle shows.
        catalogue: all causes.
        symptoms: names of the signs that are the failure itself.
    """
    shown = signs.of(*symptoms)
    enough = _ENOUGH * len({sign.name for sign in shown})
    rank = _rank(enough)
    suspects = [_suspect(cause, signs, [s.name for s in shown]) for cause in catalogue]
    seen = [s for s in suspects if s.match is not None and not s.against]
    firsts = [s for s in seen if not _is_condition(s)]
    conditions = [s for s in seen if _is_condition(s)]
    heads = sorted((s for s in _unled(firsts) if s.explained), key=rank)
    if not heads:  # nothing but conditions: the weightiest of them is the cause
        heads = sorted((s for s in conditions if s.explained), key=rank)[:1]
    unread = [s for s in suspects if s.match is None and len(s.missing) == len(s.cause.decisive)]
    shadows = [s for s in unread if s.explained and len(s.explained) >= enough]
    first = heads[0] if heads and not _is_overshadowed(heads[0], shadows) else None
    chain = _chain(first, firsts)
    return Diagnosis(
        confidence=_confidence(first, heads, shadows, signs, enough),
        first=first,
        chain=chain,
        conditions=tuple(s for s in seen if s not in heads and s not in chain),
        ruled_out=dict(_ruled_out(suspects, first)),
        unknowns=_unknowns(suspects, first, heads),
        symptoms=shown,
        rivals=tuple(s for s in heads if s is not first),
        shadows=tuple(s.cause.name for s in sorted(shadows, key=rank)),
    )


def _unled(firsts: Sequence[Suspect]) -> list[Suspect]:
    """Those that no other one leads to; of two that lead to each other, both."""
    names = {s.cause.name for s in firsts}
    led = {name for s in firsts for name in s.cause.leads_to if s.cause.name not in _leads(firsts, name)}
    return [s for s in firsts if s.cause.name not in led & names]


def _leads(firsts: Sequence[Suspect], name: str) -> tuple[str, ...]:
    return next((s.cause.leads_to for s in firsts if s.cause.name == name), ())


def _consequences(first: Suspect, firsts: Sequence[Suspect]) -> set[str]:
    """Names of all causes that follow from the first, over any number of steps."""
    found: set[str] = set()
    waiting = list(first.cause.leads_to)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _leads(firsts, name)
    return found - {first.cause.name}


def _chain(first: Suspect | None, firsts: Sequence[Suspect]) -> tuple[Suspect, ...]:
    names = _consequences(first, firsts) if first is not None else set()
    return tuple(s for s in firsts if s.cause.name in names)


def _is_overshadowed(head: Suspect, shadows: Sequence[Suspect]) -> bool:
    """Something more specific would explain enough, and nobody could look for it."""
    return any(s.cause.specificity > head.cause.specificity for s in shadows)


def _suspect(cause: Cause, signs: Signs, shown: Sequence[str]) -> Suspect:
    match = cause.match(signs)
    return Suspect(
        cause,
        match,
        explained=tuple(dict.fromkeys(name for name in shown if name in cause.explains)),
        against=signs.of(*cause.forbids),
        missing=tuple(name for name in cause.decisive if signs.state(name) is State.UNREAD),
    )


def _is_condition(suspect: Suspect) -> bool:
    return suspect.cause.role is Role.CONDITION or bool(suspect.match and suspect.match.kept_down)


def _rank(enough: float) -> Callable[[Suspect], tuple[bool, int, int, float, str]]:
    """Best first: explains enough, is more specific, explains more, came earlier."""

    def rank(suspect: Suspect) -> tuple[bool, int, int, float, str]:
        times = [s.first for s in (suspect.match.decisive if suspect.match else ()) if s.first is not None]
        explained = len(suspect.explained)
        return (
            explained < enough,
            -suspect.cause.specificity,
            -explained,
            min(times, default=float("inf")),
            suspect.cause.name,
        )

    return rank


def _confidence(
    first: Suspect | None, heads: Sequence[Suspect], shadows: Sequence[Suspect], signs: Signs, enough: float
) -> Confidence:
    """Confident: explains enough, is tied to the failure, and nothing as specific does, seen or unread."""
    if first is None:
        return Confidence.UNKNOWN
    rivals = [s for s in heads if s is not first and len(s.explained) >= len(first.explained)]
    is_equalled = any(
        s.cause.specificity >= first.cause.specificity for s in (*rivals, *shadows) if s is not first
    )
    is_tied = not first.cause.links or bool(signs.of(*first.cause.links))
    is_enough = len(first.explained) >= enough
    return Confidence.CONFIDENT if is_enough and is_tied and not is_equalled else Confidence.LIKELY


def _ruled_out(suspects: Sequence[Suspect], first: Suspect | None) -> list[tuple[str, str]]:
    """Who was looked for and is not it, and why; who could not be looked for is no such."""
    said = []
    for suspect in suspects:
        if suspect is first:
            continue
        if suspect.match is not None and suspect.against:
            said.append(
                (
                    suspect.cause.name,
                    f"{suspect.against[0].name} speaks against it ({_where(suspect.against[0])}).",
                )
            )
        elif suspect.match is None and not suspect.missing:
            said.append(
                (suspect.cause.name, f"looked for and not seen: {', '.join(suspect.cause.decisive)}.")
            )
    return said


def _where(sign: Sign) -> str:
    return sign.source or sign.subject or "see the signs"


def _unknowns(
    suspects: Sequence[Suspect], first: Suspect | None, heads: Sequence[Suspect]
) -> tuple[str, ...]:
    """What could not be looked for; those first that would explain what failed."""
    missing = [s for s in suspects if s is not first and s not in heads and s.match is None and s.missing]
    missing.sort(key=lambda s: (-len(s.explained), -s.cause.specificity))
    return tuple(
        f"{s.cause.name} could not be looked for: the evidence has nothing on {', '.join(s.missing)}."
        for s in missing
    )


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return plain JSON-serialisable data, for the report and the ledger."""
    return {
        "confidence": diagnosis.confidence.value,
        "sentence": diagnosis.sentence,
        "first": diagnosis.first and _suspect_dict(diagnosis.first),
        "chain": [_suspect_dict(s) for s in diagnosis.chain],
        "conditions": [_suspect_dict(s) for s in diagnosis.conditions],
        "rivals": [_suspect_dict(s) for s in diagnosis.rivals],
        "ruled_out": dict(diagnosis.ruled_out),
        "unknowns": list(diagnosis.unknowns),
        "shadows": list(diagnosis.shadows),
        "symptoms": [s.__dict__ for s in diagnosis.symptoms],
    }


def _suspect_dict(suspect: Suspect) -> dict[str, Any]:
    return {
        "cause": suspect.cause.name,
        "title": suspect.title,
        "signs": [s.__dict__ for s in (suspect.match.decisive if suspect.match else ())],
        "explains": list(suspect.explained),
        "kept_down": suspect.match.kept_down if suspect.match else "",
        "test": suspect.cause.test,
        "remedy": suspect.cause.remedy,
        "runbook": suspect.cause.runbook,
    }
