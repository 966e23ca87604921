from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, job_failed, running_job

from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.domain.errors import (
    ConfigError,
    HeldError,
    RemoteJobError,
    StoppedError,
    UnreachableError,
    VerificationError,
)
from nightshift.domain.facts import WorkloadName
from nightshift.domain.policy import WindowPolicy
from nightshift.steps.brake import MEASURED_FILE, may_go_on
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.hold import acquire
from nightshift.steps.quiesce import quiesce
from nightshift.steps.session import Session
from nightshift.steps.set_brake import set_brake
from nightshift.steps.snapshot import snapshot
from nightshift.steps.stage import stage
from nightshift.steps.upgrade_kubelet import upgrade_kubelet
from nightshift.steps.upgrade_node import upgrade_node

PAUSE = {"paused": "true", "reason": "anna"}
STOP = {**PAUSE, "mode": "stop now"}
CLOSED = WindowPolicy("22:00", "04:00")  # the fake's clock says 08:00 on 2027-01-15
_BUDGET = Eviction(EvictionOutcome.BUDGET_BLOCKED, "The disruption budget web needs 2 healthy pods and has 2")


def _jobs(cluster: FakeCluster, node: str) -> list[str]:
    return [call[0] for call in cluster.fakes[node].calls]


def _is_untouched(cluster: FakeCluster, node: str) -> bool:
    return not cluster.nodes[node].is_unschedulable and not cluster.nodes[node].annotations


@pytest.fixture(autouse=True)
def _control_plane_is_done(cluster: FakeCluster) -> None:
    cluster.upgrade_control_plane("1.35.4")


@pytest.fixture(params=["pause", "stop now", "window"])
def word(request: Any, cluster: FakeCluster, session: Session) -> Callable[[], None]:
    """Each way in which the owner may say no; it is said when called."""

    def say() -> None:
        if request.param == "window":
            session.policy = replace(session.policy, window=CLOSED)
        else:
            cluster.brake = STOP if request.param == "stop now" else PAUSE

    return say


@pytest.mark.parametrize("step", [claim, snapshot, stage])
def test_nothing_is_begun_after_the_owner_said_no(
    cluster: FakeCluster,
    session: Session,
    choice: dict[str, Any],
    word: Callable[[], None],
    step: Callable[..., Any],
) -> None:
    word()
    with pytest.raises(HeldError):
        step(session, choice)
    assert (cluster.lease.holder, _jobs(cluster, "cp1"), _jobs(cluster, "w1")) == ("", [], [])


def test_a_claim_of_a_night_under_way_comes_again_after_the_owner_said_no(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], word: Callable[[], None]
) -> None:
    """Clearing a running task clears the claim before it; what it may still do is asked at the node."""
    token = claim(session, choice)["token"]
    word()
    assert claim(session, choice)["token"] == token
    assert cluster.lease.holder == session.owner


def test_no_other_node_is_staged_after_the_owner_said_no(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], word: Callable[[], None]
) -> None:
    """Of many nodes the last one's packages and images are fetched an hour after the first one's."""
    session.policy = replace(session.policy, workers=replace(session.policy.workers, stage_at_once=1))
    cluster.fakes["w1"].before_job = lambda step: word()
    with pytest.raises(HeldError):
        stage(session, choice)
    assert [_jobs(cluster, node) for node in ("cp1", "w1", "w2")] == [["stage"], ["stage"], []]


def test_a_node_that_could_not_be_staged_is_not_hidden_by_the_owners_word(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The night would end green, as if nothing was wrong."""
    session.policy = replace(session.policy, workers=replace(session.policy.workers, stage_at_once=1))
    backwards = tuple(reversed(session.kube.nodes()))
    monkeypatch.setattr(session.kube, "nodes", lambda: backwards)
    cluster.fakes["w2"].before_job = lambda step: setattr(cluster, "brake", PAUSE)
    cluster.fakes["w2"].failures["stage"] = job_failed()
    with pytest.raises(RemoteJobError, match="JOB_FAILED"):
        stage(session, choice)
    assert _jobs(cluster, "w1") == []


@pytest.fixture
def shop(cluster: FakeCluster, session: Session) -> WorkloadName:
    """What the policy quiesces."""
    name = cluster.add_workload("Deployment", "importer", 3)
    session.policy = replace(session.policy, quiesce=(name,))
    return name


def test_nothing_is_made_quiet_for_a_node_that_is_not_begun_any_more(
    cluster: FakeCluster, session: Session, shop: WorkloadName, word: Callable[[], None]
) -> None:
    word()
    with pytest.raises(HeldError, match=r"BRAKE_ON|WINDOW_CLOSED"):
        quiesce(session, "cp1")
    assert (cluster.workloads[shop].setting, cluster.debts) == (3, {})


def test_nothing_is_made_quiet_for_a_node_that_does_not_fit_any_more(
    cluster: FakeCluster, session: Session, shop: WorkloadName
) -> None:
    _until_close(session, 20)
    session.store.write_json(MEASURED_FILE, {"cp1": 900.0})
    with pytest.raises(HeldError, match="NODE_DOES_NOT_FIT"):
        quiesce(session, "cp1")
    assert cluster.workloads[shop].setting == 3


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_node_whose_kubeadm_was_begun_is_made_quiet_for_all_the_same(
    cluster: FakeCluster, session: Session, shop: WorkloadName, state: str
) -> None:
    """The slot was cleared: the node is carried to its end, and not with everything running."""
    job = replace(running_job("kubeadm-upgrade", session.owner), state=state)
    cluster.fakes["cp1"].jobs["kubeadm-upgrade"] = job
    cluster.brake = PAUSE
    quiesce(session, "cp1")
    assert cluster.workloads[shop].setting == 0
    assert "cp1 is carried to its end" in cluster.log


def test_stop_now_makes_nothing_quiet_for_a_node_that_is_half_done(
    cluster: FakeCluster, session: Session, shop: WorkloadName
) -> None:
    job = replace(running_job("kubeadm-upgrade", session.owner), state="failed")
    cluster.fakes["cp1"].jobs["kubeadm-upgrade"] = job
    cluster.brake = STOP
    with pytest.raises(StoppedError, match="STOPPED_HALF_WAY"):
        quiesce(session, "cp1")
    assert cluster.workloads[shop].setting == 3


def test_a_node_is_not_cordoned_after_the_owner_said_no(
    cluster: FakeCluster, session: Session, word: Callable[[], None]
) -> None:
    cluster.add_pod("w1", "web-1")
    word()
    with pytest.raises(HeldError, match=r"BRAKE_ON|WINDOW_CLOSED"):
        drain_node(session, "w1")
    assert _is_untouched(cluster, "w1")
    assert "cordon" not in cluster.api_calls


def test_a_drain_that_waits_is_given_up_and_the_node_takes_pods_again(
    cluster: FakeCluster, session: Session, word: Callable[[], None]
) -> None:
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = [_BUDGET] * 10_000
    began, sleep = cluster.now, session.sleep

    def pulled_meanwhile(seconds: float) -> None:
        sleep(seconds)
        if cluster.now > began + 60:
            word()

    session.sleep = pulled_meanwhile
    with pytest.raises(HeldError):
        drain_node(session, "w1")
    assert cluster.now - began < 70
    assert _is_untouched(cluster, "w1")


def test_what_somebody_else_cordoned_stays_so_when_a_drain_is_given_up(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], is_unschedulable=True)
    cluster.brake = PAUSE
    with pytest.raises(HeldError):
        drain_node(session, "w1")
    assert cluster.nodes["w1"].is_unschedulable


def test_a_drained_node_is_given_back_and_kubeadm_not_begun(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], word: Callable[[], None]
) -> None:
    drain_node(session, "w1")
    word()
    with pytest.raises(HeldError):
        upgrade_node(session, "w1", choice)
    assert _is_untouched(cluster, "w1")
    assert "kubeadm-upgrade" not in _jobs(cluster, "w1")


@pytest.mark.parametrize("brake", [PAUSE, STOP])
def test_a_kubeadm_that_runs_is_followed_to_its_end(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], brake: dict[str, str]
) -> None:
    drain_node(session, "w1")
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", session.owner)
    cluster.brake = brake
    assert upgrade_node(session, "w1", choice)["version"] == "1.35.4"
    assert "w1 is carried to its end" in cluster.log
    assert cluster.nodes["w1"].is_unschedulable


@pytest.mark.parametrize("step", [upgrade_node, upgrade_kubelet])
def test_a_brake_that_is_pulled_while_a_job_runs_is_said_and_nothing_else(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], step: Callable[..., Any]
) -> None:
    def pull(job: str) -> None:
        cluster.brake = STOP
        cluster.sleep(6)

    cluster.fakes["w1"].before_job = pull
    assert step(session, "w1", choice)["version"] == "1.35.4"
    assert "The job comes to its end. The brake is on (stop now): anna." in cluster.log


def test_an_api_that_is_away_while_a_job_runs_hides_the_brake_and_ends_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    def take_the_api_away(job: str) -> None:
        cluster.api_away_until = cluster.now + 12
        cluster.sleep(6)

    cluster.fakes["w1"].before_job = take_the_api_away
    assert upgrade_node(session, "w1", choice)["version"] == "1.35.4"


@pytest.mark.parametrize("is_window", [True, False])
def test_a_node_whose_kubeadm_was_begun_is_carried_to_its_end(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], is_window: bool
) -> None:
    upgrade_node(session, "w1", choice)
    cluster.brake = {} if is_window else PAUSE
    session.policy = replace(session.policy, window=CLOSED if is_window else WindowPolicy())
    upgrade_node(session, "w1", choice)
    upgrade_kubelet(session, "w1", choice)
    assert cluster.nodes["w1"].kubelet_version == "1.35.4"
    assert "no other node is begun" in cluster.log


@pytest.mark.parametrize("step", [upgrade_node, upgrade_kubelet])
def test_stop_now_ends_a_node_between_two_steps_and_says_that_it_is_half_done(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], step: Callable[..., Any]
) -> None:
    upgrade_node(session, "w1", choice)
    cluster.brake = STOP
    with pytest.raises(StoppedError, match=r"STOPPED_HALF_WAY.*w1 was stopped half way.*anna"):
        step(session, "w1", choice)
    assert _jobs(cluster, "w1") == ["kubeadm-upgrade"]


def test_stop_now_does_not_part_a_new_kubelet_from_its_node(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    upgrade_node(session, "w1", choice)
    upgrade_kubelet(session, "w1", choice)
    cluster.brake = STOP
    assert upgrade_kubelet(session, "w1", choice)["version"] == "1.35.4"


def test_a_brake_in_the_drain_before_the_kubelet_does_not_give_a_begun_node_back(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """A recovery had uncordoned it, so it is drained again; a pause must not end that as if nothing was done."""
    upgrade_node(session, "w1", choice)
    session.kube.uncordon("w1")
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = [_BUDGET] * 10
    cluster.brake = PAUSE
    assert upgrade_kubelet(session, "w1", choice)["version"] == "1.35.4"


def test_a_brake_that_released_itself_is_off(cluster: FakeCluster, session: Session) -> None:
    cluster.brake = {**PAUSE, "until": "2027-01-15T09:00:00Z"}
    assert may_go_on(session)["code"] == "BRAKE_ON"
    cluster.sleep(3601)
    assert may_go_on(session)["answer"] == "go"


def _until_close(session: Session, minutes: int) -> None:
    session.policy = replace(session.policy, window=WindowPolicy("02:00", f"08:{minutes:02d}"))


def test_a_node_that_does_not_fit_any_more_is_not_begun(cluster: FakeCluster, session: Session) -> None:
    _until_close(session, 20)
    session.store.write_json(MEASURED_FILE, {"w1": 700.0, "w2": 900.0, "odd": "x"})
    assert may_go_on(session, ["w1"])["answer"] == "go"
    said = may_go_on(session, ["w1", "w2"])
    assert said["code"] == "NODE_DOES_NOT_FIT"
    assert said["sentence"].endswith("UTC, when the window opens.")
    assert may_go_on(session)["answer"] == "go"
    with pytest.raises(HeldError, match=r"NODE_DOES_NOT_FIT.*w2 may take 22 min"):
        drain_node(session, "w2")
    assert _is_untouched(cluster, "w2")


def test_a_node_that_was_begun_is_not_asked_again_whether_it_fits(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """Its own drain takes of the time that was left."""
    _until_close(session, 20)
    session.store.write_json(MEASURED_FILE, {"w1": 780.0})
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = [_BUDGET] * 30
    drain_node(session, "w1")
    assert cluster.now > 1_800_000_000 + 55
    assert upgrade_node(session, "w1", choice)["version"] == "1.35.4"


def test_a_store_that_is_away_leaves_the_limits(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = UnreachableError("STORE_UNAVAILABLE", "m", cause="disk full", next_step="n")
    monkeypatch.setattr(session.store, "read_json", lambda name: (_ for _ in ()).throw(error))
    _until_close(session, 20)
    assert "may take 90 min (it was never measured here)" in may_go_on(session, ["w1"])["sentence"]


def test_the_question_in_front_of_a_node_waits_for_an_api_that_is_away(
    cluster: FakeCluster, session: Session
) -> None:
    """Static pods of a new kubelet that are in back-off: two minutes are no reason to end the night."""
    began = cluster.now
    cluster.api_away_until = began + 120
    assert may_go_on(session, ["w1"])["answer"] == "go"
    assert 120 <= cluster.now - began < 125


# -- the button -------------------------------------------------------------------------------------------


def test_the_button_pulls_and_releases(cluster: FakeCluster, session: Session) -> None:
    said = set_brake(session, "pause", " migration ", None, "anna")
    assert cluster.brake == {"paused": "true", "mode": "pause", "reason": "migration", "by": "anna"}
    assert "The brake is on: migration, by anna. To release it: run brake_lab" in said["sentence"]
    assert said["sentence"].endswith("Nobody is at the cluster; nights are held until it is released.")
    set_brake(session, "stop now", None, "2027-01-15T09:00:00Z", "bert")
    assert cluster.brake["until"] == "2027-01-15T09:00:00+00:00"
    assert may_go_on(session)["answer"] == "held"
    said = set_brake(session, "release", None, None, "anna")
    assert (cluster.brake, said["answer"], may_go_on(session)["answer"]) == ({}, "off", "go")
    assert "It said: The brake is on (stop now): no reason given, by bert" in said["sentence"]
    assert "it was not on" in set_brake(session, "release", None, None, "anna")["sentence"]


def test_pressed_twice_it_writes_once(cluster: FakeCluster, session: Session) -> None:
    for _ in range(2):
        set_brake(session, "pause", "why", None, "anna")
    assert cluster.api_calls.count("set_brake") == 1


@pytest.mark.parametrize(
    ("action", "until"), [("pause", "tomorrow"), ("pause", "2027-01-15T08:00:00Z"), ("jump", None)]
)
def test_a_form_that_means_nothing_changes_nothing(
    cluster: FakeCluster, session: Session, action: str, until: str | None
) -> None:
    cluster.brake = dict(PAUSE)
    with pytest.raises(ConfigError, match="BRAKE_INVALID"):
        set_brake(session, action, "why", until, "anna")
    assert cluster.brake == PAUSE


def test_a_brake_that_the_cluster_did_not_keep_is_an_error(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.kube, "set_brake", lambda data: None)
    with pytest.raises(VerificationError, match="VERIFY_FAILED"):
        set_brake(session, "pause", "why", None, "anna")


def test_the_button_waits_for_an_api_that_is_away(cluster: FakeCluster, session: Session) -> None:
    """Its own upgrade takes the API of a single control plane away; that is when people press it."""
    cluster.api_away_until = cluster.now + 120
    set_brake(session, "stop now", "why", None, "anna")
    assert cluster.brake["paused"] == "true"


def test_it_says_what_goes_on_and_what_comes_of_it(
    cluster: FakeCluster, session: Session, other_session: Session, choice: dict[str, Any]
) -> None:
    acquire(session)
    session.kube.cordon("w1", session.owner, 1)
    said = set_brake(other_session, "pause", "why", None, "anna")["sentence"]
    assert f"{session.owner} holds the cluster: w1 is drained. w1 is given back as it was." in said
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", session.owner)
    said = set_brake(other_session, "stop now", "why", None, "anna")["sentence"]
    assert "kubeadm-upgrade runs on w1. The job comes to its end; w1 is given back" in said
    cluster.fakes["w1"].is_away = True
    assert (
        "cannot be asked what runs there" in set_brake(other_session, "pause", "b", None, "anna")["sentence"]
    )
    cluster.sleep(121)
    assert "Nobody is at the cluster" in set_brake(other_session, "pause", "c", None, "anna")["sentence"]
