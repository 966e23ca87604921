"""The benchmark of a round of gates: its fleet answers as an API server does, and it measures a real round."""

from __future__ import annotations

import json

import pytest

from bench import facts_scale
from bench.fake_fleet import CONTROL_PLANES, Fleet, served
from bench.fake_nodes import stock_documents
from nightshift.domain.gates import GATES
from nightshift.domain.round import Moment

FLEET = Fleet(10, 250)


def items(path: str, **query: str) -> list[dict]:
    status, _, body = FLEET.answer(path, query)
    assert status == 200
    return json.loads(body)["items"]


def test_there_are_as_many_as_were_asked_for() -> None:
    assert len(items("/api/v1/nodes")) == 10
    assert len(items("/api/v1/pods")) == 250
    assert len(items("/apis/policy/v1/poddisruptionbudgets")) == 2
    names = [pod["metadata"]["name"] for pod in items("/api/v1/pods")]
    assert len(set(names)) == 250


def test_pages_make_up_the_list() -> None:
    seen: list[str] = []
    query = {"limit": "100"}
    while True:
        page = json.loads(FLEET.answer("/api/v1/pods", query)[2])
        seen += [pod["metadata"]["name"] for pod in page["items"]]
        assert len(page["items"]) <= 100
        if "continue" not in page["metadata"]:
            break
        query["continue"] = page["metadata"]["continue"]
    assert len(seen) == len(set(seen)) == 250


def test_selectors() -> None:
    own = items("/api/v1/namespaces/kube-system/pods", labelSelector="tier=control-plane")
    assert len(own) == 4 * CONTROL_PLANES
    there = items("/api/v1/pods", fieldSelector="spec.nodeName=w1")
    assert there
    assert {pod["spec"]["nodeName"] for pod in there} == {"w1"}


def test_what_is_not_made_does_not_exist() -> None:
    assert FLEET.answer("/apis/apps/v1/statefulsets", {})[0] == 404


def test_documents_that_do_not_grow_are_given() -> None:
    settings = {"kind": "ConfigMap", "data": {"a": "b"}}
    dns = {"metadata": {"name": "coredns", "namespace": "kube-system"}}
    fleet = Fleet(10, 250, {"/api/v1/settings": settings, "/apis/apps/v1/deployments": {"items": [dns]}})
    assert json.loads(fleet.answer("/api/v1/settings", {})[2]) == settings
    listed = json.loads(fleet.answer("/apis/apps/v1/deployments", {})[2])["items"]
    assert [item["metadata"]["name"] for item in listed] == ["coredns", *(f"app-{n}" for n in range(12))]


def test_a_pod_is_as_large_as_a_real_one() -> None:
    assert 2000 < len(json.dumps(items("/api/v1/pods")[-1])) < 8000


def test_a_whole_round_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert facts_scale.main(["--nodes", "8", "--pods", "60"]) == 0
    said = capsys.readouterr().out
    assert "8 nodes, 60 pods" in said
    assert "GET /api/v1/nodes" in said
    assert "POST /api/v1/namespaces/nightshift/serviceaccounts/kubelet-reader/token" in said
    assert "verdicts: " in said


def test_every_gate_of_the_night_really_judges() -> None:
    fleet = Fleet(8, 60, stock_documents())
    with served(fleet) as address:
        found = facts_scale.measure(address, 8)
    at_night = [gate.name for gate in GATES.values() if Moment.NIGHT in gate.moments]
    assert found["verdicts"] == dict.fromkeys(at_night, "pass"), found["shut"]


def test_a_gate_that_sees_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(facts_scale, "stock_documents", dict)  # no kubeadm-config, no add-ons
    assert facts_scale.main(["--nodes", "8", "--pods", "60"]) == 1
    assert "did not pass: " in capsys.readouterr().out


def test_too_slow_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_scale, "SECONDS_LIMIT", 0.0)
    assert facts_scale.main(["--nodes", "8", "--pods", "60"]) == 1
