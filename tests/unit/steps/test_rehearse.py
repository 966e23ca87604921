"""The step `rehearse` over the fakes: where it runs, with what, and what its end does to the night."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
import yaml
from tests.fakes.cluster import FakeCluster, job_failed
from tests.unit.steps.test_reconcile_drift import OIDC, STOCK, Kubeadm

from nightshift.domain.errors import HeldError, RemoteJobError, VerificationError
from nightshift.domain.facts import Confidential
from nightshift.domain.policy import DriftPolicy
from nightshift.steps.rehearse import rehearse
from nightshift.steps.report import report
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot

PLAN = {"control_plane": [{"node": "cp1", "command": "apply"}]}


def jobs(cluster: FakeCluster) -> list[tuple[str, ...]]:
    return [call for call in cluster.fakes["cp1"].calls if call[0] == "rehearse"]


def test_it_runs_where_the_snapshot_lies_and_on_that_snapshot(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    Kubeadm(cluster, cp1=STOCK)
    bundle = snapshot(session, choice)["bundle"]
    said = rehearse(session, choice, PLAN)
    assert jobs(cluster) == [("rehearse", "1.35.4", bundle)]
    assert (said["rehearsed"], said["node"], said["resources"]) == (True, "cp1", 61)
    assert "ready after 5 s" in said["sentence"]
    rehearse(session, choice, PLAN)
    assert len(jobs(cluster)) == 2, "a cleared task looks again"


@pytest.mark.parametrize("reconcile", ["upload-config", "block"])
def test_rehearsed_is_what_kubeadm_config_will_say(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], reconcile: str
) -> None:
    """The flags of which only the manifest knows are uploaded afterwards: they must be in the rehearsal already."""
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    before = kubeadm.text
    session.policy = replace(session.policy, drift=DriftPolicy(reconcile=reconcile))  # type: ignore[arg-type]
    snapshot(session, choice)
    rehearse(session, choice, PLAN)
    (call,) = jobs(cluster)
    if reconcile == "block":
        assert len(call) == 3
    else:
        assert isinstance(call[3], Confidential)
        told = yaml.safe_load(base64.b64decode(call[3]))
        names = [argument["name"] for argument in told["apiServer"]["extraArgs"]]
        assert names == ["oidc-issuer-url", "oidc-client-id"]
    assert kubeadm.text == before, "nothing is written yet"


@pytest.mark.parametrize(
    ("when", "kind", "plan"),
    [("never", "minor", PLAN), ("minors", "patch", PLAN), ("always", "minor", {"control_plane": []})],
)
def test_a_night_without_one_says_why_and_touches_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], when: str, kind: str, plan: dict[str, Any]
) -> None:
    session.policy = replace(session.policy, rehearse=when)  # type: ignore[arg-type]
    said = rehearse(session, {**choice, "target": {**choice["target"], "kind": kind}}, plan)
    assert (said["rehearsed"], said["by_policy"]) == (False, True)
    assert said["sentence"].startswith("Not rehearsed: ")
    assert cluster.fakes["cp1"].calls == []


def test_a_failed_one_is_the_nights_end_with_its_evidence(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    Kubeadm(cluster, cp1=STOCK)
    snapshot(session, choice)
    cluster.fakes["cp1"].failures["rehearse"] = job_failed("REHEARSAL_FAILED")
    with pytest.raises(RemoteJobError, match=r"REHEARSAL_FAILED.*Evidence: .*cp1-rehearse-"):
        rehearse(session, choice, PLAN)


def test_one_that_the_node_could_not_give_is_no_failure_and_in_the_note(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    Kubeadm(cluster, cp1=STOCK)
    snapshot(session, choice)
    cluster.fakes["cp1"].results["rehearse"] = {"rehearsed": False, "reason": "the node has no ctr"}
    said = rehearse(session, choice, PLAN)
    assert said["by_policy"] is False
    go = {"answer": "go", "sentence": "Go."}
    facts = {"open_night": go, "choice": choice, "decision": {**go, "verdicts": [], "plan": None}}
    done = report(session, {**facts, "postflight": {"sentence": "Done."}, "rehearsal": said})
    assert "Not rehearsed on cp1: the node has no ctr;" in done["note"]
    assert done["entry"]["rehearsal"]["reason"] == "the node has no ctr"
    by_policy = {**said, "by_policy": True}
    assert "Not rehearsed" not in report(session, {**facts, "rehearsal": by_policy})["note"]


def test_without_a_snapshot_there_is_nothing_to_rehearse_with(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    with pytest.raises(VerificationError, match="SNAPSHOT_ABSENT"):
        rehearse(session, choice, PLAN)


def test_the_brake_is_asked_first(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    cluster.brake = {"paused": "true", "reason": "holiday"}
    with pytest.raises(HeldError, match="BRAKE_ON"):
        rehearse(session, choice, PLAN)


def test_a_store_that_does_not_take_its_result_ends_no_night(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Kubeadm(cluster, cp1=STOCK)
    snapshot(session, choice)

    def full(path: str, data: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.store, "write_json", full)
    assert rehearse(session, choice, PLAN)["rehearsed"] is True
