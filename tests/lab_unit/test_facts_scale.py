"""The benchmark of a round of gates: its fleet answers as an API server does, and it measures a real round."""

from __future__ import annotations

import json

import pytest

from bench import facts_scale
from bench.fake_fleet import CONTROL_PLANES, Fleet

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
    assert FLEET.answer("/apis/apps/v1/deployments", {})[0] == 404


def test_a_pod_is_as_large_as_a_real_one() -> None:
    assert 2000 < len(json.dumps(items("/api/v1/pods")[-1])) < 8000


def test_a_whole_round_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert facts_scale.main(["--nodes", "8", "--pods", "60"]) == 0
    said = capsys.readouterr().out
    assert "8 nodes, 60 pods" in said
    assert "GET /api/v1/nodes" in said
    assert "verdicts: " in said


def test_too_slow_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_scale, "SECONDS_LIMIT", 0.0)
    assert facts_scale.main(["--nodes", "8", "--pods", "60"]) == 1
