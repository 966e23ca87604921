"""`make simulation`: ten thousand nights with faults, and every mutant found."""

from __future__ import annotations

import os

import pytest
from tests.simulation import campaign
from tests.simulation.mutants import MUTANTS

SEEDS = int(os.environ.get("NIGHTSHIFT_SIMULATION_SEEDS", "10000"))


@pytest.mark.timeout(1400)
def test_no_seed_breaks_an_invariant_and_every_step_meets_every_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = campaign.run(0, SEEDS)
    with capsys.disabled():
        print("\n" + "\n".join(report.lines()))
    assert [f"{r.breaches[0]}: {campaign.replay(r.seed)}" for r in report.failures] == []
    assert report.missing == []


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_broken_product_is_found_within_500_seeds(mutant: str) -> None:
    found = campaign.hunt(mutant, 500)
    assert found is not None, f"{mutant}: not found"
    print(f"{found[1]}: {campaign.replay(found[0], mutant)}")
