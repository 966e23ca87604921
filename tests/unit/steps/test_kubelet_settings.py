"""What a kubelet ran with before its upgrade is kept once, and what is gone afterwards is told."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.facts import NodeFacts
from nightshift.steps.kubelet_settings import note_settings, settings_lost
from nightshift.steps.postflight import postflight
from nightshift.steps.session import Session
from nightshift.steps.uncordon_node import uncordon_node
from nightshift.steps.upgrade_node import upgrade_node

FILE = "kind: KubeletConfiguration\nmaxPods: 111\nsyncFrequency: 0s\n"


@pytest.fixture
def worker(cluster: FakeCluster) -> NodeFacts:
    fake = cluster.fakes["w1"]
    text = f"config\t1000\t{base64.b64encode(FILE.encode()).decode()}\n"
    fake.look = lambda sections: dict.fromkeys(sections, (0, text))  # type: ignore[method-assign]
    fake.configz = {"maxPods": 111, "syncFrequency": "1m0s", "newDefault": 1}
    return cluster.nodes["w1"]


def after(cluster: FakeCluster, **changes: Any) -> None:
    cluster.fakes["w1"].configz = {**cluster.fakes["w1"].configz, **changes}


def test_what_is_gone_is_told_and_what_the_version_changed_is_logged(
    cluster: FakeCluster, session: Session, worker: NodeFacts
) -> None:
    note_settings(session, worker)
    after(cluster, maxPods=110, newDefault=2)
    assert settings_lost(session, [worker]) == {"w1": ("maxPods: 111 (now 110)",)}
    assert "changed with the kubelet's version: newDefault: 1 (now 2)" in cluster.log


def test_the_night_keeps_it_and_its_last_look_tells_it(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], worker: NodeFacts
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    upgrade_node(session, "w1", choice)
    assert session.store.exists("kubelets/run-1/w1.json")
    after(cluster, maxPods=110)
    cluster.nodes = {n: replace(f, kubelet_version="1.35.4") for n, f in cluster.nodes.items()}
    cluster.fakes["w1"].look = cluster.fakes["w2"].look  # type: ignore[method-assign]
    for name in cluster.nodes:
        uncordon_node(session, name)
    said = postflight(session, choice, {"leftover": []})
    assert said["kubelet_settings_lost"] == {"w1": ["maxPods: 111 (now 110)"]}
    assert "are gone: w1: maxPods: 111 (now 110)." in said["sentence"]


def test_a_second_try_does_not_take_the_new_kubelet_for_the_old(
    cluster: FakeCluster, session: Session, worker: NodeFacts
) -> None:
    note_settings(session, worker)
    after(cluster, maxPods=110)
    note_settings(session, worker)
    assert list(settings_lost(session, [worker])) == ["w1"]


def test_nothing_lost_nothing_said(session: Session, worker: NodeFacts) -> None:
    note_settings(session, worker)
    assert settings_lost(session, [worker]) == {}


def test_a_node_nobody_noted_is_not_asked(cluster: FakeCluster, session: Session, worker: NodeFacts) -> None:
    assert settings_lost(session, [worker]) == {}
    assert "kubelet_token" not in cluster.api_calls


def test_what_cannot_be_read_stops_nothing(cluster: FakeCluster, session: Session, worker: NodeFacts) -> None:
    cluster.fakes["w1"].is_away = True
    cluster.fakes["w1"].look = lambda sections: {}  # type: ignore[method-assign]
    note_settings(session, worker)
    assert "could not be kept" in cluster.log
    cluster.fakes["w1"].is_away = False
    text = f"config\t1000\t{base64.b64encode(FILE.encode()).decode()}\n"
    cluster.fakes["w1"].look = lambda sections: dict.fromkeys(sections, (0, text))  # type: ignore[method-assign]
    note_settings(session, worker)
    cluster.fakes["w1"].is_away = True
    assert settings_lost(session, [worker]) == {}
    assert "could not be asked" in cluster.log
    cluster.fakes["w1"].is_away = False
    cluster.api_away_until = cluster.now + 100
    assert settings_lost(session, [worker]) == {}
