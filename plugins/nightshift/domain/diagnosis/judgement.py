"""The verdict on a bundle with its tests answered: first reading, what the node was asked after it, and what follows.

What the evidence lacked and the node said afterwards counts for the verdict. What the evidence had stays as it was: a file that somebody
has taken away since was still the cause. And a *no* of afterwards makes no other cause sure: nobody saw that it was so at the failure. Nor does a *yes*: what is so by now may have come
after the failure, so a cause that only the later answer shows is likely at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nightshift.domain.diagnosis.answers import tested
from nightshift.domain.diagnosis.asked import FOLDER, asked_in, first_evidence, sections_of
from nightshift.domain.diagnosis.cause import Cause
from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import Confidence, Diagnosis, Suspect, diagnose
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import Sign, Signs

_MOST = 5  # tests of one diagnosis, the likeliest causes first
_BY_NAME = {cause.name: cause for cause in CATALOGUE}


def conclude(files: Mapping[str, str], since: float | None, signs: Signs) -> Diagnosis:
    """Return the verdict.

    Args:
        files: path in the bundle -> text, with what was asked later.
        since: when the failed step's job began, epoch seconds; None: see `reading.read`.
        signs: what the evidence of the failure alone shows: `read(first_evidence(files), since)`.
    """
    own, asked = first_evidence(files), asked_in(files)
    filled = asked.fills(own) if asked else {}
    final = _from_later(read({**own, **filled}, since), filled) if filled else signs
    now = read(asked.as_of_now(own), since) if asked and asked.files else Signs()
    first = diagnose(signs, CATALOGUE, SYMPTOMS)
    found = _not_sure_by_later(first, diagnose(final, CATALOGUE, SYMPTOMS)) if filled else first
    tests = [tested(cause, signs, final, asked, now) for cause in _to_test(first, found)]
    return replace(found, tests=tuple(tests))


def sections_to_ask(found: Diagnosis) -> tuple[str, ...]:
    """Names of what the node has to be asked for, to answer the tests of this diagnosis once more."""
    return sections_of(_suspected(found))


def _suspected(found: Diagnosis) -> list[Cause]:
    """The first cause, its rivals, and those that would explain enough and could not be looked for."""
    seen = [s.cause for s in (found.first, *found.rivals) if s is not None]
    return [*seen, *(_BY_NAME[name] for name in found.shadows)][:_MOST]


def _to_test(first: Diagnosis, found: Diagnosis) -> list[Cause]:
    """Those of the first reading, also when the node's answer ruled one out; the cause that is named leads."""
    leading = [found.first.cause] if found.first else []
    causes = {cause.name: cause for cause in (*leading, *_suspected(first), *_suspected(found))}
    return list(causes.values())[:_MOST]


def _from_later(signs: Signs, filled: Mapping[str, str]) -> Signs:
    """The same signs; those that a filled file shows say so."""
    return replace(signs, seen=tuple(_sign_from_later(sign, filled) for sign in signs.seen))


def _sign_from_later(sign: Sign, filled: Mapping[str, str]) -> Sign:
    is_later = sign.source in filled or sign.source.rpartition(":")[0] in filled
    return replace(sign, source=f"{FOLDER}{sign.source}") if is_later else sign


def _not_sure_by_later(first: Diagnosis, found: Diagnosis) -> Diagnosis:
    """A verdict that is sure only by what the node showed afterwards, of the cause or nothing of a rival, is likely."""
    if found.first is None or found.confidence is not Confidence.CONFIDENT:
        return found
    is_by_later = _is_only_later(found.first) or _is_cleared_later(found.first, first, found)
    return replace(found, confidence=Confidence.LIKELY) if is_by_later else found


def _is_only_later(named: Suspect) -> bool:
    """Nothing of the failure's own evidence shows the cause: it may have come since."""
    decisive = named.match.decisive if named.match else ()
    return all(sign.source.startswith(FOLDER) for sign in decisive)


def _is_cleared_later(named: Suspect, first: Diagnosis, found: Diagnosis) -> bool:
    """A rival that the evidence could not tell of was ruled out by the later look alone."""
    cleared = {*first.shadows} - {*found.shadows, named.cause.name}
    return any(_BY_NAME[name].specificity >= named.cause.specificity for name in cleared)
