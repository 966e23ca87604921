"""The sizes of the target's images: asked by one Ready control plane, and never a reason to be blind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.facts.images import TargetImages
from nightshift.domain.round import Reading
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import TARGET
from nightshift.steps import gates
from nightshift.steps.look.gathering import Seen
from nightshift.steps.look.target_images import read_target_images
from nightshift.steps.session import Session

TO_135 = TargetChoice(TargetKind.MINOR, "s", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", ("cp1",))


def registry(
    asked: list[str], *, missing: str = "none"
) -> Callable[[Sequence[str]], dict[str, tuple[int, str]]]:
    def answer(images: Sequence[str]) -> dict[str, tuple[int, str]]:
        asked.extend(images)
        layers = {"layers": [{"digest": "sha256:a", "size": 100}]}
        return {i: (404, "") if missing in i else (200, json.dumps(layers)) for i in images}

    return answer


def read(cluster: FakeCluster, session: Session, target: TargetChoice | None = TO_135) -> TargetImages:
    given = {TARGET.name: Reading(0.0, value=target)} if target else {}
    return read_target_images(session, Seen(tuple(cluster.nodes.values()), given))


def test_the_registry_tells_every_size(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cluster.fakes["cp1"], "image_manifests", registry(asked))
    found = read(cluster, session)
    assert found.problem == ""
    assert all(image.layers == {"sha256:a": 100} for image in found.images)
    assert "registry.k8s.io/kube-apiserver:v1.35.4" in asked


def test_what_one_image_lacks_is_named_and_the_others_keep_their_sizes(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.fakes["cp1"], "image_manifests", registry([], missing="coredns"))
    found = read(cluster, session)
    assert found.problem == "registry.k8s.io/coredns/coredns:v1.13.1: the registry answers 404"
    assert [image.name for image in found.images if image.layers is None] == ["coredns"]


@pytest.mark.parametrize("trouble", ["away", "not ready", "no target"])
def test_without_an_answer_recorded_sizes_count(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "away":
        cluster.fakes["cp1"].is_away = True
    if trouble == "not ready":  # it would answer, and is not asked
        cluster.nodes["cp1"] = replace(cluster.nodes["cp1"], is_ready=False)
        monkeypatch.setattr(cluster.fakes["cp1"], "image_manifests", registry([]))
    found = read(cluster, session, None if trouble == "no target" else TO_135)
    assert found.problem
    assert all(image.layers is None and image.recorded_bytes > 0 for image in found.images)


def test_the_disk_gate_is_not_blind_for_a_registry_alone(session: Session, choice: dict[str, Any]) -> None:
    verdict = gates.check_disk_usage(session, choice)
    assert verdict["outcome"] == "pass", verdict["message"]
    assert "no registry answers" in verdict["evidence"]["sizes_assumed"]


def test_a_stock_cluster_passes_the_gates_about_drains(session: Session, choice: dict[str, Any]) -> None:
    verdicts = gates.ask_night(session, ["drainability", "capacity"], choice)["verdicts"]
    assert [verdict["outcome"] for verdict in verdicts] == ["pass", "pass"], verdicts
