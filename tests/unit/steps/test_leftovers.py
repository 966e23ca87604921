"""Nothing of an earlier night keeps tonight from coming to its end, whoever left it and in whatever state."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.facts import JobFacts, LeaseFacts
from nightshift.domain.takeover import fence
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.open_night import open_night
from nightshift.steps.recover import recover
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.stage import stage
from nightshift.steps.uncordon_node import uncordon_node
from nightshift.steps.upgrade_kubelet import upgrade_kubelet
from nightshift.steps.upgrade_node import upgrade_node

DEAD = "airflow/lab/run-0"
OWN = "airflow/lab/run-1"  # tonight's own name: a run that was deleted and triggered again under its old id
_MARKS = {"nightshift.io/owner": DEAD, "nightshift.io/token": "3"}
_JOBS = ("stage", "snapshot-etcd", "kubeadm-upgrade", "kubelet-upgrade", "reclaim-scratch")


def _lease(holder: str, renewed: float | None, token: int = 3) -> Callable[[FakeCluster, Session], None]:
    def leave(cluster: FakeCluster, session: Session) -> None:
        cluster.lease = LeaseFacts(holder, token, 1.0, renewed, 120)

    return leave


def _fenced(owner: str) -> Callable[[FakeCluster, Session], None]:
    def leave(cluster: FakeCluster, session: Session) -> None:
        cluster.lease = replace(
            fence(LeaseFacts(owner, 3, 1.0, 1.0, 120), owner, "x", cluster.now - 600, 120),
            holder="",
            renewed=None,
        )

    return leave


def _died_recovering(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = fence(LeaseFacts(DEAD, 3, 1.0, 1.0, 120), None, "x", cluster.now - 600, 120)


def _namespace_marks(cluster: FakeCluster, session: Session) -> None:
    cluster.marks |= {
        "nightshift.io/run-id": DEAD,
        "nightshift.io/started": "2026-11-23T23:00:00+00:00",
        "nightshift.io/target": "1.34.4",
        "nightshift.io/something-older": "x",
    }


def _node_marks(is_cordoned: bool) -> Callable[[FakeCluster, Session], None]:
    def leave(cluster: FakeCluster, session: Session) -> None:
        for name in ("cp1", "w1"):
            node = cluster.nodes[name]
            cluster.nodes[name] = replace(node, is_unschedulable=is_cordoned, annotations=dict(_MARKS))

    return leave


def _jobs(state: str, exit_code: int | None, run_id: str) -> Callable[[FakeCluster, Session], None]:
    def leave(cluster: FakeCluster, session: Session) -> None:
        for node in cluster.fakes.values():
            words = ("node", "1.34.4", "900")
            ended = JobFacts("x", state, exit_code, run_id, 3, words, 1.0, None if exit_code is None else 2.0)
            node.jobs = {step: replace(ended, step=step) for step in _JOBS}

    return leave


def _tokens(cluster: FakeCluster, session: Session) -> None:
    for number, node in enumerate(cluster.fakes.values()):
        node.token = 40 + number


def _gauge(cluster: FakeCluster, session: Session) -> None:
    session.pushgateway.push({"k8s_upgrade_in_flight": 1.0, "k8s_upgrade_blocked": 1.0})


def _brake(cluster: FakeCluster, session: Session) -> None:
    cluster.brake = {"paused": "true", "mode": "stop now", "until": "2027-01-15T07:59:00Z", "reason": "anna"}


def _store(cluster: FakeCluster, session: Session) -> None:
    session.store.write_json("snapshots/run-0.json", {"file": "snapshots/run-0/gone.tar.gz", "taken": 1.0})
    session.store.write_json("snapshots/run-1.json", {"file": "snapshots/run-1/gone.tar.gz", "path": "x"})
    session.store.write_json("evidence/run-1/cp1.json", {"incidents": ["x", {"name": "../x"}, {"name": 1}]})
    session.store.write_json("node_seconds.json", {"cp1": "what?", "w9": 10**9})


LEFTOVERS = {
    "a Lease that expired": _lease(DEAD, 1.0),
    "a Lease whose recovery gave up": _lease(f"{DEAD} (recovery)", None),
    "a recovery that died": _died_recovering,
    "a Lease of a run of tonight's name": _lease(OWN, 1.0),
    "an emptied Lease with a large token": _lease("", None, 99),
    "a fenced run": _fenced(DEAD),
    "a fenced run of tonight's name": _fenced(OWN),
    "annotations of the namespace": _namespace_marks,
    "marks and cordons": _node_marks(is_cordoned=True),
    "marks without a cordon": _node_marks(is_cordoned=False),
    "jobs that ended well": _jobs("succeeded", 0, DEAD),
    "jobs that failed": _jobs("failed", 1, DEAD),
    "jobs that were lost": _jobs("lost", None, DEAD),
    "failed jobs of a run of tonight's name": _jobs("failed", 1, OWN),
    "nodes that have seen larger tokens": _tokens,
    "gauges": _gauge,
    "a brake that has released itself": _brake,
    "files in the store": _store,
}


def _night(session: Session, choice: dict[str, Any]) -> None:
    assert open_night(session)["answer"] == "go"
    claim(session, choice)
    snapshot(session, choice)
    stage(session, choice)
    for name in ("cp1", "w1", "w2"):
        drain_node(session, name)
        upgrade_node(session, name, choice)
        upgrade_kubelet(session, name, choice)
        uncordon_node(session, name)
    assert recover(session, session.run_id, "the run ends")["answer"] == "recovered"


def _assert_done_and_tidy(cluster: FakeCluster, session: Session) -> None:
    assert {n.kubelet_version for n in cluster.nodes.values()} == {"1.35.4"}
    assert not any(n.is_unschedulable or n.annotations for n in cluster.nodes.values())
    assert (cluster.lease.holder, cluster.marks) == ("", {})
    assert session.pushgateway.values["k8s_upgrade_in_flight"] == 0


@pytest.mark.parametrize("leave", LEFTOVERS.values(), ids=LEFTOVERS.keys())
def test_it_never_keeps_tonight_from_coming_to_its_end(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], leave: Callable[..., None]
) -> None:
    leave(cluster, session)
    token = cluster.lease.token
    _night(session, choice)
    _assert_done_and_tidy(cluster, session)
    assert cluster.lease.token > token


def test_nor_does_all_of_it_at_once(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    for leave in LEFTOVERS.values():
        leave(cluster, session)
    _night(session, choice)
    _assert_done_and_tidy(cluster, session)
