"""The gates `drift` and `static_pods` through their real questions, over what a stock cluster answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, make_session

from nightshift.domain.errors import VerificationError
from nightshift.steps.gates import ask_night, ask_place
from nightshift.steps.session import Session
from nightshift.steps.verify_node import verify_node

GATES = ["drift", "static_pods"]
DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/kubelet-config"


def said(session: Session, choice: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {v["gate"]: v for v in ask_night(session, GATES, choice)["verdicts"]}


@pytest.mark.parametrize("control_planes", [1, 3])
def test_a_stock_cluster_passes_both(control_planes: int, tmp_path: Path, choice: dict[str, Any]) -> None:
    session = make_session(FakeCluster(control_planes), tmp_path)
    verdicts = said(session, choice)
    assert {name: v["outcome"] for name, v in verdicts.items()} == dict.fromkeys(GATES, "pass"), verdicts
    again = ask_place(session, ["cp1"], choice, GATES)["verdicts"]
    assert {v["outcome"] for v in again} == {"pass"}


@pytest.mark.parametrize(
    ("section", "gate"),
    [("control-plane-config", "drift"), ("kubelet-config", "drift"), ("static-pods", "static_pods")],
)
def test_a_section_that_fails_makes_its_gate_blind_and_no_other(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], section: str, gate: str
) -> None:
    cluster.fakes["cp1"].texts[section] = None
    verdicts = said(session, choice)
    assert (verdicts[gate]["outcome"], verdicts[gate]["code"]) == ("blind", "LOOK_INCOMPLETE")
    assert "cp1" in verdicts[gate]["message"]
    assert {v["outcome"] for name, v in verdicts.items() if name != gate} == {"pass"}


def test_a_worker_needs_no_control_plane_section(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.fakes["w1"].texts["control-plane-config"] = None
    assert said(session, choice)["drift"]["outcome"] == "pass"


def test_what_the_api_says_is_judged(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    containers = [{"name": "coredns", "image": "mirror/coredns:v1"}]
    foreign = {"metadata": {}, "spec": {"template": {"spec": {"containers": containers}}}}
    cluster.documents = {**cluster.documents, DEPLOYMENT: foreign}
    assert said(session, choice)["drift"]["code"] == "ADDON_FOREIGN"
    cluster.documents = {path: d for path, d in cluster.documents.items() if path != CONFIG_MAP}
    assert said(session, choice)["drift"]["code"] == "DRIFT_UNKNOWN"
    cluster.documents = {**cluster.documents, CONFIG_MAP: {"data": {"kubelet": "- no mapping"}}}
    assert said(session, choice)["drift"]["code"] == "API_ANSWER_UNKNOWN"


@pytest.mark.parametrize(
    ("text", "word"), [("directory\t777\troot:root\n", "has mode 777"), (None, "could not be looked at")]
)
def test_what_we_left_behind_ourselves_passes_the_static_pod_gate_too(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], text: str | None, word: str
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    cluster.nodes = {n: replace(f, kubelet_version="1.35.4") for n, f in cluster.nodes.items()}
    verify_node(session, "cp1", choice)
    cluster.fakes["cp1"].texts["static-pods"] = text
    with pytest.raises(VerificationError, match=word):
        verify_node(session, "cp1", choice)
