import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, job_failed, running_job

from nightshift.domain.errors import (
    FencedError,
    LeaseHeldError,
    RemoteJobError,
    UnreachableError,
    VerificationError,
)
from nightshift.domain.facts import JobFacts
from nightshift.domain.incident.record import Incident
from nightshift.steps.claim import claim
from nightshift.steps.drain_node import drain_node
from nightshift.steps.evidence import incidents_of, incidents_of_run, index_folder
from nightshift.steps.hold import acquire
from nightshift.steps.postflight import postflight
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.stage import stage
from nightshift.steps.uncordon_node import uncordon_node
from nightshift.steps.upgrade_kubelet import upgrade_kubelet
from nightshift.steps.upgrade_node import upgrade_node
from nightshift.steps.verify_node import verify_node


def _incidents(session: Session, node: str) -> tuple[Incident, ...]:
    return incidents_of(session.store, index_folder(session), node)


def test_a_whole_night_by_hand(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    claim(session, choice)
    snapshot(session, choice)
    stage(session, choice)
    for name in ("cp1", "w1", "w2"):
        drain_node(session, name)
        upgrade_node(session, name, choice)
        upgrade_kubelet(session, name, choice)
        verify_node(session, name, choice)
        uncordon_node(session, name)
    done = postflight(session, choice, {"leftover": []})
    assert (
        done["sentence"] == "Upgraded from 1.34.4 to 1.35.4: 3 of 3 nodes run 1.35.4, Ready and as written."
    )
    base = session.policy.target.package_repository
    assert ("kubeadm-upgrade", "apply", "1.35.4", "900", base) in cluster.fakes["cp1"].calls
    assert ("kubeadm-upgrade", "node", "1.35.4", "900", base) in cluster.fakes["w1"].calls
    assert ("kubelet-upgrade", "1.35.4") in cluster.fakes["w2"].calls


def test_a_failed_job_leaves_its_evidence_before_it_is_raised(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    cluster.fakes["cp1"].failures["kubeadm-upgrade"] = job_failed()
    with pytest.raises(RemoteJobError, match=r"JOB_FAILED.*Evidence: .*cp1-kubeadm-upgrade") as caught:
        upgrade_node(session, "cp1", choice)
    assert caught.value.exit_code == 26
    (incident,) = incidents_of_run(session.store, index_folder(session))
    archive = Path(session.store.place(f"{index_folder(session)}/{incident.name}/node.tar.gz"))
    assert archive.read_bytes().startswith(b"evidence since")
    assert archive.stat().st_mode & 0o777 == 0o600
    assert caught.value.reports == (f"run-1/{incident.name}",)
    upgrade_node(session, "cp1", choice)


def test_evidence_that_cannot_be_taken_does_not_hide_the_failure(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    node = cluster.fakes["w1"]
    node.failures["kubelet-upgrade"] = job_failed("JOB_LOST")
    node.before_job = lambda step: setattr(node, "is_away", True)
    with pytest.raises(
        RemoteJobError, match=r"JOB_LOST.*Evidence: .*It lacks the node's own files: NODE_UNREACHABLE"
    ):
        upgrade_kubelet(session, "w1", choice)


def test_a_node_that_lost_its_cordon_is_drained_again_before_kubeadm(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    drain_node(session, "w1")
    session.kube.uncordon("w1")
    cluster.add_pod("w1", "newcomer")
    upgrade_node(session, "w1", choice)
    assert cluster.pods["w1"] == []
    assert cluster.nodes["w1"].is_unschedulable


def test_the_time_of_kubeadms_package_is_passed_on(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    assert upgrade_node(session, "cp1", choice)["package_seconds"] is None
    cluster.fakes["w1"].results["kubeadm-upgrade"] = {"package_seconds": 4.5}
    assert upgrade_node(session, "w1", choice)["package_seconds"] == 4.5


def test_a_node_that_lost_its_cordon_is_drained_again_before_its_kubelet(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    cluster.add_pod("w1", "newcomer")
    upgrade_kubelet(session, "w1", choice)
    assert cluster.pods["w1"] == []
    assert cluster.nodes["w1"].is_unschedulable


def test_a_second_try_ends_with_the_command_of_the_first(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    upgrade_node(session, "cp1", choice)
    assert cluster.config_version == "1.35.4"
    assert upgrade_node(session, "cp1", choice)["command"] == "apply"


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"state": "failed", "exit_code": 26}, "failed with exit code 26"),
        ({"state": "lost", "exit_code": None, "rebooted": True}, "was lost when the node was rebooted"),
        ({"state": "lost", "exit_code": None}, "was lost without a last word"),
    ],
)
def test_a_kubeadm_that_failed_unseen_is_named_and_leaves_evidence_before_it_is_run_again(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], ended: dict[str, Any], said: str
) -> None:
    """The task was killed, its job failed with nobody there; the next try must not wipe the traces."""
    snapshot(session, choice)
    node = cluster.fakes["cp1"]
    base = session.policy.target.package_repository
    words = ("apply", "1.35.4", "900", base)
    node.jobs["kubeadm-upgrade"] = JobFacts(
        step="kubeadm-upgrade",
        run_id=session.owner,
        token=1,
        arguments=words,
        started=cluster.now - 60,
        finished=None,
        **ended,
    )
    saved_before_the_job: list[int] = []
    node.before_job = lambda step: saved_before_the_job.append(len(_incidents(session, "cp1")))
    assert upgrade_node(session, "cp1", choice)["command"] == "apply"
    assert f"the last kubeadm-upgrade (run {session.owner}) {said}" in cluster.log
    assert saved_before_the_job[0] == 1
    upgrade_node(session, "cp1", choice)
    assert len(_incidents(session, "cp1")) == 1


def _kubelet_job(session: Session, state: str, started: float) -> JobFacts:
    code = 24 if state == "failed" else None
    return JobFacts(
        "kubelet-upgrade", state, code, session.owner, 1, ("1.35.4",), started, None, rebooted=state == "lost"
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [("failed", "failed with exit code 24"), ("lost", "was lost when the node was rebooted")],
)
def test_a_kubelet_job_that_failed_unseen_is_named_and_leaves_evidence_before_it_is_run_again(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], state: str, said: str
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    node = cluster.fakes["w1"]
    node.jobs["kubelet-upgrade"] = _kubelet_job(session, state, cluster.now - 60)
    saved_before_the_job: list[int] = []
    node.before_job = lambda step: saved_before_the_job.append(len(_incidents(session, "w1")))
    upgrade_kubelet(session, "w1", choice)
    assert f"the last kubelet-upgrade (run {session.owner}) {said}" in cluster.log
    assert saved_before_the_job == [1]
    upgrade_kubelet(session, "w1", choice)
    assert len(_incidents(session, "w1")) == 1


def test_the_evidence_of_a_kubelet_job_that_is_attached_to_begins_with_the_job(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    node, started = cluster.fakes["w1"], cluster.now - 600
    node.jobs["kubelet-upgrade"] = _kubelet_job(session, "running", started)
    node.failures["kubelet-upgrade"] = job_failed()
    with pytest.raises(RemoteJobError, match="JOB_FAILED"):
        upgrade_kubelet(session, "w1", choice)
    (incident,) = _incidents(session, "w1")
    archive = Path(session.store.place(f"{index_folder(session)}/{incident.name}/node.tar.gz"))
    assert int(archive.read_text().removeprefix("evidence since ")) <= started


def test_what_another_run_left_is_named_without_new_evidence(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["w1"].jobs["kubeadm-upgrade"] = JobFacts(
        "kubeadm-upgrade", "failed", 26, "airflow/lab/last-night", 1, ("node", "1.35.4"), 0.0, 9.0
    )
    upgrade_node(session, "w1", choice)
    assert "(run airflow/lab/last-night) failed with exit code 26" in cluster.log
    assert _incidents(session, "w1") == ()


def test_a_world_that_did_not_follow_leaves_evidence_too(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], is_ready=False)
    with pytest.raises(VerificationError, match=r"NotReady.*Evidence: .*w1-kubelet-upgrade"):
        upgrade_kubelet(session, "w1", choice)
    with pytest.raises(VerificationError, match=r"not Ready.*Evidence: .*w1-verify"):
        verify_node(session, "w1", choice)
    assert len(incidents_of_run(session.store, index_folder(session))) == 2


def test_two_nodes_that_fail_together_both_keep_their_evidence(
    session: Session, choice: dict[str, Any], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a task of its own: nothing keeps one from reading the index before the other has written it."""
    cluster.upgrade_control_plane("1.35.4")
    for name in ("w1", "w2"):
        cluster.fakes[name].failures["kubelet-upgrade"] = job_failed()
    meeting, read = Barrier(2, timeout=10), session.store.read_json

    def read_together(relative: str) -> Any:
        found = read(relative)
        if relative.startswith("evidence/"):
            meeting.wait()
        return found

    monkeypatch.setattr(session.store, "read_json", read_together)
    with ThreadPoolExecutor() as pool:
        tries = [pool.submit(upgrade_kubelet, session, name, choice) for name in ("w1", "w2")]
        assert all(isinstance(t.exception(), RemoteJobError) for t in tries)
    monkeypatch.undo()
    assert len(incidents_of_run(session.store, index_folder(session))) == 2


def test_kubeadm_content_but_old_pods_is_an_error(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    cluster.fakes["cp1"]._kubeadm_upgrade = lambda args: None  # type: ignore[method-assign]
    with pytest.raises(
        VerificationError, match=r"cp1 did not reach 1.35.4 within 300 s: kube-apiserver 1.34.4"
    ):
        upgrade_node(session, "cp1", choice)


def test_a_kubelet_that_does_not_come_back_is_an_error(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], is_ready=False)
    with pytest.raises(VerificationError, match=r"it reports kubelet 1.35.4, NotReady"):
        upgrade_kubelet(session, "w1", choice)


def test_verify_names_everything_that_is_wrong(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].etcd = "etcd_server_has_leader 0"
    with pytest.raises(VerificationError) as caught:
        verify_node(session, "cp1", choice)
    for said in ("reports kubelet 1.34.4", "binary is 1.34.4", "kube-scheduler is 1.34.4", "has no leader"):
        assert said in str(caught.value)


@pytest.mark.parametrize("what", ["node", "probe"])
def test_verify_keeps_the_lease_while_what_it_looks_at_does_not_answer(
    cluster: FakeCluster,
    session: Session,
    choice: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """It holds a cordon: a run that is taken for dead loses it."""
    session.policy = replace(session.policy, limits=replace(session.policy.limits, lease_renew_seconds=0))
    acquire(session)
    place = session.kube if what == "node" else cluster.fakes["w1"]
    ask, slow = getattr(place, what), iter((True,))

    def slowly(*words: Any) -> Any:
        if next(slow, False):
            cluster.sleep(200)
            until = time.monotonic() + 5
            while not cluster.lease.is_live(cluster.now) and time.monotonic() < until:
                time.sleep(0.001)
            assert cluster.lease.is_live(cluster.now)
        return ask(*words)

    monkeypatch.setattr(place, what, slowly)
    with pytest.raises(VerificationError, match="reports kubelet"):
        verify_node(session, "w1", choice)


def test_static_pods_of_a_form_unknown_are_a_problem_and_no_crash(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].texts["static-pods"] = "process\tno number\n"
    with pytest.raises(VerificationError, match="its static pods could not be read"):
        verify_node(session, "cp1", choice)


def test_a_run_fenced_while_it_works_starts_no_job(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    node = cluster.fakes["w1"]
    fence = node.fence

    def recovered_next(token: int) -> None:
        fence(token)
        node.token = token + 1

    node.fence = recovered_next  # type: ignore[method-assign]
    with pytest.raises(FencedError, match="NODE_FENCED"):
        upgrade_kubelet(session, "w1", choice)


@pytest.mark.parametrize(
    ("config_version", "command"),
    [("1.34.4", "apply"), ("1.35.4", "node"), ("", "apply")],
    ids=["before apply came to its end", "after it", "configuration unreadable"],
)
def test_the_kubeadm_command_follows_the_clusters_configuration(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], config_version: str, command: str
) -> None:
    snapshot(session, choice)
    cluster.config_version = config_version
    assert upgrade_node(session, "cp1", choice)["command"] == command
    assert upgrade_node(session, "w1", choice)["command"] == "node"


def test_claim_refuses_a_second_run(session: Session, other_session: Session, choice: dict[str, Any]) -> None:
    assert claim(session, choice)["token"] == 1
    assert claim(session, choice)["token"] == 1
    with pytest.raises(LeaseHeldError):
        claim(other_session, choice)


def go_away_after_renewal(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The API answers one renewal of the Lease, and is away then."""
    renewed = session.kube.renew_lease

    def renew(*words: Any) -> bool:
        done = renewed(*words)
        cluster.api_away_until = cluster.now + seconds
        return done

    monkeypatch.setattr(session.kube, "renew_lease", renew)


def test_claim_waits_for_an_api_that_goes_away_between_its_lease_and_its_marks(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleared in the midst of kubeadm: the API is there for a moment only."""
    claim(session, choice)
    cluster.marks.clear()
    go_away_after_renewal(cluster, session, monkeypatch, 40)
    began = cluster.now
    assert claim(session, choice)["token"] == 1
    assert cluster.marks["nightshift.io/target"] == "1.35.4"
    assert cluster.now - began >= 40


def test_a_claim_gives_up_before_its_lease_is_dead(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(session, choice)
    go_away_after_renewal(cluster, session, monkeypatch, 10_000)
    began = cluster.now
    with pytest.raises(UnreachableError):
        claim(session, choice)
    assert cluster.now - began < session.policy.limits.lease_seconds


def test_snapshot_is_kept_when_this_run_has_one(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    first = snapshot(session, choice)
    assert Path(first["path"]).read_bytes() == b"snapshot of cp1"
    assert session.pushgateway.values["k8s_upgrade_snapshot_taken"] == 1
    again = snapshot(session, choice)
    assert again["kept"]
    assert [c for c in cluster.fakes["cp1"].calls if c[0] == "snapshot-etcd"] == [("snapshot-etcd",)]


def test_a_snapshot_whose_file_is_gone_is_taken_again(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    first = snapshot(session, choice)
    Path(first["path"]).unlink()
    assert not snapshot(session, choice)["kept"]
    assert Path(first["path"]).exists()


def test_an_old_snapshot_is_no_way_back_and_is_not_written_over(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """A failed run that is cleared days later: the cluster has lived on since."""
    first = snapshot(session, choice)
    limit = session.policy.limits.snapshot_max_age_seconds
    cluster.now = first["taken"] + limit - 1
    assert snapshot(session, choice)["kept"]
    node = cluster.fakes["cp1"]
    node.bundles["etcd-20270118T080000Z.tar.gz"] = b"three days later"
    node.results["snapshot-etcd"].update(
        bundle="etcd-20270118T080000Z.tar.gz", bundle_sha256=hashlib.sha256(b"three days later").hexdigest()
    )
    cluster.now = first["taken"] + limit + 1
    again = snapshot(session, choice)
    assert not again["kept"]
    assert again["taken"] > first["taken"] + limit
    assert Path(again["path"]).read_bytes() == b"three days later"
    assert Path(first["path"]).read_bytes() == b"snapshot of cp1"
    assert "not taken within the last 3600 s" in cluster.log
    assert snapshot(session, choice)["kept"]


def test_a_snapshot_is_as_old_as_its_job_not_as_its_copy(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    started = cluster.now
    cluster.fakes["cp1"].before_job = lambda step: cluster.sleep(800)
    assert snapshot(session, choice)["taken"] < started + 1


@pytest.mark.parametrize(
    ("restored", "code"),
    [({"revision": 41, "key_count": 7, "hash": 99}, "SNAPSHOT_MISMATCH"), ({}, "SNAPSHOT_UNREADABLE")],
)
def test_a_snapshot_that_is_not_proven_is_not_stored(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], restored: dict[str, int], code: str
) -> None:
    cluster.fakes["cp1"].results["snapshot-etcd"]["restored"] = restored
    with pytest.raises(VerificationError, match=code):
        snapshot(session, choice)
    assert _stored(session) == []


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ({"bundle_sha256": "0" * 64}, "SNAPSHOT_MISMATCH"),
        ({"bundle_sha256": ""}, "SNAPSHOT_UNREADABLE"),
        ({"bundle": None}, "SNAPSHOT_UNREADABLE"),
    ],
)
def test_a_bundle_that_is_not_the_proven_one_is_not_stored(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], named: dict[str, Any], code: str
) -> None:
    cluster.fakes["cp1"].results["snapshot-etcd"].update(named)
    with pytest.raises(VerificationError, match=code):
        snapshot(session, choice)
    assert _stored(session) == []


def test_the_bundle_the_job_names_is_stored_not_the_newest(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """The node's clock stepped back: what lies there from before has the newer name."""
    cluster.fakes["cp1"].bundles["etcd-20270301T000000Z.tar.gz"] = b"old"
    taken = snapshot(session, choice)
    assert Path(taken["path"]).read_bytes() == b"snapshot of cp1"
    assert taken["sha256"] == cluster.fakes["cp1"].results["snapshot-etcd"]["bundle_sha256"]


def _stored(session: Session) -> list[Path]:
    """Everything of snapshots in the store."""
    return [path for path in Path(session.policy.store, "lab", "snapshots").rglob("*") if path.is_file()]


def test_stage_says_which_node_failed_and_raises(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["w2"].failures["stage"] = job_failed("IMAGE_MISSING")
    with pytest.raises(RemoteJobError, match=r"IMAGE_MISSING.*w2"):
        stage(session, choice)
    assert "Ready: cp1, w1. Not ready: w2 (IMAGE_MISSING)." in cluster.log
    assert cluster.fakes["w1"].calls[-1][:3] == ("stage", "1.35", "1.35.4-1.1")
    assert "registry.k8s.io/kube-proxy:v1.35.4" in cluster.fakes["w1"].calls[-1]


def test_postflight_names_nodes_that_did_not_follow(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    for name in ("cp1", "w1"):
        upgrade_node(session, name, choice)
        upgrade_kubelet(session, name, choice)
        uncordon_node(session, name)
    assert "1 nodes continue tomorrow" in postflight(session, choice, {"leftover": ["w2"]})["sentence"]
    with pytest.raises(VerificationError, match=r"w2: the Node object reports kubelet 1.34.4"):
        postflight(session, choice, {"leftover": []})


def test_postflight_keeps_the_lease_for_as_long_as_it_looks(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """Its nodes may take longer to answer than a Lease lives, and the sweeper comes each minute."""
    claim(session, choice)
    session.policy = replace(session.policy, limits=replace(session.policy.limits, lease_renew_seconds=0))
    nodes, before, seen = session.kube.nodes, cluster.lease.renewed, []

    def slow() -> Any:
        cluster.sleep(10)
        end = time.monotonic() + 2.0
        while cluster.lease.renewed == before and time.monotonic() < end:
            time.sleep(0.001)
        seen.append(cluster.lease.renewed)
        return nodes()

    session.kube.nodes = slow  # type: ignore[method-assign]
    with pytest.raises(VerificationError):
        postflight(session, choice, {"leftover": []})
    assert seen != [before]


def test_postflight_sees_a_mark_that_was_left(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    for name in ("cp1", "w1", "w2"):
        upgrade_node(session, name, choice)
        upgrade_kubelet(session, name, choice)
    for name in ("cp1", "w1"):
        uncordon_node(session, name)
    with pytest.raises(VerificationError, match=r"w2: still marked by run airflow/lab/run-1"):
        postflight(session, choice, {"leftover": []})


def test_no_control_plane_is_changed_without_a_proven_snapshot(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """A person who marks `snapshot` as success must not take the way back away."""
    with pytest.raises(VerificationError, match="SNAPSHOT_ABSENT"):
        upgrade_node(session, "cp1", choice)
    taken = snapshot(session, choice)
    Path(taken["path"]).rename(f"{taken['path']}.gone")
    with pytest.raises(VerificationError, match="SNAPSHOT_ABSENT"):
        upgrade_node(session, "cp1", choice)
    assert "kubeadm-upgrade" not in [call[0] for call in cluster.fakes["cp1"].calls]
    Path(f"{taken['path']}.gone").rename(taken["path"])
    cluster.sleep(100_000)
    assert upgrade_node(session, "cp1", choice)["command"] == "apply"


def test_a_kubeadm_that_runs_is_followed_whatever_became_of_the_snapshot(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].jobs["kubeadm-upgrade"] = running_job("kubeadm-upgrade")
    assert upgrade_node(session, "cp1", choice)["node"] == "cp1"


@pytest.mark.parametrize(("node", "behind"), [("cp1", "cp1"), ("w1", "cp1"), ("w1", "cp2")])
def test_no_kubelet_becomes_newer_than_the_api_servers(
    session: Session, cluster: FakeCluster, choice: dict[str, Any], node: str, behind: str
) -> None:
    """A person who marks `upgrade_node` as success must not part kubelet and control plane."""
    cluster.components["cp2"] = dict(cluster.components["cp1"])
    cluster.upgrade_control_plane("1.35.4")
    cluster.components[behind] = dict.fromkeys(cluster.components[behind], "1.34.4")
    with pytest.raises(
        VerificationError, match=rf"KUBELET_TOO_EARLY.*{node}.*API server of {behind} \(1.34.4"
    ):
        upgrade_kubelet(session, node, choice)
    assert cluster.fakes[node].calls == []


@pytest.mark.parametrize(("seen", "said"), [({}, "nobody"), ({"cp1": {}}, r"cp1 \(absent\)")])
def test_an_api_server_that_cannot_be_seen_is_not_a_new_one(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], seen: dict[str, Any], said: str
) -> None:
    cluster.components = seen
    with pytest.raises(VerificationError, match=rf"KUBELET_TOO_EARLY.*API server of {said}"):
        upgrade_kubelet(session, "w1", choice)


def test_a_control_planes_kubelet_waits_for_its_own_api_server_only(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.components["cp2"] = dict(cluster.components["cp1"])
    cluster.components["cp1"] = dict.fromkeys(cluster.components["cp1"], "1.35.4")
    assert upgrade_kubelet(session, "cp1", choice)["version"] == "1.35.4"
