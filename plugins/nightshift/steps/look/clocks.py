"""A node's clock against ours, however long the way there takes."""

from __future__ import annotations

from collections.abc import Callable

from nightshift.clients.questions.clock import CLOCK_QUESTION
from nightshift.domain.errors import BlindError
from nightshift.domain.facts.clock import ClockOffset
from nightshift.steps.session import NodePort

_GOOD_SECONDS = 0.1  # no need to ask again for a better answer
_TRIES = 10  # a busy node answers late now and then; one quick answer is enough
_LONGEST_SECONDS = 6.0  # after that it is not asked again


def read_clock(node: NodePort, now: Callable[[], float]) -> ClockOffset:
    """Ask a few times and keep the answer with the shortest way: the first one opens the connection.

    Raises:
        BlindError: LOOK_INCOMPLETE, the node did not say its time.
    """
    began = now()
    best = _ask(node, now)
    for _ in range(_TRIES - 1):
        if best.uncertainty <= _GOOD_SECONDS or now() - began >= _LONGEST_SECONDS:
            break
        best = min(best, _ask(node, now), key=lambda clock: clock.uncertainty)
    return best


def _ask(node: NodePort, now: Callable[[], float]) -> ClockOffset:
    before = now()
    answers = node.look([CLOCK_QUESTION.section])
    after = now()
    return ClockOffset.between(before, *_said(node.name, answers.get(CLOCK_QUESTION.section)), after)


def _said(node: str, answer: tuple[int, str] | None) -> tuple[float, float]:
    code, text = answer or (-1, "")
    try:
        if code == 0:
            return CLOCK_QUESTION.parse(text)
        why = "the section is missing" if answer is None else f"it ended with exit code {code}"
    except ValueError as error:
        why = str(error)
    raise BlindError(
        "LOOK_INCOMPLETE",
        f"The look at node {node} has no usable section {CLOCK_QUESTION.section!r}.",
        cause=f"On the node {why}.",
        next_step=f"Run `sudo /usr/local/lib/nightshift/nightshift-node look clock` on {node} and read its errors.",
    )
