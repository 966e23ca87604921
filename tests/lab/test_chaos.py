"""One chaos case per change; all of them are played by `make chaos` (lab/chaos/run.py)."""

from __future__ import annotations

import pytest
from tests.lab.world import World

from chaos.catalogue import case_named, short_cases
from chaos.ground import ChaosWorld
from chaos.play import play
from chaos.results import directory


@pytest.mark.ci_in_turn
@pytest.mark.parametrize("name", [case.name for case in short_cases()])
def test_what_is_struck_is_safe_in_time_and_converges(world: World, name: str) -> None:
    world.used = True
    chaos = ChaosWorld()
    journal = directory() / "ci" / f"{name}.jsonl"
    try:
        verdict = play(chaos, case_named(name), journal)
    finally:
        chaos.close()
    assert verdict.has_passed, "\n".join([f"journal: {journal}", *verdict.problems])
