"""The sizes of the target's images: asked by one Ready control plane, and never a reason to be blind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.clients.tables import load_pins
from nightshift.domain.errors import BlindError
from nightshift.domain.facts.images import TargetImages
from nightshift.domain.facts.versions import KubeadmCluster
from nightshift.domain.gates.supply import target_images
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


def test_the_names_are_those_of_the_gate_supply(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = KubeadmCluster(
        "kubeadm.k8s.io/v1beta4",
        image_repository="mirror.example/k8s",
        etcd_image=("", "3.6.11-0"),
        dns_image=("mirror.example/dns", ""),
        coredns_version="1.12.1",
    )
    monkeypatch.setattr(session.kube, "ask", lambda question: own)
    asked: list[str] = []
    monkeypatch.setattr(cluster.fakes["cp1"], "image_manifests", registry(asked))
    for version in ("1.35.4", "1.36.5"):  # each release by its own line of include/tables/releases.yaml
        asked.clear()
        found = read(cluster, session, replace(TO_135, version=version))
        references, untagged = target_images(version, own, load_pins())
        assert untagged == ()
        assert sorted(asked) == sorted((*references, session.policy.probe_image))
        assert found.problem == ""
    assert {"mirror.example/k8s/etcd:3.6.11-0", "mirror.example/dns/coredns:v1.14.2"} < set(asked)


def test_a_release_the_table_does_not_know_counts_recorded_sizes(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.fakes["cp1"], "image_manifests", registry([]))
    found = read(cluster, session, replace(TO_135, version="1.35.99"))
    assert found.problem == "coredns, etcd, pause: their tags are not known"
    assert [image.name for image in found.images if image.layers is None] == ["coredns", "etcd", "pause"]


@pytest.mark.parametrize("is_ready", [True, False])
def test_that_kubeadms_configuration_was_not_read_is_kept(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, is_ready: bool
) -> None:
    def fails(question: object) -> None:
        raise BlindError("API_ANSWER_UNKNOWN", "It is no YAML.", cause="c", next_step="n")

    monkeypatch.setattr(session.kube, "ask", fails)
    cluster.nodes["cp1"] = replace(cluster.nodes["cp1"], is_ready=is_ready)
    asked: list[str] = []
    monkeypatch.setattr(cluster.fakes["cp1"], "image_manifests", registry(asked))
    found = read(cluster, session)
    said = "kubeadm's configuration could not be read (It is no YAML.), images of registry.k8s.io are assumed"
    assert found.problem.startswith(said)
    assert (found.problem == said) is is_ready
    assert ("registry.k8s.io/coredns/coredns:v1.13.1" in asked) is is_ready


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
