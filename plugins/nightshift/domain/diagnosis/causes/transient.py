"""Signs that a restart of the control plane shows as well: they count by when and for how long they were said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nightshift.domain.diagnosis.cause import Match, matched
from nightshift.domain.diagnosis.lasting import lasted, standing
from nightshift.domain.diagnosis.signs import Sign, Signs


def in_step_or_lasting(name: str, in_step: str, firm: str) -> Callable[[Signs], Match | None]:
    """Sure is what the failed step says itself, and what was said for long and still held when it failed.

    Args:
        name: of the decisive sign.
        in_step: name of the sign that the failed step says the same itself.
        firm: words of an answer that another try does not change; other trouble that was not said for long is never the first cause.
    """

    def match(signs: Signs) -> Match | None:
        found = matched(signs.of(name))
        if found is None or found.kept_down:
            return found
        said = {sign.subject for sign in signs.of(in_step) if sign.tied}
        return min((_match(sign, signs, said, firm) for sign in found.decisive), key=_weight)

    return match


def _match(sign: Sign, signs: Signs, said: set[str], firm: str) -> Match:
    found = Match((sign,), sign.subject)
    if sign.subject in said:
        return found
    stands = standing(sign, signs)
    kept_down = stands.kept_down if lasted(sign) or firm in sign.quote else stands.kept_down or stands.doubt
    return replace(found, kept_down=kept_down, doubt=stands.doubt)


def _weight(match: Match) -> tuple[bool, bool]:
    return bool(match.kept_down), bool(match.doubt)
