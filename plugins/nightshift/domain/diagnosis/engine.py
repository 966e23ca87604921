"""Rank causes by what they explain and what contradicts them; say the first, the chain, what was ruled out, or *unknown*.

Simple on purpose, so that a reader can follow it by hand:

1. A cause is *seen* when a decisive sign of it is there, and *contradicted* when a sign is there that it forbids.
2. A seen cause that another seen cause leads to is a consequence of that one, unless that one is doubtful and no more specific.
3. A condition (a slow disk, a pile of scratch, drift) is the first cause only when nothing else was seen. What is tied to nothing of the
   upgrade (a tenant's image that cannot be pulled) is a condition, and never the first cause.
4. Of those that explain at least half of what failed the most specific one leads. Of equally specific ones those without a doubt
   come first, then what the node's own state shows (two manifests of one pod, a full disk): a line of a log may be anybody's. Then the
   earlier one. How many symptoms a cause could explain counts last: a list that is long because it is general proves nothing. What is shown
   of another component than the one that kubeadm waited for comes after each that has no doubt and explains enough.
5. Confident is only who explains at least half of what failed, is tied to it, has nothing that makes it doubtful, and has no rival that
   explains half of it too, however general, unless the rival is a consequence of it.
6. What could not be looked for counts: when a cause that would explain as much and is more specific is unread, the
   answer is *unknown*; when it is as specific, the answer is only likely. So a lost file never makes another cause sure.
7. Without a symptom there is no first cause, whatever else was seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from nightshift.domain.diagnosis.answers import CauseTest
from nightshift.domain.diagnosis.cause import Cause, Match, Role
from nightshift.domain.diagnosis.names import cause_name, either, said_of, spoken
from nightshift.domain.diagnosis.rehearsed import points
from nightshift.domain.diagnosis.signs import Sign, Signs, State

_NAMED = re.compile(
    r" \([^()]*\{subject\}[^()]*\)"
)  # of a title: what is left out when there is nothing to name
_STATES = ("manifests/", "state/", "asked/")  # files that tell what is so, not what somebody said
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
        hinted: signs that prove nothing and keep it from being ruled out.
        answered_by: files of the bundle that hold the answer to its test.
    """

    cause: Cause
    match: Match | None
    explained: tuple[str, ...]
    against: tuple[Sign, ...]
    missing: tuple[str, ...]
    hinted: tuple[Sign, ...] = ()
    answered_by: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its sentence with the subject filled in."""
        subject = self.match.subject if self.match else "?"
        title = self.cause.title if subject else _NAMED.sub("", self.cause.title)
        return title.format(subject=subject or "that its line does not name")


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
        points: where to look besides, one sentence each; they weigh nothing.
        tests: of the first cause, its rivals and shadows, the likeliest first.
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
    points: tuple[str, ...] = ()
    tests: tuple[CauseTest, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.first is None:
            if not self.symptoms:
                return "The evidence shows no failure."
            seen = f" Seen was: {self.rivals[0].title}" if self.rivals else ""
            return f"Unknown: no cause is shown that explains what failed.{seen}{self._missing}"
        sure = "" if self.confidence is Confidence.CONFIDENT else "Most likely: "
        return f"{sure}{self.first.title}"

    @property
    def _missing(self) -> str:
        """What could not be checked, for the sentence: of one cause its name, else how many."""
        if self.shadows:
            return f" Could not be checked, and would explain it: {cause_name(self.shadows[0])}."
        # A step's bare code explains itself with nothing: then all depends on what is missing.
        is_bare = {sign.name for sign in self.symptoms} == {"driver.failed"}
        return f" Could not be checked: {len(self.unknowns)} causes." if is_bare and self.unknowns else ""


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
    heads = _with_yielding_last(sorted((s for s in _unled(firsts) if s.explained), key=rank), enough)
    if not heads:  # nothing but conditions: the weightiest of them is the cause
        heads = sorted((s for s in conditions if s.explained and not _is_kept_down(s)), key=rank)[:1]
    unread = [s for s in suspects if s.match is None and len(s.missing) == len(s.cause.decisive)]
    shadows = [s for s in unread if s.explained and len(s.explained) >= enough]
    first = heads[0] if heads and not _is_overshadowed(heads[0], shadows) else None
    chain = _chain(first, firsts)
    return Diagnosis(
        confidence=_confidence(first, heads, chain, shadows, signs, enough),
        first=first,
        chain=chain,
        conditions=tuple(s for s in seen if s not in heads and s not in chain),
        ruled_out=dict(_ruled_out(suspects, first)),
        unknowns=_unknowns(suspects, first, heads, signs),
        symptoms=shown,
        rivals=tuple(s for s in heads if s is not first),
        shadows=tuple(s.cause.name for s in sorted(shadows, key=rank)),
        points=points(signs, shown),
    )


def _unled(firsts: Sequence[Suspect]) -> list[Suspect]:
    """Those that no other one leads to; of two that lead to each other, both."""
    specificity = {s.cause.name: s.cause.specificity for s in firsts}
    led = {
        name
        for s in firsts
        for name in s.cause.leads_to
        if s.cause.name not in _leads(firsts, name)
        and not (_is_doubtful(s) and specificity.get(name, 0) >= s.cause.specificity)
    }
    return [s for s in firsts if s.cause.name not in led]


def _with_yielding_last(heads: list[Suspect], enough: float) -> list[Suspect]:
    """Where a cause without a doubt explains enough, those that yield to it come last."""
    is_shown = any(
        len(s.explained) >= enough and not _is_doubtful(s) and not (s.match and s.match.yields) for s in heads
    )
    return sorted(heads, key=lambda s: bool(s.match and s.match.yields)) if is_shown else heads


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
        hinted=signs.of(*cause.hints),
        answered_by=tuple(p for p in signs.files if any(re.match(answer, p) for answer in cause.answers)),
    )


def _is_condition(suspect: Suspect) -> bool:
    return suspect.cause.role is Role.CONDITION or _is_kept_down(suspect)


def _is_kept_down(suspect: Suspect) -> bool:
    """It was seen, and something says that it is not what stopped this step: never the first cause, not even alone."""
    return bool(suspect.match and suspect.match.kept_down)


def _is_doubtful(suspect: Suspect) -> bool:
    return bool(suspect.match and suspect.match.doubt)


def _rank(enough: float) -> Callable[[Suspect], tuple[bool, int, bool, bool, float, int, str]]:
    """Best first: explains enough, is more specific, has no doubt, is the node's state, came earlier, explains more."""

    def rank(suspect: Suspect) -> tuple[bool, int, bool, bool, float, int, str]:
        decisive = suspect.match.decisive if suspect.match else ()
        times = [s.first for s in decisive if s.first is not None]
        explained = len(suspect.explained)
        return (
            explained < enough,
            -suspect.cause.specificity,
            _is_doubtful(suspect),
            not any(s.source.startswith(_STATES) for s in decisive),
            min(times, default=float("inf")),
            -explained,
            suspect.cause.name,
        )

    return rank


def _confidence(
    first: Suspect | None,
    heads: Sequence[Suspect],
    chain: Sequence[Suspect],
    shadows: Sequence[Suspect],
    signs: Signs,
    enough: float,
) -> Confidence:
    """Confident: explains enough, is tied to the failure, not doubtful, and nothing else does: seen, or unread and as specific."""
    if first is None:
        return Confidence.UNKNOWN
    is_rivalled = any(len(s.explained) >= enough for s in heads if s is not first and s not in chain)
    is_equalled = any(s.cause.specificity >= first.cause.specificity for s in shadows)
    is_tied = not first.cause.links or any(sign.tied for sign in signs.of(*first.cause.links))
    is_doubtful = _is_doubtful(first) or len(first.explained) < enough
    is_sure = is_tied and not (is_doubtful or is_rivalled or is_equalled)
    return Confidence.CONFIDENT if is_sure else Confidence.LIKELY


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
                    f"{spoken(suspect.against[0].name)} speaks against it ({_where(suspect.against[0])}).",
                )
            )
        elif suspect.match is None and not suspect.missing and not suspect.hinted:
            said.append((suspect.cause.name, f"looked for and not seen: {either(suspect.cause.decisive)}."))
    return said


def _where(sign: Sign) -> str:
    return sign.source or sign.subject or "see the signs"


def _unknowns(
    suspects: Sequence[Suspect], first: Suspect | None, heads: Sequence[Suspect], signs: Signs
) -> tuple[str, ...]:
    """What could not be looked for; those first that would explain what failed."""
    others = [s for s in suspects if s is not first and s not in heads and s.match is None]
    others.sort(key=lambda s: (-len(s.explained), -s.cause.specificity))
    hinted = [s for s in others if s.hinted]
    missing = [s for s in others if s.missing and not s.hinted]
    return (
        *(
            f"{cause_name(s.cause.name)} is not proved, and not ruled out: {_hint(s.hinted[0])}."
            for s in hinted
        ),
        *(
            f"{cause_name(s.cause.name)} could not be looked for: the evidence does not say whether {either(s.missing)}{_why(s, signs)}."
            for s in missing
        ),
    )


def _why(suspect: Suspect, signs: Signs) -> str:
    """What is missing, of the first sign that says it."""
    why = next((signs.unread[name] for name in suspect.missing if name in signs.unread), "")
    return f" ({why})" if why else ""


def _hint(sign: Sign) -> str:
    return said_of(sign.name, sign.subject) + (f" ({sign.value})" if sign.value else "")


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
        "points": list(diagnosis.points),
        "tests": [asdict(test) for test in diagnosis.tests],
        "symptoms": [s.__dict__ for s in diagnosis.symptoms],
    }


def _suspect_dict(suspect: Suspect) -> dict[str, Any]:
    return {
        "cause": suspect.cause.name,
        "title": suspect.title,
        "signs": [s.__dict__ for s in (suspect.match.decisive if suspect.match else ())],
        "explains": list(suspect.explained),
        "doubt": suspect.match.doubt if suspect.match else "",
        "kept_down": suspect.match.kept_down if suspect.match else "",
        "test": suspect.cause.test,
        "answered_by": list(suspect.answered_by),
        "remedy": suspect.cause.remedy,
        "runbook": suspect.cause.runbook,
    }
