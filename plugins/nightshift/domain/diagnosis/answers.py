"""The discriminating tests, answered: is it this cause?

An answer is what the decisive signs say and no more: one that is there says yes; all were looked for and none is there, no; anything else
is *not answered*. Beside an answer of the failure's own evidence stands what the node said when it was asked again (`asked.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nightshift.domain.diagnosis.asked import FOLDER, Asked, sections_of_one
from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.names import either, said_of
from nightshift.domain.diagnosis.signs import Sign, Signs, State

_QUOTE_SHOWN = 160  # characters


class Answer(StrEnum):
    """Is it this cause?"""

    YES = "yes"
    NO = "no"
    NOT_ANSWERED = "not answered"


@dataclass(frozen=True)
class CauseTest:
    """The test of one cause.

    Args:
        cause: its name.
        question: what separates it from its rivals, and the command that a person would ask with.
        answer: see `Answer`.
        finding: what decided it: the sign that was seen, with its number or words; or what was looked for.
        source: file of the bundle that shows it ("" when nothing was seen).
        asked: "asked on NODE at TIME" when the evidence lacked it and the node said it afterwards ("" else).
        later: what the node says by now of what the evidence had answered ("" when it was not asked, or no sign tells).
    """

    cause: str
    question: str
    answer: Answer
    finding: str
    source: str = ""
    asked: str = ""
    later: str = ""


def tested(cause: Cause, first: Signs, final: Signs, asked: Asked | None, now: Signs) -> CauseTest:
    """Answer the test of one cause.

    Args:
        cause: of the catalogue.
        first: what the evidence of the failure shows.
        final: the same, with what it lacked filled by what was asked later.
        asked: what was asked later; None: nothing.
        now: what the node shows by now, by the files that were asked for alone.
    """
    answer, finding, source = _answered(cause, final)
    is_about = asked is not None and bool({*sections_of_one(cause)} & {*asked.sections})
    if asked is None or not is_about:
        return CauseTest(cause.name, cause.test, answer, finding, source)
    if answer is Answer.NOT_ANSWERED and asked.failed:
        finding = f"{finding}; {asked.node} could not be asked again: {asked.failed}"
    is_new = _is_new(cause, first, final, source)
    return CauseTest(
        cause.name,
        cause.test,
        answer,
        finding,
        source,
        asked=f"asked on {asked.node} at {asked.clock}" if is_new else "",
        later="" if is_new else _later(cause, final, now, asked),
    )


def _answered(cause: Cause, signs: Signs) -> tuple[Answer, str, str]:
    """Answer, finding, source."""
    match = cause.match(signs)
    if match is not None:
        return Answer.YES, _seen(match), match.decisive[0].source
    unread = [name for name in cause.decisive if signs.state(name) is State.UNREAD]
    if unread:
        why = next((signs.unread[name] for name in unread if name in signs.unread), "")
        said = f"the evidence does not say whether {either(unread)}{f' ({why})' if why else ''}"
        return Answer.NOT_ANSWERED, said, ""
    hints = signs.of(*cause.hints)
    if hints:
        return Answer.NOT_ANSWERED, f"not proved, and not ruled out: {_told(hints[0])}", hints[0].source
    return Answer.NO, f"looked for and not seen: {either(cause.decisive)}", ""


def _seen(match: Match) -> str:
    but = match.kept_down or match.doubt
    return _told(match.decisive[0]) + (f"; but {but}" if but else "")


def _told(sign: Sign) -> str:
    """A sign with its number, or else with its words."""
    words = sign.value or sign.quote.partition("\n")[0][:_QUOTE_SHOWN]
    return said_of(sign.name, sign.subject) + (f" ({words})" if words else "")


def _is_new(cause: Cause, first: Signs, final: Signs, source: str) -> bool:
    """Whether the answer is one that the evidence of the failure did not have."""
    if source:
        return source.startswith(FOLDER)
    states = [(first.state(name), final.state(name)) for name in cause.decisive]
    return any(before is State.UNREAD and after is not State.UNREAD for before, after in states)


def _later(cause: Cause, then: Signs, now: Signs, asked: Asked) -> str:
    """What is so by now, by those decisive signs that the files asked for can tell."""
    absent = [name for name in cause.decisive if now.state(name) is State.ABSENT]
    seen = now.of(*cause.decisive)
    gone = [name for name in absent if then.of(name)]
    if seen:
        word = "still so" if then.of(*(sign.name for sign in seen)) else "it is so by now"
        return f"at {asked.clock}: {word}: {_told(seen[0])}"
    if gone:
        return f"at {asked.clock}: no longer: {either(gone)}"
    return f"at {asked.clock}: not seen: {either(absent)}" if absent else ""
