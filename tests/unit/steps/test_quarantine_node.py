from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, running_job

from nightshift.domain.errors import VerificationError
from nightshift.domain.policy import WorkerPolicy
from nightshift.domain.quarantine import read_quarantine
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.postflight import postflight
from nightshift.steps.quarantine_node import quarantine_node
from nightshift.steps.recover import recover
from nightshift.steps.session import Session
from nightshift.steps.uncordon_node import uncordon_node
from nightshift.steps.upgrade_kubelet import upgrade_kubelet

BLOCKED = {"step": "drain", "code": "DRAIN_BLOCKED"}


@pytest.fixture
def drained(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    claim(session, choice)
    drain_node(session, "w2")


@pytest.mark.usefixtures("drained")
def test_a_failed_worker_is_given_back_marked_and_told(cluster: FakeCluster, session: Session) -> None:
    said = quarantine_node(session, "w2", BLOCKED)
    assert (said["answer"], said["node"], said["reason"]) == ("quarantined", "w2", "DRAIN_BLOCKED")
    assert "w2 is set aside (DRAIN_BLOCKED) and takes pods again" in said["sentence"]
    node = cluster.nodes["w2"]
    assert (node.is_unschedulable, "nightshift.io/owner" in node.annotations) == (False, False)
    mark = read_quarantine(node)
    assert mark is not None
    assert (mark.reason, mark.run) == ("DRAIN_BLOCKED", session.owner)


@pytest.mark.usefixtures("drained")
def test_again_it_says_the_same(cluster: FakeCluster, session: Session) -> None:
    quarantine_node(session, "w2", BLOCKED)
    assert quarantine_node(session, "w2", BLOCKED)["answer"] == "quarantined"


@pytest.mark.usefixtures("drained")
def test_a_foreign_cordon_stays(cluster: FakeCluster, session: Session) -> None:
    cluster.nodes["w2"] = replace(cluster.nodes["w2"], annotations={})
    said = quarantine_node(session, "w2", BLOCKED)
    assert cluster.nodes["w2"].is_unschedulable
    assert "stays cordoned" in said["sentence"]


@pytest.mark.usefixtures("drained")
def test_what_is_not_about_the_node_stops_the_night_and_leaves_no_mark(
    cluster: FakeCluster, session: Session
) -> None:
    said = quarantine_node(session, "w2", {"step": "kubeadm", "code": "LEASE_HELD"})
    assert said["answer"] == "stop"
    assert read_quarantine(cluster.nodes["w2"]) is None
    assert cluster.nodes["w2"].is_unschedulable, "the recovery gives it back"


@pytest.mark.usefixtures("drained")
def test_a_node_with_work_on_it_is_left_alone(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w2"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade")
    said = quarantine_node(session, "w2", {"step": "kubeadm", "code": "JOB_LOST"})
    assert (said["answer"], "kubeadm-upgrade" in said["sentence"]) == ("stop", True)
    assert cluster.nodes["w2"].is_unschedulable


@pytest.mark.usefixtures("drained")
def test_a_node_that_cannot_be_reached_keeps_cordon_and_debt(cluster: FakeCluster, session: Session) -> None:
    """Whether work still runs there is unknown; the others go on, and nothing else waits for it."""
    cluster.fakes["w2"].is_away = True
    said = quarantine_node(session, "w2", {"step": "kubelet", "code": "NODE_UNREACHABLE"})
    assert (said["answer"], "stays cordoned" in said["sentence"]) == ("quarantined", True)
    assert cluster.nodes["w2"].annotations["nightshift.io/owner"] == session.owner
    assert recover(session, "run-1", "release")["answer"] == "recovered"
    assert (cluster.lease.holder, cluster.nodes["w2"].is_unschedulable) == ("", True)
    cluster.fakes["w2"].is_away = False
    assert recover(session, None, "sweeper")["answer"] == "recovered"
    assert not cluster.nodes["w2"].is_unschedulable
    assert read_quarantine(cluster.nodes["w2"]) is not None, "the mark is no debt"


@pytest.mark.usefixtures("drained")
@pytest.mark.parametrize(("limit", "answer"), [(1, "stop"), (2, "quarantined")])
def test_more_than_the_policy_allows_stops_the_night(
    cluster: FakeCluster, session: Session, limit: int, answer: str
) -> None:
    session.policy = replace(session.policy, workers=WorkerPolicy(max_quarantined=limit))
    quarantine_node(session, "w1", BLOCKED)
    said = quarantine_node(session, "w2", BLOCKED)
    assert said["answer"] == answer
    assert (read_quarantine(cluster.nodes["w2"]) is not None) is (answer == "quarantined")


@pytest.mark.usefixtures("drained")
def test_marks_of_earlier_nights_do_not_count(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    quarantine_node(session, "w1", BLOCKED)
    recover(session, "run-1", "release")
    assert quarantine_node(other_session, "w2", BLOCKED)["answer"] == "quarantined"


@pytest.mark.usefixtures("drained")
def test_a_mark_that_is_not_kept_is_an_error(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.kube, "annotate_node", lambda name, values: None)
    with pytest.raises(VerificationError, match=r"nightshift\.io/quarantined"):
        quarantine_node(session, "w2", BLOCKED)


@pytest.mark.usefixtures("drained")
def test_a_node_that_comes_to_its_end_later_loses_the_mark(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    quarantine_node(session, "w2", BLOCKED)
    cluster.upgrade_control_plane("1.35.4")
    upgrade_kubelet(session, "w2", choice)
    assert read_quarantine(cluster.nodes["w2"]) is not None
    uncordon_node(session, "w2")
    assert cluster.nodes["w2"].annotations == {}


@pytest.mark.usefixtures("drained")
def test_postflight_names_what_was_set_aside_and_does_not_judge_it(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    quarantine_node(session, "w2", BLOCKED)
    for name in ("cp1", "w1"):
        upgrade_kubelet(session, name, choice)
        uncordon_node(session, name)
    cluster.components["cp1"] = dict.fromkeys(cluster.components["cp1"], "1.35.4")
    said = postflight(session, choice, {"leftover": []})
    assert said["quarantined"] == ["w2"]
    assert "Set aside: w2." in said["sentence"]
