"""Three control planes: who is asked first, who is spared."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, etcd_text, make_session, running_job

from nightshift.domain.errors import (
    BlindError,
    DrainBlockedError,
    FencedError,
    GateClosedError,
    UnreachableError,
    VerificationError,
)
from nightshift.domain.policy import WorkerPolicy
from nightshift.steps import gates
from nightshift.steps.decide import find_etcd_leader
from nightshift.steps.drain_node import drain_node
from nightshift.steps.recover import recover
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.stage import stage
from nightshift.steps.uncordon_node import uncordon_node
from nightshift.steps.upgrade_kubelet import upgrade_kubelet
from nightshift.steps.upgrade_node import upgrade_node
from nightshift.steps.verify_node import verify_node


@pytest.fixture
def ha() -> FakeCluster:
    cluster = FakeCluster(control_planes=3, workers=0)
    for name in ("cp1", "cp3"):
        cluster.fakes[name].etcd = etcd_text().replace("etcd_server_is_leader 1", "etcd_server_is_leader 0")
    return cluster


@pytest.fixture
def ha_session(ha: FakeCluster, tmp_path: Path) -> Session:
    return make_session(ha, tmp_path)


def test_the_leader_is_found(ha: FakeCluster, ha_session: Session) -> None:
    assert find_etcd_leader(ha_session, ha_session.kube.nodes()) == "cp2"
    ha.fakes["cp2"].is_away = True
    assert find_etcd_leader(ha_session, ha_session.kube.nodes()) is None


@pytest.mark.parametrize(
    ("is_answering", "code"),
    [(True, "ETCD_UNREADABLE"), (False, "NODE_UNREACHABLE")],
    ids=["no etcd there", "node away"],
)
def test_one_member_that_cannot_be_read_makes_the_etcd_gate_blind(
    ha: FakeCluster, ha_session: Session, is_answering: bool, code: str
) -> None:
    """Two healthy members of three must not pass for the whole: the third is the quorum that is at stake."""
    if is_answering:
        ha.fakes["cp2"].etcd = None
    else:
        ha.fakes["cp2"].is_away = True
    before = gates.gather_etcd_samples(ha_session)
    for node in ha.fakes.values():
        node.etcd = node.etcd and etcd_text(observations=500)
    ha.sleep(60)
    verdict = gates.check_etcd_latency(ha_session, before, gates.gather_etcd_samples(ha_session))
    assert (verdict["outcome"], verdict["code"]) == ("blind", code)
    assert "cp2" in verdict["message"]


def test_unpacking_images_keeps_one_member_busy_at_a_time_and_few_workers(
    choice: dict[str, Any], tmp_path: Path
) -> None:
    cluster = FakeCluster(control_planes=3, workers=4)
    session = make_session(cluster, tmp_path)
    session.policy = replace(session.policy, workers=WorkerPolicy(stage_at_once=2))
    busy: list[str] = []
    seen: list[tuple[str, ...]] = []

    def watch(name: str) -> Callable[[str], None]:
        def job(step: str) -> None:
            busy.append(name)
            time.sleep(0.05)  # long enough for the others to come, if they may
            seen.append(tuple(busy))
            busy.remove(name)

        return job

    for name, node in cluster.fakes.items():
        node.before_job = watch(name)
    stage(session, choice)
    assert seen[:3] == [("cp1",), ("cp2",), ("cp3",)]
    assert len(seen) == 7
    assert max(len(moment) for moment in seen) == 2


def test_the_snapshot_comes_from_a_follower(ha_session: Session, choice: dict[str, Any]) -> None:
    assert snapshot(ha_session, choice)["node"] == "cp1"


def test_an_unreachable_member_passes_the_snapshot_on(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any]
) -> None:
    ha.fakes["cp1"].is_away = True
    assert snapshot(ha_session, choice)["node"] == "cp3"


def test_no_healthy_member_no_snapshot(ha: FakeCluster, ha_session: Session, choice: dict[str, Any]) -> None:
    for node in ha.fakes.values():
        node.etcd = etcd_text(leader=False)
    with pytest.raises(BlindError, match=r"ETCD_UNHEALTHY.*cp1, cp2, cp3"):
        snapshot(ha_session, choice)


def test_the_mark_of_another_run_is_not_lifted_as_ours(session: Session, cluster: FakeCluster) -> None:
    session.kube.cordon("w1", "run-9", 1)
    with pytest.raises(VerificationError, match="still carries the mark of run-9"):
        uncordon_node(session, "w1")


def test_a_node_uncordoned_under_the_drain_is_not_drained(session: Session, cluster: FakeCluster) -> None:
    cluster.add_pod("w1", "web-1")
    evict = session.kube.evict

    def uncordoned_by_hand(namespace: str, name: str, uid: str) -> Any:
        session.kube.uncordon("w1")
        return evict(namespace, name, uid)

    session.kube.evict = uncordoned_by_hand  # type: ignore[method-assign]
    with pytest.raises(VerificationError, match="w1 is schedulable again, before its drain was over"):
        drain_node(session, "w1")


def test_a_try_that_stood_still_evicts_nothing_from_a_node_that_was_given_back(
    session: Session, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next try drained, upgraded and uncordoned the node meanwhile; token and Lease are the same: seed 1332."""
    cluster.add_pod("w1", "web-1")
    stand_still(session, monkeypatch, lambda: session.kube.uncordon("w1"))
    with pytest.raises(VerificationError, match="w1 is schedulable again"):
        drain_node(session, "w1")
    assert "web-1" in {pod.name for pod in cluster.pods["w1"]}
    assert not [call for call in cluster.api_calls if call.startswith("evict")]


def stand_still(session: Session, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Any]) -> None:
    """Let a drain stand still at its first look for somebody to evict; its very first look is the plan's."""
    pods_on, looks = session.kube.pods_on, [0]

    def look(node: str) -> Any:
        looks[0] += 1
        if looks[0] == 2:
            meanwhile()
        return pods_on(node)

    monkeypatch.setattr(session.kube, "pods_on", look)


def test_a_cleared_drain_takes_a_dead_runs_mark_over_when_the_lease_was_made_anew(
    session: Session, cluster: FakeCluster
) -> None:
    """The token that the node remembers is caught up with before the mark is written."""
    session.kube.cordon("w1", "airflow/lab/dead", 9)
    cluster.fakes["w1"].token = 9
    assert drain_node(session, "w1")["cordoned_by_us"]
    assert cluster.nodes["w1"].annotations["nightshift.io/token"] == "10"


def test_a_pod_that_does_not_end_is_named(session: Session, cluster: FakeCluster) -> None:
    cluster.pod_seconds = 10_000
    cluster.add_pod("w1", "web-1")
    with pytest.raises(DrainBlockedError, match=r"shop/web-1 \(is terminating\)"):
        drain_node(session, "w1")


def test_a_worker_is_verified_too(session: Session, cluster: FakeCluster, choice: dict[str, Any]) -> None:
    cluster.upgrade_control_plane("1.35.4")
    upgrade_kubelet(session, "w1", choice)
    assert "w1 runs 1.35.4" in verify_node(session, "w1", choice)["sentence"]
    cluster.fakes["w1"].is_away = True
    with pytest.raises(UnreachableError, match="NODE_UNREACHABLE"):
        verify_node(session, "w1", choice)


def test_a_cleared_task_of_another_control_plane_is_refused(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any]
) -> None:
    """A person may clear a task of cp1 while the night is at cp2: simulation seeds 52, 2358 and 2464."""
    ha.upgrade_control_plane("1.35.4")  # else the kubelet is refused before that
    drain_node(ha_session, "cp2")
    for step in (
        lambda: drain_node(ha_session, "cp1"),
        lambda: upgrade_node(ha_session, "cp1", choice),
        lambda: upgrade_kubelet(ha_session, "cp1", choice),
    ):
        with pytest.raises(GateClosedError, match="cp2 is in the hands of a run") as caught:
            step()
        assert caught.value.code == "CONTROL_PLANE_BUSY"
    assert not ha.nodes["cp1"].is_unschedulable
    assert not ha.fakes["cp1"].jobs
    assert drain_node(ha_session, "cp2")["cordoned_by_us"]


@pytest.mark.parametrize("how", ["kubeadm-upgrade", "kubelet-upgrade", "away"])
def test_a_control_plane_under_a_persons_cordon_is_in_the_way_while_its_job_runs(
    ha: FakeCluster, ha_session: Session, how: str
) -> None:
    """It carries no mark of ours, whoever upgrades it: simulation, seed 9384."""
    ha.nodes["cp2"] = replace(ha.nodes["cp2"], is_unschedulable=True)
    ha.add_pod("cp1", "web-1")
    if how == "away":
        ha.fakes["cp2"].is_away = True
    else:
        ha.fakes["cp2"].jobs[how] = running_job(how, ha_session.owner)
    with pytest.raises(GateClosedError, match=r"CONTROL_PLANE_BUSY.*cp2"):
        drain_node(ha_session, "cp1")
    assert not ha.nodes["cp1"].is_unschedulable
    assert len(ha.pods["cp1"]) == 1
    ha.fakes["cp2"].is_away = False
    ha.fakes["cp2"].jobs.clear()
    assert drain_node(ha_session, "cp1")["cordoned_by_us"]


def test_a_persons_kubeadm_on_another_control_plane_is_in_the_way(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any]
) -> None:
    snapshot(ha_session, choice)
    ha.fakes["cp2"].kubeadm_pids = (4711,)
    drain = partial(drain_node, ha_session, "cp1")
    for step in (drain, partial(upgrade_node, ha_session, "cp1", choice)):
        with pytest.raises(GateClosedError, match=r"kubeadm works on cp2 \(pid 4711\)") as caught:
            step()
        assert caught.value.code == "CONTROL_PLANE_BUSY"
        assert ha.nodes["cp1"].is_unschedulable is (step is not drain), (
            "a drained node waits for its next try"
        )
        assert "kubeadm-upgrade" not in ha.fakes["cp1"].jobs
    ha.fakes["cp2"].kubeadm_pids = ()
    ha.fakes["cp3"].is_away = True
    assert drain_node(ha_session, "cp1")["cordoned_by_us"]


def test_what_was_begun_is_carried_to_its_end_beside_a_persons_kubeadm(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any]
) -> None:
    snapshot(ha_session, choice)
    drain_node(ha_session, "cp1")
    ha.fakes["cp2"].kubeadm_pids = (4711,)
    ha.fakes["cp1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", ha_session.owner)
    assert upgrade_node(ha_session, "cp1", choice)["version"] == "1.35.4"
    assert upgrade_kubelet(ha_session, "cp1", choice)["version"] == "1.35.4"


def test_a_drain_that_was_fenced_while_it_stood_still_says_so(
    session: Session, cluster: FakeCluster, other_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VERIFY_FAILED would be about the node, and set a healthy one aside."""
    cluster.add_pod("w1", "web-1")

    def swept() -> None:
        cluster.sleep(200)
        recover(other_session, None, "sweeper")

    stand_still(session, monkeypatch, swept)
    with pytest.raises(FencedError, match="RUN_FENCED"):
        drain_node(session, "w1")
    assert not cluster.nodes["w1"].is_unschedulable


def test_a_control_plane_that_is_taken_while_another_waits_to_begin_keeps_its_turn(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any]
) -> None:
    """cp1 is under a person's cordon, so that nobody saw it being prepared."""
    ha.nodes["cp1"] = replace(ha.nodes["cp1"], is_unschedulable=True)
    snapshot(ha_session, choice)
    config = ha_session.kube.kubeadm_config

    def meanwhile() -> dict[str, str]:
        ha_session.kube.cordon("cp2", ha_session.owner, 1)
        return config()

    ha_session.kube.kubeadm_config = meanwhile  # type: ignore[method-assign]  # asked right before kubeadm
    with pytest.raises(GateClosedError, match=r"CONTROL_PLANE_BUSY.*cp2"):
        upgrade_node(ha_session, "cp1", choice)
    assert "kubeadm-upgrade" not in ha.fakes["cp1"].jobs


def test_of_two_control_planes_that_come_at_once_none_keeps_its_cordon(
    ha: FakeCluster, ha_session: Session
) -> None:
    cordon = ha_session.kube.cordon

    def meanwhile(name: str, owner: str, token: int) -> bool:
        cordon("cp3", owner, token)
        return cordon(name, owner, token)

    ha_session.kube.cordon = meanwhile  # type: ignore[method-assign]  # the other one is between our two looks
    with pytest.raises(GateClosedError, match="cp3"):
        drain_node(ha_session, "cp1")
    assert not ha.nodes["cp1"].is_unschedulable
    assert "nightshift.io/owner" not in ha.nodes["cp1"].annotations


@pytest.mark.parametrize("how", ["no leader", "away", "no metrics"])
def test_kubeadm_is_not_started_while_another_member_is_missing(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any], how: str
) -> None:
    """The gate may be minutes ago, and a cleared task has none: simulation, etcd away during the drain."""
    snapshot(ha_session, choice)
    if how == "away":
        ha.fakes["cp3"].is_away = True
    else:
        ha.fakes["cp3"].etcd = etcd_text(leader=False) if how == "no leader" else None
    with pytest.raises(GateClosedError, match="without its member and cp3") as caught:
        upgrade_node(ha_session, "cp1", choice)
    assert caught.value.code == "QUORUM_AT_RISK"
    assert "kubeadm-upgrade" not in ha.fakes["cp1"].jobs


def test_a_kubeadm_that_runs_is_attached_to_whatever_the_other_members_say(
    ha: FakeCluster, ha_session: Session, choice: dict[str, Any]
) -> None:
    ha.fakes["cp1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade", ha_session.owner)
    ha.fakes["cp3"].is_away = True
    assert upgrade_node(ha_session, "cp1", choice)["node"] == "cp1"
