from __future__ import annotations

import math

import pytest
from tests.unit.domain.builders import AWAY

from nightshift.domain.round import MAX_AGE_SECONDS, Moment, NodeTopic, NotRead, Reading, Round, Topic

NUMBER = Topic[int]("number", "the number")
SIZES = NodeTopic[int]("sizes", "the sizes")
NOW = 1000.0


def round_with(reading: Reading | None, topic: str = "number", now: float = NOW) -> Round:
    return Round(Moment.NIGHT, now, {topic: reading} if reading else {})


def why(round_: Round) -> str:
    with pytest.raises(NotRead) as raised:
        round_.get(NUMBER)
    assert raised.value.name == "number"
    assert "the number" in raised.value.unread.message or raised.value.unread is AWAY
    return raised.value.unread.code


def test_a_fresh_fact_is_given() -> None:
    found = round_with(Reading(NOW, value=7))
    assert found.get(NUMBER) == found.find(NUMBER) == 7


def test_a_fact_may_be_nothing() -> None:
    """None, zero and empty are answers like any other."""
    assert round_with(Reading(NOW, value=0)).get(NUMBER) == 0


def test_what_nobody_asked_for_is_missing() -> None:
    found = round_with(None)
    assert why(found) == "FACT_NOT_ASKED"
    assert found.find(NUMBER) is None


def test_what_could_not_be_read_keeps_its_own_reason() -> None:
    found = round_with(Reading(NOW, value=7, problem=AWAY))
    assert why(found) == "NODE_UNREACHABLE"
    assert found.find(NUMBER) is None


@pytest.mark.parametrize("age", [0.0, 1.0, MAX_AGE_SECONDS])
def test_young_enough(age: float) -> None:
    assert round_with(Reading(NOW - age, value=7)).get(NUMBER) == 7


@pytest.mark.parametrize("age", [MAX_AGE_SECONDS + 0.1, 1e9, -0.1, math.nan, math.inf, -math.inf])
def test_too_old_from_the_future_or_of_no_age_is_missing(age: float) -> None:
    found = round_with(Reading(NOW - age, value=7))
    assert why(found) == "FACT_TOO_OLD"
    assert found.find(NUMBER) is None


def test_a_clock_that_gives_no_number_makes_everything_too_old() -> None:
    assert why(round_with(Reading(NOW, value=7), now=math.nan)) == "FACT_TOO_OLD"


def test_nodes_that_answered_and_nodes_that_did_not() -> None:
    found = round_with(Reading(NOW, value={"w1": 3}, problems={"w2": AWAY}), "sizes")
    assert found.by_node(SIZES) == {"w1": 3}
    assert found.silent(SIZES) == {"w2": AWAY}


def test_the_silence_of_nodes_that_could_not_even_be_asked_is_no_silence() -> None:
    with pytest.raises(NotRead):
        round_with(Reading(NOW, problem=AWAY), "sizes").silent(SIZES)
