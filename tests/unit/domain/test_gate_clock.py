from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.unit.domain.gate_rounds import POLICY, round_of

from nightshift.domain.facts.clock import CLOCKS, ClockOffset
from nightshift.domain.gates import clock
from nightshift.domain.policy import NodePolicy
from nightshift.domain.verdicts import Outcome, Verdict


def verdict_of(limit_milliseconds: int = 500, **offsets: tuple[float, float]) -> Verdict:
    clocks = {name: ClockOffset(*offset) for name, offset in offsets.items()}
    policy = replace(POLICY, nodes=NodePolicy(clock_limit_milliseconds=limit_milliseconds))
    return clock.check(round_of({CLOCKS: clocks}), policy)


@pytest.mark.parametrize(
    ("offset", "uncertainty", "outcome", "code"),
    [
        (0.0, 0.05, Outcome.PASS, "OK"),
        (0.49, 0.01, Outcome.PASS, "OK"),
        (0.0, 0.4, Outcome.PASS, "OK"),  # a slow way, and right for certain
        (0.1, 0.4, Outcome.PASS, "OK"),
        (0.101, 0.4, Outcome.BLIND, "CLOCK_UNKNOWN"),
        (0.8, 0.4, Outcome.BLIND, "CLOCK_UNKNOWN"),  # not certainly above, not certainly below
        (4.9, 4.5, Outcome.BLIND, "CLOCK_UNKNOWN"),
        (-4.9, 4.5, Outcome.BLIND, "CLOCK_UNKNOWN"),
        (0.8, 0.1, Outcome.BLOCK, "CLOCK_SKEW"),
        (-0.8, 0.1, Outcome.BLOCK, "CLOCK_SKEW"),
        (9.0, 1.0, Outcome.BLOCK, "CLOCK_SKEW"),
        (0.0, 6.0, Outcome.BLIND, "CLOCK_UNKNOWN"),
        (0.0, float("nan"), Outcome.BLIND, "CLOCK_UNKNOWN"),
        (float("nan"), 0.1, Outcome.BLIND, "CLOCK_UNKNOWN"),
        (0.0, float("inf"), Outcome.BLIND, "CLOCK_UNKNOWN"),
    ],
)
def test_one_node_is_off(offset: float, uncertainty: float, outcome: Outcome, code: str) -> None:
    verdict = verdict_of(cp1=(0.0, 0.02), w1=(0.0, 0.02), w2=(offset, uncertainty))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert "w2" in verdict.message


def test_two_nodes_may_each_be_near_us_and_far_from_each_other() -> None:
    verdict = verdict_of(cp1=(-0.4, 0.01), w1=(0.4, 0.01))
    assert verdict.outcome is Outcome.BLOCK
    assert "cp1" in verdict.message
    assert "w1" in verdict.message
    assert "780 ms" in verdict.message


def test_clocks_that_are_right_pass_over_a_way_that_is_as_slow_as_a_busy_lab() -> None:
    """All the way may lie before the answer: then the offset that was found is as large as its uncertainty."""
    slow = {"cp1": (0.25, 0.25), "w1": (0.24, 0.25), "w2": (0.05, 0.05)}
    assert verdict_of(**slow).outcome is Outcome.PASS


def test_when_all_nodes_differ_alike_our_own_clock_is_suspected() -> None:
    verdict = verdict_of(cp1=(3.0, 0.01), w1=(3.01, 0.01))
    assert verdict.outcome is Outcome.BLOCK
    assert verdict.message.startswith("This host's clock differs from all 2 nodes")


def test_the_policy_moves_the_limit() -> None:
    assert verdict_of(2000, cp1=(1.5, 0.01), w1=(0.0, 0.01)).outcome is Outcome.PASS


def test_a_blind_node_does_not_hide_another_that_is_off() -> None:
    verdict = verdict_of(cp1=(0.0, 9.0), w1=(3.0, 0.01), w2=(0.0, 0.01))
    assert verdict.outcome is Outcome.BLIND
    assert "Also: The clocks of w2" in verdict.message


def test_the_true_offset_always_lies_within_the_uncertainty() -> None:
    """However the time of a question is spread over the way there and back."""
    chance = random.Random(7)
    for _ in range(2000):
        true, there, back = chance.uniform(-5, 5), chance.expovariate(3), chance.expovariate(3)
        before = chance.uniform(0, 1e9)
        work = chance.choice(
            [0.0, chance.expovariate(3)]
        )  # between the first time the node said and the last
        first = before + there + true
        found = ClockOffset.between(before, first, first + work, before + there + work + back)
        assert found.uncertainty <= (there + back) / 2 + 1e-6
        assert abs(found.seconds - true) <= found.uncertainty + 1e-6
