"""Each strike of chaos by itself, as a test: a change plays one in turn; `make chaos` (lab/chaos/run.py) plays the whole cases.

What is played here is written down nowhere in the repository: tests/lab/chaos.json is about whole cases.
"""

from __future__ import annotations

import pytest
from tests.lab.world import World

from chaos.catalogue import case_named, strikes_alone
from chaos.ground import ChaosWorld
from chaos.play import play
from chaos.results import FILE, directory, load, passed_once


def single_strikes() -> dict[str, bool]:
    """Name of each strike by itself -> whether changes play it: only what passed as part of its whole case."""
    passed = passed_once(load(FILE))
    return {alone.name: case.name in passed for case, alone in strikes_alone()}


@pytest.mark.chaos
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.ci_in_turn] if is_played else [])
        for name, is_played in single_strikes().items()
    ],
)
def test_what_is_struck_is_safe_in_time_and_converges(world: World, name: str) -> None:
    world.used = True
    chaos = ChaosWorld()
    journal = directory() / "ci" / f"{name}.jsonl"
    try:
        verdict = play(chaos, case_named(name), journal)
    finally:
        chaos.close()
    assert verdict.has_passed, "\n".join([f"journal: {journal}", *verdict.problems])
