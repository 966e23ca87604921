"""What a gate says, and how all gates fold into the night's decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nightshift.domain.look_again import LookAgain, together, usual

# What a blind night says of itself when nobody knows better.
BLIND_CAUSE = "Something that must be known before a node is touched could not be known."
BLIND_NEXT_STEP = "Make it readable again; nothing was touched and the next night asks anew."


class Outcome(StrEnum):
    """What a gate found, from harmless to grave."""

    PASS = "pass"
    WARN = "warn"
    HOLD = "hold"  # waiting for something nobody here can change; quiet
    BLOCK = "block"  # somebody can act; alerts once
    BLIND = "blind"  # could not know; alerts and ends the run red

    @property
    def severity(self) -> int:
        """The worst of several has the largest."""
        return list(Outcome).index(self)


@dataclass(frozen=True)
class Verdict:
    """One gate's answer.

    Args:
        gate: the gate's name, as in the policy and the task id.
        outcome: see `Outcome`.
        code: stable UPPER_SNAKE reason, `docs/runbooks/<code>.md`.
        message: one sentence with subject, number and threshold.
        cause: why this is so, as far as known ("" when it passed).
        resolution: what would flip the verdict ("" when it passed).
        value: the decisive measured number or text, with its unit ("" when there is none).
        threshold: what it was compared with, with its unit.
        evidence: small, JSON-serialisable details per node or member.
        look_again: when another look may say something else; given none, whatever did not pass has its code's usual one.
    """

    gate: str
    outcome: Outcome
    code: str
    message: str
    cause: str = ""
    resolution: str = ""
    value: str = ""
    threshold: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    look_again: LookAgain | None = None

    def __post_init__(self) -> None:
        """See to it that whatever did not pass says when to look again."""
        if self.look_again is None:
            object.__setattr__(self, "look_again", usual(self.outcome, self.code))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data (for XCom and the ledger)."""
        return {
            **vars(self),
            "outcome": self.outcome.value,
            "evidence": dict(self.evidence),
            "look_again": self.look_again.to_dict() if self.look_again else None,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Verdict:
        """Rebuild a verdict from `to_dict`'s output, also of a version that did not say when to look again."""
        look_again = LookAgain.from_dict(data.get("look_again"))
        return Verdict(**{**data, "outcome": Outcome(data["outcome"]), "look_again": look_again})


class Answer(StrEnum):
    """The night's decision. "nothing" and "held" stay quiet, "blocked" alerts once, "blind" is red; "dry_run" only said."""

    GO = "go"
    NOTHING = "nothing"
    HELD = "held"
    BLOCKED = "blocked"
    BLIND = "blind"
    DRY_RUN = "dry_run"  # what the night would be was said, and nothing begun


@dataclass(frozen=True)
class Decision:
    """The folded answer of all gates, with one plain sentence.

    Args:
        answer: see `Answer`.
        sentence: what decided it.
        verdicts: all gates' verdicts.
        code: the one code of all verdicts that decided it; "" when they gave several, or when it is "go".
        cause: why, as far as those verdicts know.
        next_step: what would flip them.
        look_again: when another look may say something else, one sentence; "" when it is "go".
    """

    answer: Answer
    sentence: str
    verdicts: tuple[Verdict, ...] = ()
    code: str = ""
    cause: str = ""
    next_step: str = ""
    look_again: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {**vars(self), "answer": self.answer.value, "verdicts": [v.to_dict() for v in self.verdicts]}


_ANSWERS = {Outcome.BLIND: Answer.BLIND, Outcome.BLOCK: Answer.BLOCKED, Outcome.HOLD: Answer.HELD}


def fold_verdicts(verdicts: Iterable[Verdict], expected_gates: Iterable[str]) -> Decision:
    """Fold all verdicts into one decision; the worst outcome wins, a gate that gave none is blind.

    Args:
        verdicts: what the gates said.
        expected_gates: names of all gates that must have spoken.
    """
    spoken = tuple(verdicts)
    missing = sorted(set(expected_gates) - {v.gate for v in spoken})
    silent = tuple(
        Verdict(
            gate=name,
            outcome=Outcome.BLIND,
            code="GATE_SILENT",
            message=f"Gate {name} gave no verdict.",
            cause="Its task failed or never ran.",
            resolution="Read that task's log, clear it, and let decide run again.",
        )
        for name in missing
    )
    everything = (*spoken, *silent)
    worst = max((v.outcome for v in everything), key=lambda o: o.severity, default=Outcome.PASS)
    answer = _ANSWERS.get(worst, Answer.GO)
    if answer is Answer.GO:
        warned = [v.message for v in everything if v.outcome is Outcome.WARN]
        sentence = "All gates passed." if not warned else "Gates passed with warnings: " + " ".join(warned)
        return Decision(answer, sentence, everything)
    leading = [v for v in everything if v.outcome is worst]
    codes = {v.code for v in leading}
    again = together(v.look_again for v in leading)
    return Decision(
        answer,
        _joined(v.message for v in leading),
        everything,
        code=codes.pop() if len(codes) == 1 else "",
        cause=_joined(v.cause for v in leading),
        next_step=_joined(v.resolution for v in leading),
        look_again=again.sentence if again else "",
    )


def _joined(sentences: Iterable[str]) -> str:
    """Join what several gates say; what they say alike (an API that is away) is said once."""
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence))
