"""Every gate on the real cluster: it stays open while nothing is the matter, and turns for what it is there for, alone."""

from __future__ import annotations

import pytest
from tests.lab.gate_cases import GateCase
from tests.lab.gate_world import GateWorld, collect_cases, not_healthy
from tests.lab.world import World

ROUNDS = 20
ROUND_LIMIT_SECONDS = 10.0  # of everything but the settle window


@pytest.fixture(scope="module")
def gate_world(world: World) -> GateWorld:
    """The cases share one cluster as long as each leaves it healthy."""
    return GateWorld(world)


@pytest.mark.timeout(7200)
def test_healthy_twenty_times(gate_world: GateWorld) -> None:
    gate_world.ready("small")
    problems, slow = [], []
    for number in range(ROUNDS):
        said = gate_world.ask()
        problems += [f"round {number + 1}: {problem}" for problem in not_healthy(said)]
        slow += [said.round_seconds] if said.round_seconds > ROUND_LIMIT_SECONDS else []
    assert not problems, "\n".join(problems)
    assert not slow, f"rounds took {slow} s"


@pytest.mark.parametrize("case", collect_cases(), ids=lambda case: f"{case.gate}: {case.name}")
def test_a_fault_turns_its_gate_and_no_other(gate_world: GateWorld, case: GateCase) -> None:
    gate_world.play(case)
