from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, running_job

from nightshift.domain.debts import LATE_SECONDS, Debt
from nightshift.domain.errors import (
    ConfigError,
    NightshiftError,
    UnreachableError,
    VerificationError,
)
from nightshift.domain.facts import WorkloadFacts, WorkloadName
from nightshift.steps.claim import claim
from nightshift.steps.open_night import open_night
from nightshift.steps.postflight import postflight
from nightshift.steps.quiesce import quiesce, restore
from nightshift.steps.recover import recover
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.upgrade_node import upgrade_node

Setting = int | bool


class Shop:
    """What the policy quiesces."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.web = cluster.add_workload("Deployment", "web", 3)
        self.queue = cluster.add_workload("StatefulSet", "queue", 1)
        self.backup = cluster.add_workload("CronJob", "backup", False)

    @property
    def names(self) -> tuple[WorkloadName, ...]:
        return self.web, self.queue, self.backup

    @property
    def settings(self) -> tuple[Setting, ...]:
        return tuple(self.cluster.workloads[name].setting for name in self.names)


AS_BEFORE: tuple[Setting, ...] = (3, 1, False)
QUIET: tuple[Setting, ...] = (0, 0, True)


@pytest.fixture
def shop(cluster: FakeCluster, session: Session, other_session: Session) -> Shop:
    shop = Shop(cluster)
    for each in (session, other_session):
        each.policy = replace(each.policy, quiesce=shop.names)
    return shop


@pytest.fixture
def quiet(shop: Shop, session: Session, choice: dict[str, Any]) -> Shop:
    """The middle of run-1's control-plane window."""
    claim(session, choice)
    quiesce(session, "cp1")
    return shop


def test_what_the_policy_names_is_quiet_for_the_window_and_then_as_before(
    cluster: FakeCluster, session: Session, shop: Shop
) -> None:
    said = quiesce(session, "cp1")
    assert shop.settings == QUIET
    assert said["quiesced"] == ["Deployment shop/web", "StatefulSet shop/queue", "CronJob shop/backup"]
    assert {d.owner for d in cluster.debts.values()} == {session.owner}
    done = restore(session)
    assert shop.settings == AS_BEFORE
    assert cluster.debts == {}
    assert done["restored"] == [
        "StatefulSet shop/queue has 1 replicas again",
        "Deployment shop/web has 3 replicas again",
        "CronJob shop/backup is not suspended again",
    ]


def test_the_debt_is_recorded_before_the_change(cluster: FakeCluster, session: Session, shop: Shop) -> None:
    """Killed in between, a change without a record would stay for ever."""
    quiesce(session, "cp1")
    calls = [c.split()[0] for c in cluster.api_calls if c.split()[0] in ("record_debt", "set_workload")]
    assert calls == ["record_debt", "set_workload"] * 3


@pytest.mark.parametrize("before", [(0, 0, True), (0, 1, True)])
def test_what_was_quiet_before_is_nobodys_debt_and_stays_so(
    cluster: FakeCluster, session: Session, shop: Shop, before: tuple[Setting, ...]
) -> None:
    for name, setting in zip(shop.names, before, strict=True):
        cluster.set_workload(name, setting)
    quiesce(session, "cp1")
    restore(session)
    assert shop.settings == before


@pytest.fixture
def late(cluster: FakeCluster, session: Session, shop: Shop) -> Callable[[], bool]:
    """run-1 died between a record and its change, and was recovered; the change, still on its way."""
    change, sent = session.kube.set_workload, []

    def die(found: WorkloadFacts, setting: Setting) -> bool:
        sent.append((found, setting))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(session.kube, "set_workload", die)
        with pytest.raises(KeyboardInterrupt):
            quiesce(session, "cp1")
    assert len(cluster.debts) == 1
    done = recover(session, "run-1", "release")
    assert (done["answer"], cluster.lease.holder, cluster.marks) == ("recovered", "", {})
    assert "Deployment shop/web has 3 replicas as before; watched" in done["sentence"]
    return lambda: change(*sent[0])


def test_death_between_record_and_change_owes_nothing_and_is_watched_for_a_while(
    cluster: FakeCluster, other_session: Session, shop: Shop, late: Callable[[], bool]
) -> None:
    token = cluster.lease.token
    assert recover(other_session, None, "sweeper")["answer"] == "nothing"
    assert (len(cluster.debts), cluster.lease.token) == (1, token), "watched, without a hand on the cluster"
    cluster.sleep(LATE_SECONDS)
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert (shop.settings, cluster.debts) == (AS_BEFORE, {})


def test_a_change_that_comes_when_its_process_has_died_is_given_back_by_the_sweeper(
    cluster: FakeCluster, other_session: Session, shop: Shop, late: Callable[[], bool]
) -> None:
    cluster.sleep(LATE_SECONDS - 60)
    assert late()
    done = recover(other_session, None, "sweeper")
    assert (shop.settings, cluster.debts) == (AS_BEFORE, {})
    assert done["repaid"] == ["Deployment shop/web has 3 replicas again"]


def test_what_is_only_watched_does_not_close_the_next_night_and_is_recorded_anew_by_it(
    cluster: FakeCluster, other_session: Session, shop: Shop, late: Callable[[], bool]
) -> None:
    assert open_night(other_session)["answer"] == "go"
    quiesce(other_session, "cp1")
    assert not late()
    assert {debt.owner for debt in cluster.debts.values()} == {other_session.owner}
    assert [debt.ended for debt in cluster.debts.values()] == [None] * 3
    restore(other_session)
    assert (shop.settings, cluster.debts) == (AS_BEFORE, {})


def test_a_late_change_is_given_back_by_the_next_night_as_it_was_before_the_dead_run(
    cluster: FakeCluster, other_session: Session, shop: Shop, late: Callable[[], bool]
) -> None:
    claim(other_session, {"target": {"version": "1.35.4"}})
    assert late()
    quiesce(other_session, "cp1")
    assert shop.settings == QUIET
    restore(other_session)
    assert (shop.settings, cluster.debts) == (AS_BEFORE, {})


def test_postflight_does_not_mind_what_is_only_watched(
    cluster: FakeCluster, other_session: Session, shop: Shop, late: Callable[[], bool], choice: dict[str, Any]
) -> None:
    with pytest.raises(VerificationError) as before:
        postflight(other_session, choice, {"leftover": []})
    assert "owed" not in str(before.value)
    assert late()
    with pytest.raises(VerificationError, match="Deployment shop/web is still owed"):
        postflight(other_session, choice, {"leftover": []})


def _lose_the_api_at(session: Session, call: str) -> None:
    """The recovery's API goes away for good in front of this call."""

    def away(*args: object) -> bool:
        raise UnreachableError("API_UNREACHABLE", "no answer", cause="reset", next_step="Wait.")

    setattr(session.kube, call, away)


@pytest.mark.parametrize("call", ["set_workload", "forget_debt"])
def test_a_recovery_that_died_half_way_is_no_person_who_wants_it_loud(
    cluster: FakeCluster,
    session: Session,
    quiet: Shop,
    cleared_session: Callable[[], Session],
    choice: dict[str, Any],
    call: str,
) -> None:
    """Simulation, seed 2748: kubeadm worked beside what a recovery had given back and not yet forgotten."""
    snapshot(session, choice)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(session, "kube", type(session.kube)(cluster))
        _lose_the_api_at(session, call)
        with pytest.raises(UnreachableError):
            recover(session, "run-1", "release")
    assert len(cluster.debts) == 3
    seen: list[tuple[Setting, ...]] = []
    cluster.fakes["cp1"].before_job = lambda step: seen.append(quiet.settings)
    again = cleared_session()
    again.policy = session.policy
    upgrade_node(again, "cp1", choice)
    assert seen == [QUIET]
    restore(again)
    assert (quiet.settings, cluster.debts) == (AS_BEFORE, {})


def test_what_a_recovery_is_about_to_give_back_is_not_started_under_kubeadm(
    cluster: FakeCluster,
    session: Session,
    quiet: Shop,
    cleared_session: Callable[[], Session],
    choice: dict[str, Any],
) -> None:
    """The recovery stands still in front of its write, and the run goes on meanwhile."""
    snapshot(session, choice)
    change, went_on = session.kube.set_workload, []

    def after_the_run_went_on(found: WorkloadFacts, setting: Setting) -> bool:
        if not went_on:
            session.kube.set_workload = change  # type: ignore[method-assign]
            again = cleared_session()
            again.policy = session.policy
            upgrade_node(again, "cp1", choice)
            went_on.append(quiet.settings)
        return change(found, setting)

    session.kube.set_workload = after_the_run_went_on  # type: ignore[method-assign]
    cluster.sleep(1)
    recover(session, "run-1", "release")
    assert went_on == [QUIET]
    assert quiet.settings == QUIET


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["answered", "answer lost"])
def test_a_change_that_comes_after_a_recovery_dropped_its_record_is_recorded_again(
    cluster: FakeCluster,
    session: Session,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    is_answer_lost: bool,
) -> None:
    """A task that was marked as failed, on a machine that stood still between the two: simulation seeds 8 and 252."""
    change = session.kube.set_workload

    def after_a_recovery(found: WorkloadFacts, setting: Setting) -> bool:
        monkeypatch.setattr(session.kube, "set_workload", change)
        assert recover(session, "run-1", "release")["answer"] == "recovered"
        cluster.debts.clear()  # this machine stood still for longer than a record is watched
        is_set = change(found, setting)
        if is_answer_lost:
            raise UnreachableError("API_UNREACHABLE", "no answer", cause="reset", next_step="Wait.")
        return is_set

    monkeypatch.setattr(session.kube, "set_workload", after_a_recovery)
    quiesce(session, "cp1")
    assert shop.settings == QUIET
    assert "Deployment/shop/web" in {debt.subject for debt in cluster.debts.values()}
    assert recover(session, None, "sweeper")["answer"] == "recovered"
    assert (shop.settings, cluster.debts) == (AS_BEFORE, {})


def test_a_second_try_remembers_what_was_before_the_first(
    cluster: FakeCluster, session: Session, quiet: Shop
) -> None:
    quiesce(session, "cp1")
    restore(session)
    assert quiet.settings == AS_BEFORE


def test_a_run_that_takes_over_gives_back_what_was_before_the_dead_one(
    cluster: FakeCluster, other_session: Session, quiet: Shop
) -> None:
    cluster.sleep(121)
    quiesce(other_session, "cp1")
    assert {d.owner for d in cluster.debts.values()} == {other_session.owner}
    restore(other_session)
    assert quiet.settings == AS_BEFORE


@pytest.mark.parametrize("own", ["run-1", None])
def test_recovery_gives_back_what_a_dead_run_made_quiet(
    cluster: FakeCluster, session: Session, other_session: Session, quiet: Shop, own: str | None
) -> None:
    cluster.sleep(121)
    done = recover(session if own else other_session, own, "whoever")
    assert done["answer"] == "recovered"
    assert (quiet.settings, cluster.debts) == (AS_BEFORE, {})
    assert "Deployment shop/web has 3 replicas again" in done["repaid"]
    assert recover(other_session, None, "again")["answer"] == "nothing"


def test_recovery_starts_nothing_while_the_control_plane_is_at_work(
    cluster: FakeCluster, session: Session, other_session: Session, quiet: Shop
) -> None:
    cluster.fakes["cp1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade")
    assert recover(session, "run-1", "callback")["answer"] == "waiting"
    assert recover(other_session, None, "sweeper")["answer"] == "waiting"
    assert quiet.settings == QUIET
    cluster.fakes["cp1"].jobs.clear()
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert quiet.settings == AS_BEFORE


def test_nodes_take_pods_again_before_anything_is_started(
    cluster: FakeCluster, session: Session, quiet: Shop
) -> None:
    session.kube.cordon("cp1", session.owner, 1)
    recover(session, "run-1", "release")
    calls = [c for c in cluster.api_calls if c.startswith(("uncordon", "set_workload"))]
    assert calls[-4:] == [
        "uncordon",
        "set_workload StatefulSet shop/queue 1",
        "set_workload Deployment shop/web 3",
        "set_workload CronJob shop/backup False",
    ]


@pytest.mark.parametrize("by", ["restore", "recover"])
def test_what_a_person_did_meanwhile_stays_and_is_said(
    cluster: FakeCluster, session: Session, quiet: Shop, by: str
) -> None:
    cluster.set_workload(quiet.web, 7)
    del cluster.workloads[quiet.queue]
    cluster.workloads[quiet.backup] = replace(cluster.workloads[quiet.backup], uid="made anew")
    done = restore(session) if by == "restore" else recover(session, "run-1", "release")
    assert cluster.workloads[quiet.web].setting == 7
    assert cluster.workloads[quiet.backup].setting is True
    assert quiet.queue not in cluster.workloads
    assert cluster.debts == {}
    for said in (
        "shop/web has 7 replicas: somebody set that",
        "queue was deleted",
        "backup was deleted and made anew",
    ):
        assert said in done["sentence"]


def _refuse(session: Session, name: WorkloadName) -> None:
    """From now on an admission webhook refuses writes to `name`."""
    set_workload = session.kube.set_workload

    def refuse(found: WorkloadFacts, setting: Setting) -> bool:
        if found.name == name:
            raise NightshiftError("API_REFUSED", "no", cause="a webhook says no", next_step="ask it")
        return set_workload(found, setting)

    session.kube.set_workload = refuse  # type: ignore[method-assign]


def test_a_debt_that_cannot_be_repaid_keeps_no_other_back_and_is_found_again(
    cluster: FakeCluster, session: Session, other_session: Session, quiet: Shop
) -> None:
    _refuse(session, quiet.queue)
    done = recover(session, "run-1", "release")
    assert done["answer"] == "partial"
    assert "StatefulSet shop/queue is not given back (API_REFUSED: a webhook says no)" in done["remaining"]
    assert quiet.settings == (3, 0, False)
    assert cluster.marks
    assert cluster.lease.holder
    assert recover(other_session, None, "sweeper")["answer"] == "recovered"
    assert (quiet.settings, cluster.marks, cluster.lease.holder) == (AS_BEFORE, {}, "")


def test_restore_gives_back_the_rest_and_says_what_it_could_not(
    cluster: FakeCluster, session: Session, quiet: Shop
) -> None:
    _refuse(session, quiet.queue)
    with pytest.raises(NightshiftError, match=r"API_REFUSED.*StatefulSet shop/queue"):
        restore(session)
    assert quiet.settings == (3, 0, False)
    assert [str(d) for d in cluster.debts.values()] == ["StatefulSet shop/queue"]


def test_a_record_goes_only_after_the_undo_was_read_back(
    cluster: FakeCluster, session: Session, quiet: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.kube, "set_workload", lambda found, setting: True)  # and nothing happens
    done = recover(session, "run-1", "release")
    assert done["answer"] == "partial"
    assert len(cluster.debts) == 3


def test_a_debt_that_another_run_took_over_is_left_to_it(
    cluster: FakeCluster, session: Session, other_session: Session, quiet: Shop
) -> None:
    """The last moment: this recovery has looked for the last time, then was cut off until its Lease expired."""
    workload = session.kube.workload

    def taken_over(name: WorkloadName) -> WorkloadFacts | None:
        found = workload(name)
        session.kube.workload = workload  # type: ignore[method-assign]
        cluster.sleep(121)
        quiesce(other_session, "cp1")
        return found

    session.kube.workload = taken_over  # type: ignore[method-assign]
    recover(session, "run-1", "release")
    assert quiet.settings == QUIET
    assert {d.owner for d in cluster.debts.values()} == {other_session.owner}


def test_an_entry_nobody_understands_is_said_and_keeps_the_next_night_closed(
    cluster: FakeCluster, session: Session
) -> None:
    from nightshift.domain.debts import from_text

    cluster.debts["Job.shop.x"] = from_text("Job.shop.x", "of a later version")
    said = open_night(session)
    assert (said["answer"], said["code"]) == ("blind", "LEFTOVERS_UNKNOWN")
    assert "Entry Job.shop.x" in said["sentence"]
    assert "Job.shop.x" in cluster.debts


def test_an_api_that_goes_away_in_the_middle_is_waited_for(
    cluster: FakeCluster, session: Session, shop: Shop
) -> None:
    record = session.kube.record_debt

    def record_and_go(debt: Debt, instead_of: Debt | None = None) -> bool:
        done = record(debt, instead_of)
        if debt.workload == shop.web and not instead_of:
            cluster.api_away_until = cluster.now + 30
        return done

    session.kube.record_debt = record_and_go  # type: ignore[method-assign]
    quiesce(session, "cp1")
    assert shop.settings == QUIET
    restore(session)
    assert shop.settings == AS_BEFORE


def test_pods_that_stay_are_no_quiet(cluster: FakeCluster, session: Session, shop: Shop) -> None:
    set_workload = cluster.set_workload

    def keep(name: WorkloadName, setting: Setting) -> None:
        set_workload(name, setting)
        cluster.workloads[name] = replace(cluster.workloads[name], running=2)

    cluster.set_workload = keep  # type: ignore[method-assign]
    with pytest.raises(VerificationError, match=r"Deployment shop/web 0 replicas wanted, 2 there"):
        quiesce(session, "cp1")


def test_a_name_that_does_not_exist_ends_the_night_before_anything_is_touched(
    cluster: FakeCluster, session: Session, shop: Shop
) -> None:
    del cluster.workloads[shop.queue], cluster.workloads[shop.backup]
    with pytest.raises(ConfigError, match=r"WORKLOAD_MISSING.*StatefulSet shop/queue, CronJob shop/backup"):
        open_night(session)
    assert cluster.lease.token == 0
    with pytest.raises(ConfigError, match="WORKLOAD_MISSING"):
        quiesce(session, "cp1")


def test_the_night_asks_for_the_right_to_each(cluster: FakeCluster, session: Session, shop: Shop) -> None:
    asked: list[str] = []
    session.kube.can_i = lambda wanted: tuple(asked.extend(map(str, wanted)) or ())  # type: ignore[method-assign]
    open_night(session)
    assert "update deployments/scale.apps web -n shop" in asked
    assert "patch cronjobs.batch backup -n shop" in asked


def test_a_cleared_slot_makes_quiet_again_what_the_recovery_gave_back(
    cluster: FakeCluster,
    session: Session,
    quiet: Shop,
    cleared_session: Callable[[], Session],
    choice: dict[str, Any],
) -> None:
    snapshot(session, choice)
    recover(session, "run-1", "release")
    assert quiet.settings == AS_BEFORE
    seen: list[tuple[Setting, ...]] = []
    cluster.fakes["cp1"].before_job = lambda step: seen.append(quiet.settings)
    again = cleared_session()
    again.policy = session.policy
    upgrade_node(again, "cp1", choice)
    assert seen == [QUIET]


def test_in_a_later_slot_a_person_who_started_one_again_is_not_fought(
    cluster: FakeCluster, session: Session, quiet: Shop, choice: dict[str, Any]
) -> None:
    cluster.set_workload(quiet.web, 5)
    snapshot(session, choice)
    upgrade_node(session, "cp1", choice)
    assert quiet.settings == (5, 0, True)


def test_workers_need_nobody_quiet(
    cluster: FakeCluster, session: Session, shop: Shop, choice: dict[str, Any]
) -> None:
    upgrade_node(session, "w1", choice)
    assert shop.settings == AS_BEFORE


def test_postflight_sees_a_debt_that_was_left(
    cluster: FakeCluster, session: Session, quiet: Shop, choice: dict[str, Any]
) -> None:
    with pytest.raises(VerificationError, match=f"Deployment shop/web is still owed by run {session.owner}"):
        postflight(session, choice, {"leftover": []})


def test_the_sweeper_keeps_its_hands_off_an_api_that_is_away(
    cluster: FakeCluster, other_session: Session, quiet: Shop
) -> None:
    cluster.sleep(121)
    cluster.api_away_until = cluster.now + 3600
    with pytest.raises(UnreachableError):
        recover(other_session, None, "sweeper")
    assert (quiet.settings, len(cluster.debts)) == (QUIET, 3)
