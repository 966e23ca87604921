import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, running_job

from nightshift.domain.errors import LateTryError, NightshiftError, UnreachableError
from nightshift.domain.facts import LeaseFacts
from nightshift.domain.policy import ClusterPolicy, LimitPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION, new_quarantine
from nightshift.domain.takeover import fence
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.hold import acquire, hold
from nightshift.steps.recover import recover, sweep
from nightshift.steps.session import Session
from nightshift.steps.upgrade_node import upgrade_node

_RENEWING = ClusterPolicy("lab", "k", "s", "/", limits=LimitPolicy(lease_renew_seconds=0))


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
    assert cluster.lease.holder == "airflow/lab/run-1 (recovery)"
    cluster.fakes["w1"].is_away = False
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"


@pytest.mark.usefixtures("half_done")
def test_a_worker_that_was_set_aside_and_is_out_of_reach_keeps_only_itself(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    drain_node(session, "w2")
    mark = new_quarantine("NODE_UNREACHABLE", session.owner, cluster.now)
    session.kube.annotate_node("w1", {QUARANTINE_ANNOTATION: mark.to_text()})
    cluster.fakes["w1"].is_away = True
    done = recover(session, "run-1", "teardown")
    assert (done["answer"], done["remaining"]) == ("recovered", [])
    assert "w1; cordon and marks stay until that is back" in done["sentence"]
    assert not cluster.nodes["w2"].is_unschedulable
    assert (cluster.lease.holder, cluster.marks) == ("", {})
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 0
    token = cluster.lease.token
    assert recover(other_session, None, "sweeper")["answer"] == "nothing"
    assert (cluster.nodes["w1"].is_unschedulable, cluster.lease.token) == (True, token)
    cluster.fakes["w1"].is_away = False
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert not cluster.nodes["w1"].is_unschedulable


@pytest.mark.usefixtures("half_done")
def test_one_nodes_work_keeps_no_other_node_back(cluster: FakeCluster, session: Session) -> None:
    drain_node(session, "w2")
    job = running_job("kubeadm-upgrade", "run-1")
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = job
    sleep, cordoned = session.sleep, []

    def end_job(seconds: float) -> None:
        cordoned.append(cluster.nodes["w2"].is_unschedulable)
        sleep(seconds)
        if len(cordoned) == 3:
            cluster.fakes["w1"].jobs["kubeadm-upgrade"] = replace(job, state="failed", exit_code=1)

    session.sleep = end_job
    done = recover(session, "run-1", "teardown", wait_seconds=600)
    assert cordoned == [False] * 3
    assert done["done"][:2] == ["w2 uncordoned", "w1 uncordoned"]


@pytest.mark.usefixtures("half_done")
def test_what_was_given_back_before_somebody_took_over_is_told(
    cluster: FakeCluster, session: Session
) -> None:
    drain_node(session, "w2")
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", "run-1")
    sleep = session.sleep

    def taken_over(seconds: float) -> None:
        sleep(seconds)
        cluster.lease = replace(cluster.lease, holder="airflow/lab/run-2", token=9, renewed=cluster.now)

    session.sleep = taken_over
    done = recover(session, "run-1", "teardown", wait_seconds=600)
    assert (done["answer"], done["done"]) == ("live", ["w2 uncordoned"])


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
    assert cluster.lease.holder == other_session.owner


@pytest.mark.usefixtures("half_done")
def test_the_end_of_a_run_of_the_same_name_elsewhere_takes_nothing_back(
    cluster: FakeCluster, session: Session, twin_session: Session
) -> None:
    assert recover(twin_session, "run-1", "teardown")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.lease.holder == session.owner


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize("named", ["run-1", "airflow/lab/run-1"])
def test_a_person_names_the_run_or_the_owner_the_lease_shows(
    cluster: FakeCluster, other_session: Session, named: str
) -> None:
    assert recover(other_session, named, "the form")["answer"] == "recovered"
    assert _is_clean(cluster, other_session)


@pytest.mark.usefixtures("half_done")
def test_a_person_may_end_another_installations_hold(
    cluster: FakeCluster, session: Session, twin_session: Session
) -> None:
    assert recover(twin_session, session.owner, "the form")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_form_means_whoever_died(other_session: Session, empty: str) -> None:
    assert recover(other_session, empty, "the form")["answer"] == "live"


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_claims_in_between_keeps_everything(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    fence_lease = session.kube.fence_lease

    def claimed_first(expected: LeaseFacts, fenced: LeaseFacts) -> LeaseFacts | None:
        acquire(other_session)
        return fence_lease(expected, fenced)

    session.kube.fence_lease = claimed_first  # type: ignore[method-assign]
    assert recover(session, None, "sweeper")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.marks["nightshift.io/run-id"] == other_session.owner


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_claims_after_the_fence_keeps_everything(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    node = cluster.fakes["cp1"]
    fence_node = node.fence

    def claimed_meanwhile(token: int) -> None:
        fence_node(token)
        if cluster.lease.holder == f"{session.owner} (recovery)":
            cluster.sleep(121)  # the recovery was cut off from the API until its own Lease expired
            acquire(other_session)

    node.fence = claimed_meanwhile  # type: ignore[method-assign]
    assert recover(session, None, "sweeper")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.lease.holder == cluster.marks["nightshift.io/run-id"] == other_session.owner


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_takes_over_while_debts_are_repaid_keeps_its_own(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    """The last moment: the recovery has looked for the last time and lifts the dead run's cordons."""
    cluster.sleep(121)
    uncordon = session.kube.uncordon

    def taken_over(name: str, *marks: Any) -> bool:
        cluster.sleep(121)
        drain_node(other_session, name)
        return uncordon(name, *marks)

    session.kube.uncordon = taken_over  # type: ignore[method-assign]
    recover(session, None, "sweeper")
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.nodes["w1"].annotations["nightshift.io/owner"] == other_session.owner
    assert cluster.marks["nightshift.io/run-id"] == cluster.lease.holder == other_session.owner
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
@pytest.mark.parametrize("own", [None, "run-1"])
def test_after_recovery_a_zombie_of_the_run_is_refused_and_touches_nothing(
    cluster: FakeCluster, session: Session, other_session: Session, own: str | None
) -> None:
    cluster.sleep(121)
    recover(other_session, own, "whoever")
    with pytest.raises(LateTryError, match=r"RUN_FENCED.*airflow/lab/run-1"), hold(session, []):
        pytest.fail("must not begin")
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_job_that_was_started_right_before_the_fence_is_not_uncordoned_under(
    cluster: FakeCluster, session: Session
) -> None:
    fence_lease = session.kube.fence_lease

    def too_late(expected: LeaseFacts, fenced: LeaseFacts) -> LeaseFacts | None:
        cluster.fakes["w1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", session.owner)
        return fence_lease(expected, fenced)

    session.kube.fence_lease = too_late  # type: ignore[method-assign]
    assert recover(session, "run-1", "callback")["answer"] == "waiting"
    assert cluster.nodes["w1"].is_unschedulable


@pytest.mark.usefixtures("half_done")
def test_a_node_that_could_not_be_fenced_keeps_its_debts(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zombie's old token is still good there: what it may start next cannot be seen now."""

    def away(token: int) -> None:
        raise UnreachableError("NODE_UNREACHABLE", "w1 is away.", cause="power", next_step="Start it.")

    with monkeypatch.context() as patched:
        patched.setattr(cluster.fakes["w1"], "fence", away)
        assert recover(session, "run-1", "teardown")["answer"] == "partial"
        assert cluster.nodes["w1"].is_unschedulable
    assert recover(session, None, "sweeper")["answer"] == "recovered"


@pytest.mark.usefixtures("half_done")
def test_a_node_with_a_larger_token_still_is_given_back(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w1"].token = 99
    assert recover(session, "run-1", "teardown")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_task_that_is_cleared_after_recovery_claims_with_a_bigger_token(
    cluster: FakeCluster, session: Session, cleared_session: Callable[[], Session]
) -> None:
    recover(session, "run-1", "teardown")
    with hold(cleared_session(), [cluster.nodes["w1"]]) as held:
        assert held.token == 3
        with pytest.raises(LateTryError):
            acquire(session)


def _each_poll(session: Session, cluster: FakeCluster, do: Callable[[], None]) -> None:
    """Let `do` happen whenever `session` waits."""

    def sleep(seconds: float) -> None:
        cluster.sleep(seconds)
        do()

    session.sleep = sleep


def _see_renewal(cluster: FakeCluster) -> None:
    """Give the thread that renews the Lease, which lives in real time, time to do so."""
    began = time.monotonic()
    while not cluster.lease.is_live(cluster.now + 60) and time.monotonic() < began + 5:
        time.sleep(0.001)


@pytest.fixture
def kubeadm(cluster: FakeCluster, half_done: None) -> Callable[[], None]:
    """kubeadm at work for run-1 on w1; the function ends it."""
    job = running_job("kubeadm-upgrade", "airflow/lab/run-1")
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = job

    def end() -> None:
        cluster.fakes["w1"].jobs["kubeadm-upgrade"] = replace(job, state="failed", exit_code=1)

    return end


def test_while_release_waits_for_kubeadm_neither_a_zombie_nor_a_cleared_task_gets_the_lease(
    cluster: FakeCluster,
    session: Session,
    other_session: Session,
    cleared_session: Callable[[], Session],
    kubeadm: Callable[[], None],
) -> None:
    seen: list[str] = []

    def others() -> None:
        if seen:
            return
        cleared = cleared_session()
        _each_poll(cleared, cluster, lambda: _see_renewal(cluster))
        for try_of_run in (session, cleared):
            with pytest.raises(NightshiftError) as error:
                acquire(try_of_run)
            seen.append(error.value.code)
        seen.append(recover(other_session, None, "sweeper")["answer"])
        kubeadm()

    releasing = cleared_session()
    releasing.policy = _RENEWING
    _each_poll(releasing, cluster, others)
    assert recover(releasing, "run-1", "teardown", wait_seconds=6000)["answer"] == "recovered"
    assert seen == ["RUN_FENCED", "LEASE_HELD", "live"]
    assert _is_clean(cluster, session)


def test_a_recovery_that_waits_keeps_the_lease_alive(
    cluster: FakeCluster, session: Session, kubeadm: Callable[[], None]
) -> None:
    session.policy = _RENEWING
    polls: list[bool] = []

    def look() -> None:
        cluster.sleep(119)
        _see_renewal(cluster)
        polls.append(cluster.lease.is_live(cluster.now + 60))
        if len(polls) == 3:
            kubeadm()

    _each_poll(session, cluster, look)
    assert recover(session, "run-1", "teardown", wait_seconds=6000)["answer"] == "recovered"
    assert polls == [True, True, True]


def _die_in_recovery(cluster: FakeCluster, own: str | None) -> None:
    """What a recovery leaves whose process was killed right after the fence."""
    with cluster.lock:
        cluster.lease = fence(cluster.lease, own, "airflow/lab/sweeper", cluster.now, 120)


@pytest.mark.usefixtures("half_done")
def test_a_recovery_that_died_half_way_is_taken_over_by_the_sweeper(
    cluster: FakeCluster, other_session: Session
) -> None:
    _die_in_recovery(cluster, None)
    assert recover(other_session, None, "sweeper")["answer"] == "live"
    cluster.sleep(121)
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert _is_clean(cluster, other_session)


def test_a_recovery_that_died_with_nothing_left_but_its_lease_is_cleared_away(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    acquire(session)
    cluster.marks.clear()
    _die_in_recovery(cluster, None)
    cluster.sleep(121)
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert cluster.lease.holder == ""


@pytest.mark.usefixtures("half_done")
def test_the_second_try_of_release_does_not_wait_for_the_first_ones_lease(
    cluster: FakeCluster, session: Session
) -> None:
    _die_in_recovery(cluster, session.owner)
    assert recover(session, "run-1", "teardown, again")["answer"] == "recovered"
    assert _is_clean(cluster, session)


def test_the_callback_leaves_the_waiting_to_release(
    cluster: FakeCluster, session: Session, other_session: Session, kubeadm: Callable[[], None]
) -> None:
    said: list[str] = []

    def callback() -> None:
        token = cluster.lease.token
        said.append(recover(other_session, "run-1", "callback")["answer"])
        assert cluster.lease.token == token
        kubeadm()

    _each_poll(session, cluster, callback)
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "recovered"
    assert said == ["waiting"]


def test_of_two_recoveries_of_one_run_the_later_finishes_and_the_earlier_says_so(
    cluster: FakeCluster, session: Session, other_session: Session, kubeadm: Callable[[], None]
) -> None:
    def callback() -> None:
        kubeadm()
        assert recover(other_session, "run-1", "callback")["answer"] == "recovered"

    _each_poll(session, cluster, callback)
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "nothing"
    assert _is_clean(cluster, session)


def test_a_run_that_claims_after_another_recovery_finished_is_not_disturbed(
    cluster: FakeCluster,
    session: Session,
    other_session: Session,
    cleared_session: Callable[[], Session],
    kubeadm: Callable[[], None],
) -> None:
    def callback_and_person() -> None:
        kubeadm()
        recover(other_session, "run-1", "callback")
        drain_node(cleared_session(), "w2")
        cluster.fakes["w2"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", session.owner)

    began = cluster.now
    _each_poll(session, cluster, callback_and_person)
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "live"
    assert cluster.now - began < 60, "another run's work is not waited for"
    assert cluster.nodes["w2"].is_unschedulable
    assert cluster.lease.holder == session.owner


def test_what_a_recovery_had_to_leave_is_repaid_as_soon_as_it_can_be(
    cluster: FakeCluster, session: Session, other_session: Session, kubeadm: Callable[[], None]
) -> None:
    """The Lease of a recovery that ended is nobody's: the next one does not wait until it expires."""
    assert recover(session, "run-1", "callback")["answer"] == "waiting"
    assert recover(other_session, None, "sweeper")["answer"] == "waiting"
    kubeadm()
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_debts_without_a_lease_are_repaid_and_leave_none(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.lease = replace(cluster.lease, holder="", renewed=None)
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert _is_clean(cluster, session)


def test_an_idle_cluster_is_not_asked_over_ssh(cluster: FakeCluster, session: Session) -> None:
    for node in cluster.fakes.values():
        node.broken = AssertionError("asked")
    assert recover(session, None, "sweeper")["answer"] == "nothing"


def test_an_api_that_goes_away_while_release_waits_is_waited_for(
    cluster: FakeCluster, session: Session, kubeadm: Callable[[], None]
) -> None:
    """On a single control plane kubeadm itself takes the API away, several times."""
    absences = [60.0, 60.0]

    def restart() -> None:
        if cluster.now < cluster.api_away_until:
            return
        if absences:
            cluster.api_away_until = cluster.now + absences.pop()
        else:
            kubeadm()

    _each_poll(session, cluster, restart)
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "recovered"
    assert cluster.lease.token == 2, "fenced once"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize(
    "call",
    ["fence_lease", "uncordon", "namespace_annotations", "set_namespace_annotations", "release_lease"],
)
def test_an_api_that_goes_away_while_release_repays_is_waited_for(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(session.kube, call)

    def away_first(*arguments: Any) -> Any:
        cluster.api_away_until = cluster.api_away_until or cluster.now + 30
        return real(*arguments)

    monkeypatch.setattr(session.kube, call, away_first)
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "recovered"
    assert cluster.lease.token == 2, "fenced once"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_task_that_claims_while_release_could_not_write_keeps_its_node(
    cluster: FakeCluster,
    session: Session,
    cleared_session: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = session.kube.uncordon

    def away_for_long(name: str, owner: str | None = None, token: str | None = None) -> bool:
        monkeypatch.setattr(session.kube, "uncordon", real)
        cluster.sleep(130)
        drain_node(cleared_session(), "w1")
        return real(name, owner, token)

    monkeypatch.setattr(session.kube, "uncordon", away_for_long)
    recover(session, "run-1", "teardown", wait_seconds=600)
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.lease.holder == session.owner


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize("call", ["fence_lease", "release_lease"])
def test_an_answer_that_was_lost_is_no_reason_to_stop(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(session.kube, call)

    def done_but_unheard(*arguments: Any) -> Any:
        monkeypatch.setattr(session.kube, call, real)
        real(*arguments)
        raise UnreachableError("API_UNREACHABLE", "no answer", cause="connection reset", next_step="Wait.")

    monkeypatch.setattr(session.kube, call, done_but_unheard)
    assert recover(session, "run-1", "teardown", wait_seconds=600)["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_sweeper_whose_fence_was_not_answered_keeps_the_next_one_waiting_for_nobody(
    cluster: FakeCluster, other_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = other_session.kube.fence_lease

    def done_but_unheard(*arguments: Any) -> Any:
        monkeypatch.setattr(other_session.kube, "fence_lease", real)
        real(*arguments)
        raise UnreachableError("API_UNREACHABLE", "no answer", cause="connection reset", next_step="Wait.")

    cluster.sleep(121)
    monkeypatch.setattr(other_session.kube, "fence_lease", done_but_unheard)
    assert sweep(other_session, None, "sweeper")["answer"] == "away"
    assert not cluster.lease.is_live(cluster.now)
    assert sweep(other_session, None, "sweeper")["answer"] == "recovered"


def test_release_waits_for_an_api_no_longer_than_it_was_told_to(
    cluster: FakeCluster, session: Session, kubeadm: Callable[[], None]
) -> None:
    _each_poll(session, cluster, lambda: setattr(cluster, "api_away_until", cluster.now + 10))
    began = cluster.now
    with pytest.raises(UnreachableError, match="API_UNREACHABLE"):
        recover(session, "run-1", "teardown", wait_seconds=600)
    assert 600 <= cluster.now - began < 660
    assert cluster.nodes["w1"].is_unschedulable


@pytest.mark.usefixtures("half_done")
def test_the_sweeper_answers_that_it_knows_nothing_while_the_api_is_away(
    cluster: FakeCluster, other_session: Session
) -> None:
    cluster.api_away_until = cluster.now + 10_000
    began = cluster.now
    said = sweep(other_session, None, "sweeper")
    assert said["answer"] == "away"
    assert "connection refused" in said["sentence"]
    assert "Nothing is known" in said["sentence"]
    assert "looks again in a minute" in said["sentence"]
    assert cluster.now - began < 1


@pytest.mark.usefixtures("half_done")
def test_a_person_who_names_a_run_is_not_told_it_went_well(
    cluster: FakeCluster, other_session: Session
) -> None:
    cluster.api_away_until = cluster.now + 10_000
    with pytest.raises(UnreachableError, match="API_UNREACHABLE"):
        sweep(other_session, "run-1", "the form")


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize(("asleep", "answer"), [(0, "live"), (121, "recovered")])
def test_the_sweeper_is_the_one_recovery(
    cluster: FakeCluster, other_session: Session, asleep: float, answer: str
) -> None:
    cluster.sleep(asleep)
    assert sweep(other_session, None, "sweeper")["answer"] == answer


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize("renews_after", [1.0, 9.0, 23.0])
def test_a_run_whose_api_was_away_longer_than_its_lease_lives_is_not_taken_for_dead(
    cluster: FakeCluster, session: Session, other_session: Session, renews_after: float
) -> None:
    """The sweeper asks the API in the seconds between its return and the run's next renewal."""
    cluster.sleep(300)
    back, token = cluster.now, cluster.lease.token

    def renew() -> None:
        if cluster.now >= back + renews_after:
            session.kube.renew_lease(session.owner, token, cluster.now)

    _each_poll(other_session, cluster, renew)
    assert sweep(other_session, None, "sweeper")["answer"] == "live"
    assert cluster.nodes["w1"].is_unschedulable
    assert (cluster.lease.holder, cluster.lease.token) == (session.owner, token)


@pytest.mark.usefixtures("half_done")
def test_a_lease_that_is_not_renewed_for_a_whole_interval_is_a_dead_runs(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    began, limits = cluster.now, session.policy.limits
    assert sweep(other_session, None, "sweeper")["answer"] == "recovered"
    assert limits.lease_renew_seconds + 13 < cluster.now - began < 30
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_an_api_that_goes_away_while_the_sweeper_watches_proves_nothing(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    cluster.sleep(121)
    _each_poll(other_session, cluster, lambda: setattr(cluster, "api_away_until", cluster.now + 20))
    assert sweep(other_session, None, "sweeper")["answer"] == "away"
    assert (cluster.lease.holder, cluster.nodes["w1"].is_unschedulable) == (session.owner, True)


@pytest.mark.usefixtures("half_done")
def test_the_sweeper_clears_a_gauge_that_could_not_be_cleared_at_the_runs_end(
    session: Session, other_session: Session
) -> None:
    gauges = other_session.pushgateway = session.pushgateway
    gauges.problem = "connection refused"
    recover(session, "run-1", "teardown")
    assert gauges.values["k8s_upgrade_in_flight"] == 1
    gauges.problem = None
    assert sweep(other_session, None, "sweeper")["answer"] == "nothing"
    assert gauges.values["k8s_upgrade_in_flight"] == 0


@pytest.mark.parametrize("moment", ["before the push", "after the push", "after the second look"])
def test_a_run_that_claims_beside_the_sweeper_keeps_its_gauge(
    session: Session, other_session: Session, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    gauges = session.pushgateway = other_session.pushgateway
    push, lease, looks = gauges.push, other_session.kube.lease, [0]

    def claimed_around(values: Any, labelled: Any = ()) -> Any:
        monkeypatch.undo()
        if moment == "before the push":
            acquire(session)
        problem = push(values, labelled)
        if moment == "after the push":
            acquire(session)
        if moment == "after the second look":
            monkeypatch.setattr(other_session.kube, "lease", claimed_after)
        return problem

    def claimed_after() -> LeaseFacts:
        looks[0] += 1
        monkeypatch.undo()
        seen = lease()
        acquire(session)
        return seen

    monkeypatch.setattr(gauges, "push", claimed_around)
    assert sweep(other_session, None, "sweeper")["answer"] == "nothing"
    assert gauges.values["k8s_upgrade_in_flight"] == 1
    assert looks[0] == (moment == "after the second look")


def _state(cluster: FakeCluster, session: Session) -> tuple[Any, ...]:
    tokens = {name: node.token for name, node in cluster.fakes.items()}
    return cluster.lease, dict(cluster.nodes), dict(cluster.marks), tokens, dict(session.pushgateway.values)


@pytest.mark.usefixtures("half_done")
@pytest.mark.parametrize(
    ("asleep", "named", "would"),
    [
        (0, None, "It would do nothing. Run airflow/lab/run-1 is alive"),
        (121, None, "raise the fencing token on cp1, w1, w2; uncordon w1; drop the marks of w1; clear"),
        (0, "run-1", r"uncordon w1.*empty the Lease and keep its token \(held by airflow/lab/run-1\)"),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    cluster: FakeCluster, other_session: Session, asleep: float, named: str | None, would: str
) -> None:
    cluster.sleep(asleep)
    before = _state(cluster, other_session)
    said = sweep(other_session, named, "the form", dry_run=True)
    assert (said["answer"], said["done"]) == ("dry_run", [])
    assert re.search(f"nothing was written.*{would}", said["sentence"])
    assert said["sentence"] in cluster.log
    assert _state(cluster, other_session) == before


def test_a_dry_run_names_what_it_would_wait_for_or_leave(
    cluster: FakeCluster, other_session: Session, kubeadm: Callable[[], None]
) -> None:
    cluster.sleep(121)
    assert (
        "do nothing yet. Waiting for work that still runs: w1: kubeadm"
        in (sweep(other_session, None, "the form", dry_run=True)["sentence"])
    )
    cluster.fakes["w1"].is_away = True
    said = sweep(other_session, None, "the form", dry_run=True)
    assert "leave what cannot be seen: w1 could not be reached" in said["sentence"]
    assert said["remaining"]


def test_a_dry_run_on_a_tidy_cluster_has_nothing_to_say(cluster: FakeCluster, session: Session) -> None:
    said = sweep(session, None, "the form", dry_run=True)
    assert "It would do nothing. Nothing was left behind." in said["sentence"]
    assert session.pushgateway.values == {}


@pytest.mark.usefixtures("half_done")
def test_what_a_cleared_task_takes_without_its_release_is_repaid_by_the_sweeper(
    cluster: FakeCluster, session: Session, other_session: Session, cleared_session: Callable[[], Session]
) -> None:
    """Clearing one task in the UI arms neither setup nor teardown."""
    recover(session, "run-1", "teardown")
    drain_node(cleared_session(), "w2")
    assert sweep(other_session, None, "sweeper")["answer"] == "live"
    cluster.sleep(121)
    assert sweep(other_session, None, "sweeper")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_run_that_was_paused_until_it_was_swept_goes_on_where_it_was(
    cluster: FakeCluster,
    session: Session,
    other_session: Session,
    cleared_session: Callable[[], Session],
    choice: dict[str, Any],
) -> None:
    """A paused DAG starts no task, `release` neither; its next one is a new try, hours later."""
    cluster.upgrade_control_plane("1.35.4")
    cluster.sleep(121)
    assert sweep(other_session, None, "sweeper")["answer"] == "recovered"
    assert not cluster.nodes["w1"].is_unschedulable
    cluster.add_pod("w1", "came-back")
    cluster.sleep(10_000)
    upgrade_node(cleared_session(), "w1", choice)
    assert (cluster.pods["w1"], cluster.nodes["w1"].is_unschedulable) == ([], True)
    assert cluster.lease.token == 3
    assert recover(cleared_session(), "run-1", "teardown")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.parametrize("is_taken_back", [True, False])
def test_a_late_callback_leaves_a_run_alone_that_a_person_resumed(
    cluster: FakeCluster,
    session: Session,
    half_done: None,
    cleared_session: Callable[[], Session],
    is_taken_back: bool,
) -> None:
    """The DAG processor hung: a task of the failed run was cleared, and its new try is at work."""
    ended = cluster.now
    cluster.sleep(5)
    if is_taken_back:
        recover(session, "run-1", "teardown")
    cluster.sleep(200)
    cleared = cleared_session()
    token = acquire(cleared)
    drain_node(cleared, "w2")
    assert recover(session, "run-1", "the callback", run_ended=ended)["answer"] == "live"
    assert cluster.nodes["w2"].is_unschedulable
    assert (cluster.lease.holder, cluster.lease.token) == (cleared.owner, token)
    cluster.sleep(200)  # its API is away: whether it is dead is the sweeper's to find out
    assert recover(session, "run-1", "the callback", run_ended=ended)["answer"] == "live"
    assert recover(session, "run-1", "by hand")["answer"] == "recovered"


@pytest.mark.usefixtures("half_done")
def test_a_callback_takes_back_what_its_run_left(cluster: FakeCluster, session: Session) -> None:
    cluster.sleep(5)
    assert recover(session, "run-1", "the callback", run_ended=cluster.now)["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_a_new_run_that_takes_over_before_marks_are_dropped_keeps_its_own(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    """The recovery stood still for longer than its Lease lives; a person had lifted the dead run's cordon."""
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], is_unschedulable=False)
    cluster.sleep(121)
    drop = session.kube.drop_node_annotations

    def taken_over(name: str, *marks: Any) -> bool:
        cluster.sleep(121)
        drain_node(other_session, name)
        return drop(name, *marks)

    session.kube.drop_node_annotations = taken_over  # type: ignore[method-assign]
    done = recover(session, None, "sweeper")
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.nodes["w1"].annotations["nightshift.io/owner"] == other_session.owner
    assert "marks of w1 dropped" not in done["done"]
    session.kube.drop_node_annotations = drop  # type: ignore[method-assign]
    cluster.sleep(121)
    assert recover(session, None, "sweeper")["answer"] == "recovered"
    assert _is_clean(cluster, session)


@pytest.mark.usefixtures("half_done")
def test_what_a_person_cordoned_after_lifting_our_cordon_stays_cordoned(
    cluster: FakeCluster, session: Session
) -> None:
    """The mark stays on the node when a person uncordons it; they cordon it again for work of their own."""
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], cordoned_by="kubectl")
    assert recover(session, "run-1", "teardown", dry_run=True)["sentence"].count("uncordon") == 0
    done = recover(session, "run-1", "teardown")
    assert (done["answer"], "marks of w1 dropped" in done["done"]) == ("recovered", True)
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.nodes["w1"].annotations == {}
