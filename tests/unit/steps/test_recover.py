from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, running_job

from nightshift.domain.facts import LeaseFacts
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.hold import acquire, hold
from nightshift.steps.recover import recover
from nightshift.steps.session import Session


def _is_clean(cluster: FakeCluster, session: Session) -> bool:
    tidy = not any(n.is_unschedulable or n.annotations for n in cluster.nodes.values())
    return tidy and not cluster.marks and not cluster.lease.holder


@pytest.fixture
def half_done(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    claim(session, choice)
    drain_node(session, "w1")


@pytest.mark.usefixtures("half_done")
def test_a_run_repays_its_own_debts_at_its_end(cluster: FakeCluster, session: Session) -> None:
    done = recover(session, "run-1", "teardown")
    assert done["answer"] == "recovered"
    assert _is_clean(cluster, session)
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 0
    assert cluster.lease.token == 2
    assert {n.token for n in cluster.fakes.values()} == {2}


@pytest.mark.usefixtures("half_done")
def test_again_it_finds_nothing_to_do(cluster: FakeCluster, session: Session) -> None:
    recover(session, "run-1", "teardown")
    assert recover(session, "run-1", "again")["answer"] == "nothing"
    assert recover(session, None, "sweeper")["answer"] == "nothing"


@pytest.mark.usefixtures("half_done")
def test_the_sweeper_leaves_a_live_run_alone(cluster: FakeCluster, other_session: Session) -> None:
    assert recover(other_session, None, "sweeper")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable


@pytest.mark.usefixtures("half_done")
def test_the_sweeper_repays_a_dead_run(cluster: FakeCluster, other_session: Session) -> None:
    cluster.sleep(121)
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert _is_clean(cluster, other_session)


@pytest.mark.usefixtures("half_done")
def test_the_sweeper_waits_for_a_job_that_outlived_its_run_and_does_not_fence(
    cluster: FakeCluster, other_session: Session
) -> None:
    cluster.sleep(121)
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade")
    token = cluster.lease.token
    done = recover(other_session, None, "sweeper")
    assert done["answer"] == "waiting"
    assert "w1: kubeadm-upgrade" in done["remaining"][0]
    assert cluster.lease.token == token
    cluster.fakes["w1"].jobs.clear()
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"


@pytest.mark.usefixtures("half_done")
def test_an_unreachable_node_keeps_its_debts(cluster: FakeCluster, other_session: Session) -> None:
    cluster.sleep(121)
    cluster.fakes["w1"].is_away = True
    done = recover(other_session, None, "sweeper")
    assert done["answer"] == "partial"
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.lease.holder == "run-1"
    cluster.fakes["w1"].is_away = False
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"


@pytest.mark.usefixtures("half_done")
def test_the_teardown_waits_for_its_own_job(cluster: FakeCluster, session: Session) -> None:
    job = running_job("kubeadm-upgrade", "run-1")
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = job
    assert recover(session, "run-1", "callback")["answer"] == "waiting"
    assert cluster.nodes["w1"].is_unschedulable
    sleep, until = session.sleep, cluster.now + 60

    def end_job(seconds: float) -> None:
        sleep(seconds)
        if cluster.now > until:
            cluster.fakes["w1"].jobs["kubeadm-upgrade"] = replace(job, state="failed", exit_code=1)

    session.sleep = end_job
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "recovered"


def test_a_run_that_was_recovered_does_not_touch_its_successor(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    acquire(session)
    cluster.sleep(121)
    acquire(other_session)
    drain_node(other_session, "w2")
    assert recover(session, "run-1", "late teardown")["answer"] == "live"
    assert cluster.nodes["w2"].is_unschedulable
    assert cluster.lease.holder == "run-2"


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_claims_in_between_keeps_everything(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    bump = session.kube.bump_token

    def claimed_first(expected: LeaseFacts) -> LeaseFacts | None:
        acquire(other_session)
        return bump(expected)

    session.kube.bump_token = claimed_first  # type: ignore[method-assign]
    assert recover(session, None, "sweeper")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.marks["nightshift.io/run-id"] == "run-2"


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_claims_after_the_fence_keeps_everything(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    node = cluster.fakes["cp1"]
    fence = node.fence

    def claimed_meanwhile(token: int) -> None:
        fence(token)
        if cluster.lease.holder == "run-1":
            acquire(other_session)

    node.fence = claimed_meanwhile  # type: ignore[method-assign]
    assert recover(session, None, "sweeper")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.lease.holder == cluster.marks["nightshift.io/run-id"] == "run-2"


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_takes_over_while_debts_are_repaid_keeps_its_own(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    """The last moment: the recovery has looked for the last time and lifts the dead run's cordons."""
    cluster.sleep(121)
    uncordon = session.kube.uncordon

    def taken_over(name: str, run_id: str | None = None) -> bool:
        drain_node(other_session, name)
        return uncordon(name, run_id)

    session.kube.uncordon = taken_over  # type: ignore[method-assign]
    recover(session, None, "sweeper")
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.nodes["w1"].annotations["nightshift.io/owner"] == "run-2"
    assert cluster.marks["nightshift.io/run-id"] == cluster.lease.holder == "run-2"
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 1


@pytest.mark.usefixtures("half_done")
def test_marks_on_a_node_a_person_uncordoned_are_dropped(cluster: FakeCluster, session: Session) -> None:
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], is_unschedulable=False)
    assert recover(session, "run-1", "teardown")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_gauge_that_could_not_be_cleared_is_cleared_by_the_next_recovery(session: Session) -> None:
    session.pushgateway.problem = "connection refused"
    recover(session, "run-1", "teardown")
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 1
    session.pushgateway.problem = None
    assert recover(session, "run-1", "callback")["answer"] == "nothing"
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 0


@pytest.mark.usefixtures("half_done")
def test_a_foreign_cordon_outlives_recovery(cluster: FakeCluster, session: Session) -> None:
    cluster.nodes["w2"] = replace(cluster.nodes["w2"], is_unschedulable=True)
    recover(session, "run-1", "teardown")
    assert cluster.nodes["w2"].is_unschedulable


@pytest.mark.usefixtures("half_done")
def test_after_recovery_a_zombie_is_refused_by_the_nodes(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    recover(other_session, None, "sweeper")
    with hold(session, [cluster.nodes["w1"]]) as held:
        assert held.token > 2


def test_an_idle_cluster_is_not_asked_over_ssh(cluster: FakeCluster, session: Session) -> None:
    for node in cluster.fakes.values():
        node.broken = AssertionError("asked")
    assert recover(session, None, "sweeper")["answer"] == "nothing"
