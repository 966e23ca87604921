"""reconcile_drift over the fakes: kubeadm is one that writes what its ConfigMap says, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.cluster import FakeCluster, job_failed, make_session

from nightshift.domain.errors import (
    BlindError,
    HeldError,
    RemoteJobError,
    UnreachableError,
    VerificationError,
)
from nightshift.domain.facts import Confidential, RunningProcess
from nightshift.domain.policy import DriftPolicy
from nightshift.steps.reconcile_drift import lost_settings, reconcile_drift
from nightshift.steps.session import Session
from nightshift.steps.verify_node import verify_node

STOCK = ["--advertise-address=10.0.0.1", "--secure-port=6443"]
OIDC = ["--oidc-issuer-url=https://id.example.org", "--oidc-client-id=kubernetes"]
CONFIGURATION = {
    "apiVersion": "kubeadm.k8s.io/v1beta4",
    "kind": "ClusterConfiguration",
    "kubernetesVersion": "v1.34.4",
    "apiServer": {},
}


def manifest(flags: Sequence[str]) -> str:
    container = {"name": "kube-apiserver", "image": "registry.k8s.io/kube-apiserver:v1.34.4"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-apiserver"},
        "spec": {"containers": [{**container, "command": ["kube-apiserver", *flags]}]},
    }
    return yaml.safe_dump(pod)


class Kubeadm:
    """The ConfigMap, each node's live flags, and what kubeadm makes of them."""

    def __init__(self, cluster: FakeCluster, **live: list[str]) -> None:
        self.text = yaml.safe_dump(CONFIGURATION)
        self.live = live
        self.versions = dict.fromkeys(live, "v1.34.4")  # of each node's kubeadm
        self.forgets = False  # a kubeadm that says it wrote, and did not
        for name in live:
            fake = cluster.fakes[name]
            stock = fake.look
            fake.look = lambda sections, name=name, stock=stock: {  # type: ignore[method-assign]
                **stock(sections),
                **self.look(name, sections),
            }
            fake._upload_config = self.upload  # type: ignore[attr-defined]

    def look(self, node: str, sections: Sequence[str]) -> Mapping[str, tuple[int, str]]:
        extra = (yaml.safe_load(self.text).get("apiServer") or {}).get("extraArgs") or []
        rendered = [*STOCK, *(f"--{arg['name']}={arg['value']}" for arg in extra)]
        lines = [
            ("configuration", "-", self.text),
            ("kubeadm", "-", self.versions[node]),
            ("live", "kube-apiserver", manifest(self.live[node])),
            ("rendered", "kube-apiserver", manifest(rendered)),
        ]
        text = "".join(f"{k}\t{c}\t{base64.b64encode(t.encode()).decode()}\n" for k, c, t in lines)
        return {"control-plane-config": (0, text)} if "control-plane-config" in sections else {}

    def upload(self, args: Sequence[str]) -> None:
        fingerprint, content = args
        assert fingerprint == hashlib.sha256(self.text.encode()).hexdigest()
        if not self.forgets:
            assert isinstance(content, Confidential)
            self.text = base64.b64decode(content).decode()

    @property
    def extra_args(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = yaml.safe_load(self.text)["apiServer"].get("extraArgs", [])
        return found


def jobs(cluster: FakeCluster, node: str = "cp1") -> list[str]:
    return [call[0] for call in cluster.fakes[node].calls]


def test_what_runs_is_uploaded_and_a_second_time_there_is_nothing_to_do(
    cluster: FakeCluster, session: Session
) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    said = reconcile_drift(session)
    assert said["node"] == "cp1"
    assert said["uploaded"] == [f"kube-apiserver: {flag}" for flag in OIDC]
    assert kubeadm.extra_args == [
        {"name": "oidc-issuer-url", "value": "https://id.example.org"},
        {"name": "oidc-client-id", "value": "kubernetes"},
    ]
    again = reconcile_drift(session)
    assert (again["uploaded"], again["node"]) == ([], None)
    assert jobs(cluster).count("upload-config") == 1
    kept = session.store.read_json("drift/run-1.json")
    assert kept is not None
    assert kept["former"] == CONFIGURATION  # the second try did not write over it
    assert kept["uploaded"] == said["uploaded"]
    assert kept["flags"]["cp1"]["kube-apiserver"]["oidc-client-id"] == ["kubernetes"]


def test_what_was_there_before_the_first_change_is_kept_over_a_second(
    cluster: FakeCluster, session: Session
) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, OIDC[0]])
    reconcile_drift(session)
    kubeadm.live["cp1"].append(OIDC[1])
    reconcile_drift(session)
    kept = session.store.read_json("drift/run-1.json")
    assert kept is not None
    assert kept["former"] == CONFIGURATION
    assert kept["uploaded"] == [f"kube-apiserver: {flag}" for flag in OIDC]


def test_a_stock_cluster_gets_no_job(cluster: FakeCluster, session: Session) -> None:
    Kubeadm(cluster, cp1=STOCK)
    said = reconcile_drift(session)
    assert "nothing to reconcile" in said["sentence"]
    assert jobs(cluster) == []
    assert cluster.lease.holder == ""


def test_by_policy_it_is_left_alone(cluster: FakeCluster, session: Session) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    session.policy = replace(session.policy, drift=DriftPolicy("block"))
    said = reconcile_drift(session)
    assert said["uploaded"] == []
    assert "--oidc-client-id=kubernetes" in said["sentence"]
    assert kubeadm.extra_args == []


def test_what_only_some_control_planes_have_is_not_given_to_the_others(tmp_path: Path) -> None:
    cluster = FakeCluster(control_planes=2)
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC], cp2=STOCK)
    assert reconcile_drift(make_session(cluster, tmp_path))["uploaded"] == []
    assert kubeadm.extra_args == []


def test_a_kubeadm_of_another_minor_takes_its_defaults_for_nobodys_wish(
    cluster: FakeCluster, session: Session
) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    kubeadm.versions["cp1"] = "v1.35.4"
    said = reconcile_drift(session)
    assert (said["uploaded"], said["node"]) == ([], None)
    assert "cp1" in said["sentence"]
    assert "nothing was taken from there" in said["sentence"]
    assert kubeadm.extra_args == []
    assert jobs(cluster) == []


def test_a_kubeadm_of_the_running_minor_writes_for_all(tmp_path: Path) -> None:
    cluster = FakeCluster(control_planes=2)
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC], cp2=[*STOCK, *OIDC])
    kubeadm.versions["cp1"] = "v1.35.4"
    said = reconcile_drift(make_session(cluster, tmp_path))
    assert said["node"] == "cp2"
    assert len(kubeadm.extra_args) == 2


def test_a_control_plane_that_is_away_is_blind_and_nothing_is_written(tmp_path: Path) -> None:
    cluster = FakeCluster(control_planes=2)
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC], cp2=[*STOCK, *OIDC])

    def away(_: Sequence[str]) -> Any:
        raise UnreachableError("NODE_UNREACHABLE", "cp2 did not answer.", cause="off", next_step="Start it.")

    cluster.fakes["cp2"].look = away  # type: ignore[method-assign]
    with pytest.raises(BlindError) as caught:
        reconcile_drift(make_session(cluster, tmp_path))
    assert caught.value.code == "NODE_UNREACHABLE"
    assert kubeadm.extra_args == []


def test_a_kubeadm_that_wrote_nothing_is_not_believed(cluster: FakeCluster, session: Session) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    kubeadm.forgets = True
    with pytest.raises(VerificationError, match="still not write kube-apiserver: --oidc-issuer-url"):
        reconcile_drift(session)


def test_a_failed_job_is_told_and_a_retry_goes_on(cluster: FakeCluster, session: Session) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    cluster.fakes["cp1"].failures["upload-config"] = job_failed()
    with pytest.raises(RemoteJobError, match="Evidence"):
        reconcile_drift(session)
    reconcile_drift(session)
    assert len(kubeadm.extra_args) == 2


def test_the_brake_holds_it(cluster: FakeCluster, session: Session) -> None:
    kubeadm = Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    cluster.paused = "not tonight"
    with pytest.raises(HeldError):
        reconcile_drift(session)
    assert kubeadm.extra_args == []


def test_what_the_processes_lost_is_found_afterwards(cluster: FakeCluster, session: Session) -> None:
    Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    probe = cluster.fakes["cp1"].probe()
    assert lost_settings(session, probe) == []  # a run that never came here promised nothing
    reconcile_drift(session)

    def running(*flags: str) -> Any:
        return replace(probe, processes=(RunningProcess("kube-apiserver", 1, ("kube-apiserver", *flags)),))

    assert lost_settings(session, running(*STOCK, *OIDC)) == []
    assert lost_settings(session, running(*STOCK, OIDC[0])) == [
        "kube-apiserver runs without --oidc-client-id=kubernetes"
    ]
    assert lost_settings(session, replace(running(*STOCK), node="w1")) == []


def test_an_upgrade_that_lost_them_is_not_verified(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    Kubeadm(cluster, cp1=[*STOCK, *OIDC])
    reconcile_drift(session)
    cluster.upgrade_control_plane("1.35.4")
    cluster.nodes["cp1"] = replace(cluster.nodes["cp1"], kubelet_version="1.35.4")
    with pytest.raises(VerificationError, match="runs without --oidc-client-id=kubernetes"):
        verify_node(session, "cp1", choice)
