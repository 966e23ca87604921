"""`python -m nscorpus.score`: what the diagnosis makes of the corpus; train and held-out apart, per cause.

The score judges the answer alone: what is not *confident* and wrong counts as a miss, not as a lie.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import Confidence, Diagnosis, diagnose
from nightshift.domain.diagnosis.reading import read
from nscorpus.incidents import CORPUS, HEALTHY, LABEL, SIDES, UNCATALOGUED, Incident, corpus

TOP = 3


class Answer(StrEnum):
    """What the diagnosis said, held against the label."""

    RIGHT = "right"  # the first cause is the true one; of an uncatalogued or healthy one: none is named
    UNKNOWN = "unknown"  # no cause is named though the catalogue has it
    WRONG = "wrong"  # another cause is named, as likely
    CONFIDENT_WRONG = "confident and wrong"


@dataclass(frozen=True)
class Judged:
    """One incident and its answer."""

    incident: Incident
    diagnosis: Diagnosis
    answer: Answer
    is_in_top: bool


@dataclass(frozen=True)
class Score:
    """Counts of one side; shares are of the catalogued incidents."""

    catalogued: int
    right: int
    in_top: int
    unknown: int
    wrong: int
    confident_wrong: int
    uncatalogued: int
    uncatalogued_unknown: int
    healthy: int
    healthy_without_cause: int

    @property
    def top_1(self) -> float:
        """Share of catalogued incidents whose true cause is named first."""
        return self.right / self.catalogued if self.catalogued else 0.0

    @property
    def top_3(self) -> float:
        """Share whose true cause is among the first three that are named."""
        return self.in_top / self.catalogued if self.catalogued else 0.0


def ask(files: Mapping[str, str]) -> Diagnosis:
    """The product's own answer to a bundle."""
    return diagnose(read(files), CATALOGUE, SYMPTOMS)


def judge(incident: Incident, diagnosis: Diagnosis) -> Judged:
    """Hold an answer against the label."""
    named = diagnosis.first.cause.name if diagnosis.first else None
    truth = None if incident.label.cause in (HEALTHY, UNCATALOGUED) else incident.label.cause
    # What is kept down is named as what it is not.
    conditions = [s for s in diagnosis.conditions if not (s.match and s.match.kept_down)]
    listed = [diagnosis.first, *diagnosis.rivals, *conditions]
    shown = [suspect.cause.name for suspect in listed if suspect is not None][:TOP]
    return Judged(
        incident,
        diagnosis,
        _answer(named, truth, diagnosis.confidence),
        truth in shown if truth else named is None,
    )


def _answer(named: str | None, truth: str | None, confidence: Confidence) -> Answer:
    if named == truth:
        return Answer.RIGHT
    if named is None:
        return Answer.UNKNOWN
    return Answer.CONFIDENT_WRONG if confidence is Confidence.CONFIDENT else Answer.WRONG


def judge_all(incidents: Sequence[Incident]) -> list[Judged]:
    """Ask and judge each."""
    return [judge(incident, ask(incident.files())) for incident in incidents]


def score(judged: Sequence[Judged]) -> Score:
    """Count."""
    kinds: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        cause = one.incident.label.cause
        kinds[cause if cause in (HEALTHY, UNCATALOGUED) else ""].append(one)
    known = kinds[""]
    return Score(
        catalogued=len(known),
        right=_count(known, Answer.RIGHT),
        in_top=sum(one.is_in_top for one in known),
        unknown=_count(known, Answer.UNKNOWN),
        wrong=_count(known, Answer.WRONG),
        confident_wrong=_count(judged, Answer.CONFIDENT_WRONG),
        uncatalogued=len(kinds[UNCATALOGUED]),
        uncatalogued_unknown=_count(kinds[UNCATALOGUED], Answer.RIGHT),
        healthy=len(kinds[HEALTHY]),
        healthy_without_cause=_count(kinds[HEALTHY], Answer.RIGHT),
    )


def _count(judged: Sequence[Judged], answer: Answer) -> int:
    return sum(one.answer is answer for one in judged)


def report(side: str, judged: Sequence[Judged], *, is_long: bool) -> str:
    """What is printed of one side."""
    said = score(judged)
    live = sum(one.incident.label.origin == "live" for one in judged)
    lines = [
        f"{side}: {len(judged)} incidents, {live} of them live",
        f"  top-1 {said.top_1:.0%}, top-3 {said.top_3:.0%} of {said.catalogued} with a catalogued cause",
        f"  confident and wrong {said.confident_wrong}, likely and wrong {said.wrong}, unknown {said.unknown}",
        f"  uncatalogued answered unknown: {said.uncatalogued_unknown} of {said.uncatalogued}",
        f"  healthy without a cause: {said.healthy_without_cause} of {said.healthy}",
    ]
    by_cause: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        by_cause[one.incident.label.cause].append(one)
    lines += [_row(cause, ones) for cause, ones in sorted(by_cause.items())]
    lines += [_miss(one) for one in judged if is_long or one.answer is not Answer.RIGHT]
    return "\n".join(lines)


def _row(cause: str, ones: Sequence[Judged]) -> str:
    right = _count(ones, Answer.RIGHT)
    live = sum(one.incident.label.origin == "live" for one in ones)
    return f"    {cause:24} {right} of {len(ones)} right, {live} live"


def _miss(one: Judged) -> str:
    found = one.diagnosis
    return f"  {one.incident.name}: {one.answer.value} ({found.confidence.value}): {found.sentence}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the score; 0 always: the bars are unit tests (tests/unit/corpus)."""
    parser = argparse.ArgumentParser(prog="nscorpus.score", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--long", action="store_true", help="the answer to every incident, not only to the misses"
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="incidents that were recorded elsewhere")
    options = parser.parse_args(arguments)
    if not any(options.corpus.glob(f"*/*/{LABEL}")):
        parser.error(f"{options.corpus} holds no incident")
    for side in SIDES:
        print(report(side, judge_all(corpus(side, options.corpus)), is_long=options.long))
    return 0


if __name__ == "__main__":
    sys.exit(main())
