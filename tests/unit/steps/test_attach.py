"""A retry while its own job keeps the API away: looked at over SSH alone, and nothing done before the API was asked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, job_failed, make_session

from nightshift.domain.errors import LateTryError, LeaseHeldError, RemoteJobError, UnreachableError
from nightshift.domain.facts import JobFacts, NodeAddress, NodeFacts
from nightshift.domain.takeover import fence
from nightshift.steps.brake import KUBEADM_JOB, KUBELET_JOB
from nightshift.steps.session import NodePort, Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.upgrade_kubelet import upgrade_kubelet
from nightshift.steps.upgrade_node import upgrade_node

ADDRESSES = {"cp1": "10.0.0.0", "w1": "10.0.0.1"}
FOLLOWING = "the API is away, and kubeadm-upgrade of this run is at work: following it"


def words(session: Session, command: str = "apply", version: str = "1.35.4") -> tuple[str, ...]:
    return command, version, "900", session.policy.target.package_repository


@pytest.fixture
def orphan(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> JobFacts:
    """A kubeadm of this run, whose try was killed; it keeps the API away for 100 s, and works for 60 s longer."""
    snapshot(session, choice)
    session.kube.cordon("cp1", session.owner, cluster.lease.token)
    node, job = cluster.fakes["cp1"], running(cluster, session, words(session))
    node.jobs[KUBEADM_JOB] = job
    cluster.api_away_until = cluster.now + 100
    node.on_follow = lambda step: finish(cluster, job, 160)
    cluster.api_calls.clear()
    node.calls.clear()
    return job


def running(cluster: FakeCluster, session: Session, arguments: tuple[str, ...]) -> JobFacts:
    return JobFacts(KUBEADM_JOB, "running", None, session.owner, 1, arguments, cluster.now, None)


def finish(cluster: FakeCluster, job: JobFacts, seconds: float, state: str = "succeeded") -> None:
    """The job ends so many seconds after its start."""
    if cluster.now >= job.started + seconds:
        code = 0 if state == "succeeded" else 26
        cluster.fakes["cp1"].jobs[job.step] = replace(job, state=state, exit_code=code, finished=cluster.now)


@pytest.mark.usefixtures("orphan")
def test_a_retry_follows_its_own_job_at_once_and_asks_for_nothing_but_readiness(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    began = cluster.now
    attached: list[float] = []
    log = session.log

    def watch(line: str) -> None:
        if FOLLOWING in line:
            attached.append(cluster.now)
            assert cluster.api_calls == [], "but whether it is ready, which the fake does not count"
        log(line)

    session.log = watch
    done = upgrade_node(session, "cp1", choice, ADDRESSES)
    assert attached[0] - began < 1
    assert "cp1: kubeadm-upgrade is running" in cluster.log
    assert "cp1: the API is there again; asking who holds the cluster" in cluster.log
    assert "the API is away, waiting" not in cluster.log
    assert done["command"] == "apply"


@pytest.mark.usefixtures("orphan")
def test_following_takes_nothing_and_starts_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """The API never comes back: the try ends as ever, and the node was only looked at."""
    cluster.api_away_until = float("inf")
    lease, token = cluster.lease, cluster.fakes["cp1"].token
    with pytest.raises(UnreachableError, match="API_UNREACHABLE"):
        upgrade_node(session, "cp1", choice, ADDRESSES)
    assert "kubeadm-upgrade ended (succeeded)" in cluster.log
    assert (cluster.lease, cluster.fakes["cp1"].token, cluster.fakes["cp1"].calls) == (lease, token, [])


def test_a_job_that_ends_while_it_is_followed_is_not_followed_any_longer(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], orphan: JobFacts
) -> None:
    cluster.fakes["cp1"].on_follow = lambda step: finish(cluster, orphan, 20, "failed")
    upgrade_node(session, "cp1", choice, ADDRESSES)
    assert "kubeadm-upgrade ended (failed)" in cluster.log
    assert f"the last kubeadm-upgrade (run {session.owner}) failed with exit code 26" in cluster.log


@pytest.mark.usefixtures("orphan")
def test_a_run_that_was_fenced_meanwhile_ends_as_ever_and_does_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """A recovery that reaches an API which we cannot reach: the node is the first that we hear of it."""
    node = cluster.fakes["cp1"]

    def taken(step: str) -> None:
        if not cluster.lease.fenced_owner:
            cluster.lease = fence(cluster.lease, session.owner, "airflow/lab/sweeper", cluster.now, 120)
            node.token = cluster.lease.token

    node.on_follow = taken
    pods = cluster.add_pod("cp1", "newcomer")
    with pytest.raises(LateTryError, match="RUN_FENCED"):
        upgrade_node(session, "cp1", choice, ADDRESSES)
    assert node.calls == []
    assert cluster.pods["cp1"] == [pods]
    assert not {"evict", "cordon", "claim_lease", "renew_lease"} & set(cluster.api_calls)


@pytest.mark.usefixtures("orphan")
def test_another_run_that_came_meanwhile_is_met_before_anything_is_done(
    cluster: FakeCluster, session: Session, other_session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].on_follow = lambda step: setattr(
        cluster, "lease", replace(cluster.lease, holder=other_session.owner, token=9, renewed=cluster.now)
    )
    with pytest.raises(LeaseHeldError, match=other_session.owner):
        upgrade_node(session, "cp1", choice, ADDRESSES)
    assert cluster.fakes["cp1"].calls == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"run_id": "airflow/lab/last-night"}, id="of another run"),
        pytest.param({"run_id": "there/lab/run-1"}, id="of another Airflow"),
        pytest.param({"arguments": ("apply", "1.35.3", "900", "https://x")}, id="with other arguments"),
        pytest.param({"state": "succeeded", "exit_code": 0}, id="that has ended"),
    ],
)
def test_any_other_job_is_not_followed(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], orphan: JobFacts, change: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].jobs[KUBEADM_JOB] = replace(orphan, **change)
    upgrade_node(session, "cp1", choice, ADDRESSES)
    assert FOLLOWING not in cluster.log
    assert "reading node cp1: the API is away" in cluster.log


@pytest.mark.usefixtures("orphan")
@pytest.mark.parametrize("addresses", [None, {}, {"w1": "10.0.0.1"}])
def test_a_plan_of_an_older_release_waits_for_the_api(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], addresses: dict[str, str] | None
) -> None:
    upgrade_node(session, "cp1", choice, addresses)
    assert FOLLOWING not in cluster.log
    assert "reading node cp1: the API is away" in cluster.log


@pytest.mark.usefixtures("orphan")
def test_a_node_that_cannot_be_reached_is_left_to_the_ordinary_way(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].is_away = True
    with pytest.raises(UnreachableError, match="NODE_UNREACHABLE"):
        upgrade_node(session, "cp1", choice, ADDRESSES)
    assert "kubeadm-upgrade cannot be followed at 10.0.0.0 (NODE_UNREACHABLE: powered off)" in cluster.log
    assert "reading node cp1: the API is away" in cluster.log


@pytest.mark.usefixtures("orphan")
def test_a_line_that_breaks_while_following_is_left_to_the_ordinary_way(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    node = cluster.fakes["cp1"]
    node.on_follow = lambda step: setattr(node, "is_away", True)
    session.sleep = lambda seconds: (cluster.sleep(seconds), setattr(node, "is_away", False))[0]  # type: ignore[func-returns-value]
    assert upgrade_node(session, "cp1", choice, ADDRESSES)["node"] == "cp1"
    assert "cannot be followed at 10.0.0.0 (NODE_UNREACHABLE" in cluster.log


def test_while_the_api_answers_nothing_is_different(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], orphan: JobFacts
) -> None:
    cluster.api_away_until = 0.0
    assert upgrade_node(session, "cp1", choice, ADDRESSES)["command"] == "apply"
    assert FOLLOWING not in cluster.log
    assert "kubeadm-upgrade is running" not in cluster.log


def test_a_kubelets_job_is_followed_too(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    job = replace(running(cluster, session, ("1.35.4",)), step=KUBELET_JOB)
    cluster.fakes["cp1"].jobs[KUBELET_JOB] = job
    cluster.fakes["cp1"].on_follow = lambda step: finish(cluster, job, 5)
    cluster.api_away_until = cluster.now + 20
    assert upgrade_kubelet(session, "cp1", choice, ADDRESSES)["version"] == "1.35.4"
    assert "kubelet-upgrade of this run is at work: following it" in cluster.log
    assert "kubelet-upgrade ended (succeeded)" in cluster.log


@pytest.mark.usefixtures("orphan")
def test_a_failure_of_the_job_after_the_hand_over_is_told_as_ever(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].failures[KUBEADM_JOB] = job_failed()
    with pytest.raises(RemoteJobError, match=r"JOB_FAILED.*Evidence: .*cp1-kubeadm-upgrade"):
        upgrade_node(session, "cp1", choice, ADDRESSES)
    assert FOLLOWING in cluster.log


def test_a_node_with_another_address_by_now_is_another_connection(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """The plan's address may be an old one: what the Node object says is asked anew."""
    opened: list[str] = []
    session = make_session(cluster, tmp_path)
    open_ssh: Callable[[NodeFacts | NodeAddress], NodePort] = session.ssh

    def connect(node: NodeFacts | NodeAddress) -> NodePort:
        opened.append(node.address)
        return open_ssh(node)

    session.ssh = connect
    facts = cluster.nodes["w1"]
    for node in (NodeAddress("w1", "10.9.9.9"), facts, facts, NodeAddress("w1", facts.address)):
        session.on(node)
    assert opened == ["10.9.9.9", facts.address]
    assert cluster.fakes["w1"].closed
