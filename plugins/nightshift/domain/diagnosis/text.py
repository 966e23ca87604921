"""A diagnosis as plain text, for a terminal and for logs."""

from __future__ import annotations

from collections.abc import Iterator

from nightshift.domain.diagnosis.answers import CauseTest
from nightshift.domain.diagnosis.engine import Diagnosis, Suspect
from nightshift.domain.diagnosis.names import cause_name, said_of
from nightshift.domain.diagnosis.signs import Sign

_SHOWN_FILES = 4
_SHOWN_UNKNOWNS = 8  # the first are those that would explain what failed


def as_text(diagnosis: Diagnosis) -> str:
    """Verdict first, then what proves it, what to do, and what was thought of besides."""
    return "\n".join(_lines(diagnosis)) + "\n"


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield diagnosis.sentence
    yield f"Confidence: {diagnosis.confidence.value}."
    if diagnosis.symptoms:
        yield "What failed: " + "; ".join(f"{_named(s)} ({s.source})" for s in diagnosis.symptoms) + "."
    if diagnosis.first is not None:
        yield from _first(diagnosis.first)
    yield from diagnosis.points
    yield from _section("Tests", [_answer(test) for test in diagnosis.tests])
    yield from _section("It led to", [_suspect(s) for s in diagnosis.chain])
    yield from _section("Also seen, not the first cause", [_suspect(s) for s in diagnosis.conditions])
    yield from _section("Could be the cause as well", [_suspect(s) + _test(s) for s in diagnosis.rivals])
    yield from _section(
        "Ruled out", [f"{cause_name(name)}: {why}" for name, why in sorted(diagnosis.ruled_out.items())]
    )
    yield from _section("Unknown", _cut(diagnosis.unknowns))


def _first(first: Suspect) -> Iterator[str]:
    yield "Seen:"
    for sign in first.match.decisive if first.match else ():
        yield f"  {_named(sign)} in {sign.source}" + (f" ({sign.value})" if sign.value else "")
        yield from (f"    {line}" for line in sign.quote.splitlines())
    if first.match and first.match.doubt:
        yield f"Not sure, because {first.match.doubt}."
    yield f"To be sure: {first.cause.test}{_answered(first)}"
    yield f"What to do: {first.cause.remedy}"
    yield f"More: docs/runbooks/{first.cause.runbook}.md"


def _named(sign: Sign) -> str:
    times = f", {sign.count} times" if sign.count > 1 else ""
    return f"{said_of(sign.name, sign.subject)}{times}"


def _suspect(suspect: Suspect) -> str:
    why = suspect.match.kept_down if suspect.match else ""
    return f"{suspect.title}{f' Why not: {why}.' if why else ''}"


def _test(suspect: Suspect) -> str:
    return f" To tell: {suspect.cause.test}{_answered(suspect)}"


def _answered(suspect: Suspect) -> str:
    """Where the bundle holds the answer of that hour already: the node may look otherwise by now."""
    files = ", ".join(suspect.answered_by[:_SHOWN_FILES])
    return f" As it was then: {files}." if files else ""


def _answer(test: CauseTest) -> str:
    """Cause, answer, what decided it, and where that is from."""
    where = ", ".join(filter(None, (test.source, test.asked)))
    said = f"{cause_name(test.cause)}? {test.answer.capitalize()}: {test.finding}{f' [{where}]' if where else ''}."
    return (
        f"{said}{f' {test.later[:1].upper()}{test.later[1:]}.' if test.later else ''} To ask: {test.question}"
    )


def _section(title: str, rows: list[str]) -> Iterator[str]:
    if rows:
        yield f"{title}:"
        yield from (f"  - {row}" for row in rows)


def _cut(unknowns: tuple[str, ...]) -> list[str]:
    more = len(unknowns) - _SHOWN_UNKNOWNS
    return [*unknowns[:_SHOWN_UNKNOWNS], *([f"and {more} more (--json names them)"] if more > 0 else [])]
