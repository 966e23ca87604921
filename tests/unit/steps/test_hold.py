import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.errors import FencedError, LeaseHeldError, UnreachableError
from nightshift.domain.facts import LeaseFacts
from nightshift.domain.policy import ClusterPolicy, LimitPolicy
from nightshift.domain.takeover import fence
from nightshift.steps.hold import Held, acquire, hold, renew_if_ours, renewing_if_ours
from nightshift.steps.session import Session

_RENEWING = ClusterPolicy("lab", "k", "s", "/", limits=LimitPolicy(lease_renew_seconds=0))


def test_claims_a_free_lease_marks_the_namespace_and_raises_the_gauge(
    cluster: FakeCluster, session: Session
) -> None:
    assert acquire(session) == 1
    assert cluster.lease.holder == session.owner
    assert cluster.marks["nightshift.io/run-id"] == session.owner
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 1


def test_keeps_its_own_token_even_when_its_lease_expired(cluster: FakeCluster, session: Session) -> None:
    acquire(session)
    cluster.sleep(1000)
    assert acquire(session) == 1


def test_refuses_while_another_run_is_alive(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    acquire(session)
    with pytest.raises(LeaseHeldError, match=r"LEASE_HELD.*airflow/lab/run-1 since 20"):
        acquire(other_session)


def test_refuses_a_run_of_the_same_name_elsewhere(session: Session, twin_session: Session) -> None:
    acquire(session)
    with pytest.raises(LeaseHeldError, match=rf"LEASE_HELD.*{session.owner} since 20"):
        acquire(twin_session)


def test_takes_an_expired_lease_with_a_bigger_token(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    acquire(session)
    cluster.sleep(121)
    assert acquire(other_session) == 2


def test_a_cleared_task_claims_again_after_recovery_emptied_the_lease(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.lease = LeaseFacts("", 7, None, None, 120)
    with hold(session, []) as held:
        assert held.token == 8


@pytest.fixture
def recovery(cluster: FakeCluster, session: Session) -> None:
    """A recovery of somebody else's run is at work."""
    dead = LeaseFacts("airflow/lab/run-0", 4, None, cluster.now - 500, 120)
    cluster.lease = fence(dead, None, "airflow/lab/sweeper", cluster.now, 120)


def _after(session: Session, cluster: FakeCluster, seconds: float, do: Callable[[], object]) -> None:
    """Let `do` happen once `session` has waited that long."""
    moment = cluster.now + seconds

    def sleep(pause: float) -> None:
        cluster.sleep(pause)
        if cluster.now > moment:
            do()

    session.sleep = sleep


@pytest.mark.usefixtures("recovery")
def test_waits_until_a_recovery_has_put_things_in_order(cluster: FakeCluster, session: Session) -> None:
    began = cluster.now
    _after(session, cluster, 5, lambda: session.kube.release_lease(cluster.lease.holder, 5))
    assert acquire(session) == 6
    assert 5 < cluster.now - began < 10
    assert "airflow/lab/run-0 (recovery)" in cluster.log


@pytest.mark.usefixtures("recovery")
def test_a_recovery_that_takes_its_time_is_somebody_at_the_cluster(
    cluster: FakeCluster, session: Session
) -> None:
    _after(session, cluster, 0, lambda: session.kube.renew_lease(cluster.lease.holder, 5, cluster.now))
    with pytest.raises(LeaseHeldError, match=r"LEASE_HELD.*airflow/lab/run-0 \(recovery\) since 20"):
        acquire(session)


def test_fences_the_nodes_before_any_work(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = LeaseFacts("", 4, None, None, 120)
    with hold(session, [cluster.nodes["w1"]]):
        assert cluster.fakes["w1"].token == 5
    assert cluster.fakes["w2"].token == 0


def test_a_lease_that_went_back_catches_up_with_all_nodes_at_once(
    cluster: FakeCluster, session: Session
) -> None:
    """The cluster was made anew on the same machines, or etcd came back from an older snapshot."""
    cluster.fakes["cp1"].token, cluster.fakes["w1"].token, cluster.fakes["w2"].token = 17, 40, 3
    with hold(session, [cluster.nodes["cp1"]]) as held:
        assert (held.token, cluster.lease.holder, cluster.lease.token) == (41, session.owner, 41)
    with hold(session, list(cluster.nodes.values())) as held:
        assert held.token == 41
    assert {fake.token for fake in cluster.fakes.values()} == {41}
    assert "older than 40" in cluster.log


def test_a_node_that_cannot_be_asked_is_caught_up_with_when_its_turn_comes(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.fakes["w1"].token, cluster.fakes["w2"].token = 17, 40
    cluster.fakes["w2"].is_away = True
    with hold(session, [cluster.nodes["w1"]]) as held:
        assert held.token == 18
    cluster.fakes["w2"].is_away = False
    with hold(session, [cluster.nodes["w2"]]) as held:
        assert held.token == 41


@pytest.mark.parametrize(("holder", "token"), [("run-2", 2), ("run-1", 2), ("", 2)])
def test_a_node_with_a_newer_token_stops_the_step_when_the_lease_moved_too(
    cluster: FakeCluster, session: Session, holder: str, token: int
) -> None:
    """Somebody took over: the Lease, which is always raised before the nodes, says so."""
    node = cluster.fakes["w1"]
    fence = node.fence

    def taken_over(asked: int) -> None:
        cluster.lease = replace(cluster.lease, holder=holder, token=token)
        node.token = token
        fence(asked)

    node.fence = taken_over  # type: ignore[method-assign]
    with pytest.raises(FencedError, match="RUN_FENCED"), hold(session, [cluster.nodes["w1"]]):
        pytest.fail("must not begin")
    assert (cluster.lease.token, node.token) == (token, token)


def test_a_lease_taken_while_it_catches_up_is_left_alone(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w1"].token = 40
    bump = session.kube.bump_token

    def taken_first(expected: LeaseFacts, wanted: int = 0) -> LeaseFacts | None:
        cluster.lease = replace(cluster.lease, holder="run-2", token=2)
        return bump(expected, wanted)

    session.kube.bump_token = taken_first  # type: ignore[method-assign]
    with pytest.raises(FencedError, match="RUN_FENCED"), hold(session, [cluster.nodes["w1"]]):
        pytest.fail("must not begin")
    assert cluster.lease.token == 2


def test_a_renewal_in_between_is_no_reason_to_stop(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w1"].token = 40
    bump, tries = session.kube.bump_token, []

    def renewed_first(expected: LeaseFacts, wanted: int = 0) -> LeaseFacts | None:
        tries.append(wanted)
        if len(tries) == 1:
            cluster.lease = replace(cluster.lease, renewed=cluster.clock())
        return bump(expected, wanted)

    session.kube.bump_token = renewed_first  # type: ignore[method-assign]
    with hold(session, [cluster.nodes["w1"]]) as held:
        assert held.token == 41
    assert tries == [41, 41]


def test_nodes_that_stay_ahead_end_the_tries(cluster: FakeCluster, session: Session) -> None:
    node = cluster.fakes["w1"]
    fence = node.fence

    def ahead(asked: int) -> None:
        node.token = asked + 1
        fence(asked)

    node.fence = ahead  # type: ignore[method-assign]
    with pytest.raises(FencedError, match="NODE_FENCED"), hold(session, [cluster.nodes["w1"]]):
        pytest.fail("must not begin")


def test_a_node_that_cannot_be_fenced_for_another_reason_is_said_first(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.fakes["w1"].token = 40
    cluster.fakes["w2"].is_away = True
    with pytest.raises(UnreachableError), hold(session, [cluster.nodes["w1"], cluster.nodes["w2"]]):
        pytest.fail("must not begin")
    assert cluster.lease.token == 1


def _work_until(held: Held, is_over: Callable[[], bool]) -> None:
    while not is_over():
        held.check()
        time.sleep(0.001)


def _wait(is_over: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_over() and time.monotonic() < end:
        time.sleep(0.001)


def _lose_and_work(cluster: FakeCluster, held: Held) -> None:
    _lose(cluster)
    _work_until(held, lambda: False)


def _lose_and_sleep(cluster: FakeCluster) -> None:
    _lose(cluster)
    time.sleep(0.2)


def _lose(cluster: FakeCluster) -> None:
    with cluster.lock:
        cluster.lease = replace(cluster.lease, holder="airflow/lab/run-2", token=2)


def test_a_lost_lease_is_noticed_while_working(cluster: FakeCluster, session: Session) -> None:
    session.policy = _RENEWING
    with pytest.raises(FencedError, match="RUN_FENCED"), hold(session, []) as held:
        _lose_and_work(cluster, held)


def test_a_lease_lost_without_looking_is_noticed_at_the_end(cluster: FakeCluster, session: Session) -> None:
    session.policy = _RENEWING
    with pytest.raises(FencedError, match="RUN_FENCED"), hold(session, []):
        _lose_and_sleep(cluster)


def test_an_api_that_is_away_is_not_a_lost_lease(cluster: FakeCluster, session: Session) -> None:
    session.policy = _RENEWING
    with hold(session, []) as held:
        cluster.api_away_until = cluster.now + 10_000
        _work_until(held, lambda: "The Lease is renewed as soon as it does" in cluster.log)
        cluster.api_away_until = 0.0
    assert cluster.lease.holder == session.owner


def test_an_answer_that_nobody_can_read_does_not_end_the_renewing(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's page with status 200, a token that is no number: the next try may be better."""
    session.policy = _RENEWING
    renew, answers = session.kube.renew_lease, [ValueError("no JSON"), None]

    def renewed(holder: str, token: int, now: float) -> bool:
        if answers and (problem := answers.pop(0)) is not None:
            raise problem
        return renew(holder, token, now)

    with hold(session, []) as held:
        monkeypatch.setattr(session.kube, "renew_lease", renewed)
        _work_until(held, lambda: not answers)
    assert "The Lease could not be renewed: no JSON" in cluster.log


def test_waits_for_an_api_that_is_away_before_it_begins(cluster: FakeCluster, session: Session) -> None:
    cluster.api_away_until = cluster.now + 30
    assert acquire(session) == 1
    assert "the API is away" in cluster.log


def test_renews_only_its_own_lease(session: Session, other_session: Session) -> None:
    assert renew_if_ours(session) is False
    acquire(session)
    assert renew_if_ours(session) is True
    assert renew_if_ours(other_session) is False


def test_a_step_that_only_looks_keeps_the_lease_of_its_run(cluster: FakeCluster, session: Session) -> None:
    session.policy = _RENEWING
    acquire(session)
    before = cluster.lease
    cluster.sleep(10)
    with renewing_if_ours(session):
        _wait(lambda: cluster.lease != before, seconds=2.0)
    assert cluster.lease == replace(before, renewed=cluster.lease.renewed)
    assert cluster.lease.renewed != before.renewed


def test_a_step_that_only_looks_does_not_touch_the_lease_of_another(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    other_session.policy = _RENEWING
    acquire(session)
    before = cluster.lease
    with renewing_if_ours(other_session):
        _wait(lambda: cluster.lease != before, seconds=0.1)
    assert cluster.lease == before


def test_a_lease_that_is_lost_does_not_stop_a_step_that_only_looks(
    cluster: FakeCluster, session: Session
) -> None:
    session.policy = _RENEWING
    acquire(session)
    with renewing_if_ours(session):
        _lose_and_sleep(cluster)


def test_a_pushgateway_that_is_away_is_said_and_changes_nothing(
    cluster: FakeCluster, session: Session
) -> None:
    session.pushgateway.problem = "connection refused"
    acquire(session)
    assert "Gauges were not published: connection refused" in cluster.log


def test_an_expired_lease_is_watched_before_it_is_taken(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    """Two Airflows: the first one's kubeadm had the only API away for longer than its Lease lives."""
    token = acquire(session)
    cluster.sleep(300)
    _after(other_session, cluster, 12, lambda: session.kube.renew_lease(session.owner, token, cluster.now))
    with pytest.raises(LeaseHeldError, match=r"LEASE_HELD.*airflow/lab/run-1 since 20"):
        acquire(other_session)
    assert (cluster.lease.holder, cluster.lease.token) == (session.owner, token)


def test_an_api_that_goes_away_while_a_lease_is_watched_proves_nothing(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    token = acquire(session)
    cluster.sleep(300)
    cut = iter((True,))

    def away_and_back() -> None:
        if next(cut, False):
            cluster.api_away_until = cluster.now + 60
        elif cluster.now >= cluster.api_away_until + 12:
            session.kube.renew_lease(session.owner, token, cluster.now)

    _after(other_session, cluster, 12, away_and_back)
    with pytest.raises(LeaseHeldError):
        acquire(other_session)
    assert (cluster.lease.holder, cluster.lease.token) == (session.owner, token)


def test_a_lease_that_a_recovery_left_is_taken_at_once(cluster: FakeCluster, session: Session) -> None:
    """Whom there was to wait for the recovery has watched already."""
    dead = LeaseFacts("airflow/lab/run-0", 4, None, cluster.now - 500, 120)
    cluster.lease = fence(dead, None, "airflow/lab/sweeper", cluster.now - 200, 120)
    began = cluster.now
    assert acquire(session) == 6
    assert cluster.now - began < 1
