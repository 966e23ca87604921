"""An Airflow without a name of its own: two of them would be one owner, so it begins nothing; it still repairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, make_session

from nightshift.domain.errors import ConfigError
from nightshift.domain.owner import UNNAMED
from nightshift.steps.brake import held
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.hold import acquire
from nightshift.steps.open_night import open_night
from nightshift.steps.recover import recover, sweep
from nightshift.steps.session import Session


@pytest.fixture
def unnamed(cluster: FakeCluster, tmp_path: Path) -> Session:
    return make_session(cluster, tmp_path, installation=UNNAMED)


BEGINNINGS: dict[str, Callable[[Session, dict[str, Any]], object]] = {
    "open_night": lambda session, choice: open_night(session),
    "a dry run": lambda session, choice: open_night(session, dry_run=True),
    "claim": claim,
    "a step that a person lets run by marking what is before it": (
        lambda session, choice: drain_node(session, "w1")
    ),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_it_is_refused_before_anything_is_touched_and_told_what_to_set(
    cluster: FakeCluster, unnamed: Session, choice: dict[str, Any], beginning: str
) -> None:
    before = (cluster.lease, dict(cluster.nodes), dict(cluster.marks))
    with pytest.raises(ConfigError, match=r"CONFIG_INVALID.*NIGHTSHIFT_INSTALLATION") as told:
        BEGINNINGS[beginning](unnamed, choice)
    assert "take each other's Lease for their own" in told.value.cause
    assert "no other Airflow has" in told.value.next_step
    assert (cluster.lease, dict(cluster.nodes), dict(cluster.marks)) == before
    assert all(not node.token for node in cluster.fakes.values())


def test_a_lease_of_the_same_name_is_not_its_own(cluster: FakeCluster, unnamed: Session) -> None:
    """However it came there: held by another Airflow that has no name either."""
    cluster.lease = unnamed.kube.claim_lease(unnamed.owner, cluster.now, 120, cluster.lease) or cluster.lease
    assert cluster.lease.holder == unnamed.owner
    taken = cluster.lease
    with pytest.raises(ConfigError, match="CONFIG_INVALID"):
        acquire(unnamed)
    assert cluster.lease == taken


def test_its_sweeper_leaves_a_live_run_alone_and_repairs_a_dead_one(
    cluster: FakeCluster, session: Session, unnamed: Session
) -> None:
    acquire(session)
    session.kube.cordon("w1", session.owner, 1)
    assert sweep(unnamed, None, "sweeper")["answer"] == "live"
    cluster.sleep(121)
    assert sweep(unnamed, None, "sweeper")["answer"] == "recovered"
    assert (cluster.lease.holder, cluster.nodes["w1"].is_unschedulable) == ("", False)


def test_the_end_of_its_refused_night_takes_nothing_from_a_run_of_the_same_id(
    session: Session, unnamed: Session, cluster: FakeCluster
) -> None:
    acquire(session)
    assert (session.run_id, session.owner != unnamed.owner) == (unnamed.run_id, True)
    assert recover(unnamed, unnamed.run_id, "its night failed")["answer"] == "live"
    assert cluster.lease.holder == session.owner


def test_a_person_may_end_a_run_from_it_by_the_runs_whole_name(
    session: Session, unnamed: Session, cluster: FakeCluster
) -> None:
    acquire(session)
    assert recover(unnamed, session.owner, "the form")["answer"] == "recovered"
    assert cluster.lease.holder == ""


def test_its_brake_is_read_as_ever(cluster: FakeCluster, unnamed: Session) -> None:
    cluster.paused = "migration of anna"
    found = held(unnamed)
    assert found is not None
    assert found.code == "BRAKE_ON"
