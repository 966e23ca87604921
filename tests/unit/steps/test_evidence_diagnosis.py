"""A saved bundle is judged at once; what a strange bundle does to the judge hides nothing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.fakes.cluster import FakeCluster, job_failed
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.errors import RemoteJobError
from nightshift.steps import evidence
from nightshift.steps.evidence import saved_evidence
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.upgrade_node import upgrade_node


def _fail(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> Path:
    snapshot(session, choice)
    cluster.fakes["cp1"].failures["kubeadm-upgrade"] = job_failed()
    with pytest.raises(RemoteJobError, match=r"JOB_FAILED.*Evidence: .*cp1-kubeadm-upgrade"):
        upgrade_node(session, "cp1", choice)
    (path,) = saved_evidence(session, ["cp1"])
    return Path(path)


def _historic(since: float, target: BinaryIO) -> None:
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, text in b.historic().items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def test_the_first_cause_is_logged_and_lies_beside_the_bundle(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _historic)
    path = _fail(cluster, session, choice)
    assert (
        "cp1: diagnosis (confident): The file kube-apiserver.yaml.bak in /etc/kubernetes/manifests"
        in cluster.log
    )
    beside = Path(f"{path}.diagnosis.json")
    assert json.loads(beside.read_text(encoding="utf-8"))["first"]["cause"] == "stray_static_pod"
    assert beside.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        assert "manifests/kube-apiserver.yaml.bak" in archive.getnames()


def test_a_bundle_that_is_none_is_said_and_hides_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    path = _fail(cluster, session, choice)
    assert "cp1: no diagnosis of evidence/run-1/cp1-kubeadm-upgrade" in cluster.log
    assert not Path(f"{path}.diagnosis.json").exists()


def test_a_diagnosis_that_breaks_is_said_and_hides_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(files: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _historic)
    monkeypatch.setattr(evidence, "read", broken)
    _fail(cluster, session, choice)
    assert "too deep" in cluster.log
