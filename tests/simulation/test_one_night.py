"""One night of the simulation and what it is built from; `make check` plays these too, so that the model keeps up with the product."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk import RetryAction
from tests.simulation import airflow, campaign
from tests.simulation.faults import FAULTS
from tests.simulation.world import World, installed, play

from nightshift.clients import etcd_metrics
from nightshift.domain import errors
from nightshift.orchestration import dag_builder
from nightshift.orchestration.retries import RETRY_POLICY

ROOT = Path(__file__).parents[2]


def _replayed(seed: int, hash_seed: str) -> str:
    words = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--trace"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_seed_is_the_same_night_in_every_process() -> None:
    """Else a replay command replays something else."""
    one = _replayed(7, "1")
    assert len(one.splitlines()) > 100
    assert one == _replayed(7, "2")


def test_a_night_without_faults_takes_every_node_to_the_target() -> None:
    world = World(3)
    world.plan.pending.clear()
    with installed(world.hub):
        result = world.run()
    assert (result.breaches, result.nights, world.is_target_reached) == ([], 1, True)
    assert result.longest_debt < 5


def test_no_metrics_are_parsed_twice() -> None:
    """Most of a seed's time went there once, unseen, when a reader had moved to another module."""
    real = etcd_metrics.parse_etcd_metrics
    steps = [module for name, module in sys.modules.items() if name.startswith("nightshift.steps")]
    assert [module.__name__ for module in steps if real in vars(module).values()] == []


def test_what_is_played_is_what_is_built() -> None:
    """The order of a node's tasks and the tries are Airflow's wiring, which the simulation only plays."""
    assert dag_builder._NODE_STEPS == airflow.NODE_STEPS
    assert list(dag_builder._NODE_STEPS) == list(airflow.NODE_STEPS)
    assert dag_builder.retry_arguments()["retries"] == airflow.RETRIES


@pytest.mark.parametrize(
    "error",
    [
        errors.UnreachableError,
        errors.TransientError,
        errors.LateTryError,
        errors.FencedError,
        errors.GateClosedError,
        errors.RemoteJobError,
        errors.LeaseHeldError,
        errors.VerificationError,
        errors.DrainBlockedError,
        errors.StoppedError,
    ],
)
def test_tries_are_those_of_the_policy(error: type[errors.NightshiftError]) -> None:
    raised = error("X_Y", "m", cause="c", next_step="n")
    is_tried = RETRY_POLICY.evaluate(raised, 1, airflow.RETRIES).action is not RetryAction.FAIL
    assert (airflow.retry_delay(raised, 0) is not None) == is_tried


def test_faults_have_a_word_for_people() -> None:
    assert [name for name, fault in FAULTS.items() if not fault.__doc__] == []


def test_a_seed_that_fails_says_how_to_replay_it() -> None:
    report = campaign.Report()
    report.add(play(0))
    report.failures[:] = [campaign.Result(12, ["debt: …"], set(), 0, 0.0, 1, 0, 0.0)]
    assert f"{sys.executable} -m tests.simulation --seed 12 --trace" in "\n".join(report.lines())
