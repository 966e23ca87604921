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
        (0.8, 0.4, Outcome.PASS, "OK"),  # not certainly above
        (0.8, 0.1, Outcome.BLOCK, "CLOCK_SKEW"),
        (-0.8, 0.1, Outcome.BLOCK, "CLOCK_SKEW"),
        (9.0, 1.0, Outcome.BLOCK, "CLOCK_SKEW"),
        (0.0, 6.0, Outcome.BLIND, "CLOCK_UNKNOWN"),
        (0.0, float("nan"), Outcome.BLIND, "CLOCK_UNKNOWN"),
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
        found = ClockOffset.between(before, before + there + true, before + there + back)
        assert abs(found.seconds - true) <= found.uncertainty + 1e-6
