from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.cluster import FakeCluster, running_job

from nightshift.domain.errors import BlindError, ConfigError, TransientError, TrustError, UnreachableError
from nightshift.domain.facts import LeaseFacts
from nightshift.domain.policy import WindowPolicy
from nightshift.domain.takeover import fence
from nightshift.steps.brake import may_go_on
from nightshift.steps.hold import acquire
from nightshift.steps.open_night import open_night
from nightshift.steps.session import Session


def test_an_idle_cluster_opens(session: Session) -> None:
    assert open_night(session)["answer"] == "go"


def test_the_brake_holds_and_says_how_to_release_it(cluster: FakeCluster, session: Session) -> None:
    cluster.paused = "migration of anna"
    said = open_night(session)
    assert (said["answer"], said["code"]) == ("held", "BRAKE_ON")
    assert "migration of anna" in said["sentence"]
    assert "kubectl -n nightshift delete configmap nightshift-brake" in said["sentence"]


def test_outside_the_window_it_holds(cluster: FakeCluster, session: Session) -> None:
    session.policy = replace(session.policy, window=WindowPolicy(frozen_dates=("2027-01-15",)))
    assert open_night(session)["code"] == "DATE_FROZEN"


def test_missing_permissions_are_all_listed(cluster: FakeCluster, session: Session) -> None:
    cluster.denied = ("patch nodes", "create pods/eviction")
    with pytest.raises(ConfigError, match=r"API_FORBIDDEN.*patch nodes, create pods/eviction"):
        open_night(session)


def test_somebody_alive_holds_it(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = LeaseFacts("run-9", 3, cluster.now, cluster.now, 120)
    said = open_night(session)
    assert said["answer"] == "held"
    assert "run-9 since 20" in said["sentence"]


def test_clearing_it_in_the_middle_of_its_own_run_repairs_nothing(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.lease = LeaseFacts(session.owner, 3, cluster.now, cluster.now, 120)
    session.kube.cordon("w1", session.owner, 3)
    assert open_night(session)["answer"] == "go"
    assert cluster.nodes["w1"].is_unschedulable


def test_a_run_of_the_same_name_elsewhere_is_somebody_else(session: Session, twin_session: Session) -> None:
    acquire(session)
    said = open_night(twin_session)
    assert (said["answer"], said["code"]) == ("held", "LEASE_HELD")
    assert f"Somebody is at this cluster: {session.owner} since 20" in said["sentence"]


def test_a_sweeper_that_is_just_repairing_does_not_cost_the_night(
    cluster: FakeCluster, session: Session
) -> None:
    dead = LeaseFacts("run-9", 3, 1.0, 1.0, 120)
    cluster.lease = fence(dead, None, "airflow/lab/sweeper", cluster.now, 120)
    sleep = session.sleep

    def repaired(seconds: float) -> None:
        sleep(seconds)
        cluster.lease = replace(cluster.lease, holder="")

    session.sleep = repaired
    assert open_night(session)["answer"] == "go"


def test_a_recovery_that_waits_for_a_dead_runs_kubeadm_holds_the_night(
    cluster: FakeCluster, session: Session
) -> None:
    dead = LeaseFacts("run-9", 3, 1.0, 1.0, 120)
    cluster.lease = fence(dead, "run-9", "airflow/lab/sweeper", cluster.now, 100_000)
    said = open_night(session)
    assert (said["answer"], said["code"]) == ("held", "LEASE_HELD")
    assert "run-9 (recovery) since 20" in said["sentence"]


def test_a_dead_run_is_repaired_first(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = LeaseFacts("run-9", 3, 1.0, 1.0, 120)
    session.kube.cordon("w1", "run-9", 3)
    said = open_night(session)
    assert said["answer"] == "go"
    assert "w1 uncordoned" in said["sentence"]


def test_a_gauge_of_a_run_long_gone_does_not_outlive_the_opening(session: Session) -> None:
    session.pushgateway.push({"k8s_upgrade_in_flight": 1.0})
    open_night(session)
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 0


def test_opening_beside_a_live_run_leaves_its_gauge(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = LeaseFacts("run-9", 3, cluster.now, cluster.now, 120)
    session.pushgateway.push({"k8s_upgrade_in_flight": 1.0})
    open_night(session)
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 1


def test_a_dead_runs_job_keeps_the_night_closed(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = LeaseFacts("run-9", 3, 1.0, 1.0, 120)
    cluster.fakes["w1"].jobs["stage"] = running_job("stage")
    assert open_night(session)["answer"] == "held"


def test_debts_that_cannot_be_seen_are_blind(cluster: FakeCluster, session: Session) -> None:
    session.kube.cordon("w1", "run-9", 3)
    cluster.fakes["w1"].is_away = True
    assert open_night(session)["answer"] == "blind"


def test_an_api_that_is_away_is_one_error(cluster: FakeCluster, session: Session) -> None:
    cluster.api_away_until = cluster.now + 10_000
    with pytest.raises(UnreachableError, match="API_UNREACHABLE"):
        open_night(session)


def test_in_the_middle_of_a_night_only_brake_and_calendar_are_asked(
    cluster: FakeCluster, session: Session
) -> None:
    calls = len(cluster.api_calls)
    assert may_go_on(session)["answer"] == "go"
    cluster.paused = "anna"
    assert (may_go_on(session)["answer"], may_go_on(session)["code"]) == ("held", "BRAKE_ON")
    cluster.paused = None
    session.policy = replace(session.policy, window=WindowPolicy(frozen_dates=("2027-01-15",)))
    assert may_go_on(session)["code"] == "DATE_FROZEN"
    assert len(cluster.api_calls) - calls <= 4  # the brake, each time


def test_a_node_that_lets_nobody_in_is_named_before_any_gate(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w2"].is_away = True
    with pytest.raises(UnreachableError, match=r"NODE_UNREACHABLE.*w2"):
        open_night(session)
    assert "The night is open" not in cluster.log


def test_several_closed_nodes_are_one_error_and_the_gravest_leads(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.fakes["cp1"].is_away = True
    for name in ("w1", "w2"):
        cluster.fakes[name].broken = TrustError("NODE_SCRIPT_TAMPERED", "Not ours.", cause="c", next_step="n")
    with pytest.raises(TrustError) as caught:
        open_night(session)
    expected = "w1: Not ours. The same on w2. Also: cp1 (NODE_UNREACHABLE)."
    assert (caught.value.code, caught.value.message) == ("NODE_SCRIPT_TAMPERED", expected)


def test_a_node_that_tells_half_is_blind(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w1"].broken = BlindError("PROBE_INCOMPLETE", "Node w1 is odd.", cause="c", next_step="n")
    with pytest.raises(BlindError, match=r"^\[PROBE_INCOMPLETE\] Node w1 is odd\. Cause"):
        open_night(session)


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_store_that_takes_nothing_is_said_before_the_cluster_is_claimed(
    cluster: FakeCluster, session: Session, tmp_path: Path, is_dry: bool
) -> None:
    (tmp_path / "lab").write_text("a file where a folder should be")
    cluster.fakes["w2"].is_away = True  # and before any node is asked
    with pytest.raises(TransientError, match="STORE_UNAVAILABLE"):
        open_night(session, dry_run=is_dry)
    assert not cluster.lease.holder


def test_what_a_dead_run_left_is_taken_back_even_without_a_store(
    cluster: FakeCluster, session: Session, tmp_path: Path
) -> None:
    (tmp_path / "lab").write_text("a file where a folder should be")
    cluster.lease = LeaseFacts("run-9", 3, 1.0, 1.0, 120)
    session.kube.cordon("w1", "run-9", 3)
    with pytest.raises(TransientError, match="STORE_UNAVAILABLE"):
        open_night(session)
    assert not cluster.nodes["w1"].is_unschedulable


def test_a_held_night_asks_no_node(cluster: FakeCluster, session: Session) -> None:
    cluster.paused = "migration of anna"
    cluster.fakes["w2"].is_away = True
    assert open_night(session)["answer"] == "held"
