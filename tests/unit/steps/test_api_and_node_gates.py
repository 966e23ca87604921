"""The gates about the API and about nodes, from what a fake cluster answers to the verdict."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.gates import alerts, api_use, certificates, clock, rules, webhooks
from nightshift.domain.round import Moment, Reading
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import TARGET
from nightshift.steps import gates
from nightshift.steps.session import Session

MINE = (api_use.NAME, webhooks.NAME, certificates.NAME, clock.NAME, alerts.NAME, rules.NAME)
HOP = TargetChoice(TargetKind.MINOR, "next", version="1.35.4", minor="1.35", running="1.34.4")
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def asked(session: Session) -> dict[str, dict[str, Any]]:
    given = {TARGET.name: Reading(session.clock(), value=HOP)}
    return {v["gate"]: v for v in gates.ask(session, MINE, Moment.NIGHT, given=given)}


def outcomes(session: Session) -> dict[str, str]:
    return {name: verdict["outcome"] for name, verdict in asked(session).items()}


def test_a_stock_cluster_with_the_shipped_policy_passes_all(session: Session) -> None:
    assert outcomes(session) == dict.fromkeys(MINE, "pass")


def test_a_dead_webhook_turns_its_gate_only(cluster: FakeCluster, session: Session) -> None:
    hook = {
        "name": "guard.example.org",
        "clientConfig": {"service": {"namespace": "policy", "name": "guard"}},
        "rules": [{"apiGroups": ["*"], "operations": ["*"], "resources": ["*/*"]}],
    }
    cluster.documents[HOOKS] = {"items": [{"metadata": {"name": "guard"}, "webhooks": [hook]}]}
    assert outcomes(session) == {**dict.fromkeys(MINE, "pass"), "webhooks": "block"}


def test_an_api_service_that_is_away_turns_its_gate_only(cluster: FakeCluster, session: Session) -> None:
    status = {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}
    item = {
        "metadata": {"name": "v1.away"},
        "spec": {"service": {"namespace": "a", "name": "b"}},
        "status": status,
    }
    cluster.documents[SERVICES] = {"items": [item]}
    assert outcomes(session) == {**dict.fromkeys(MINE, "pass"), "api_use": "block"}


def test_an_answer_of_another_form_is_blind(cluster: FakeCluster, session: Session) -> None:
    cluster.documents[HOOKS] = {"items": [{"metadata": {"name": "x"}, "webhooks": [{"name": "x"}]}]}
    assert outcomes(session) == {**dict.fromkeys(MINE, "pass"), "webhooks": "blind"}


@pytest.mark.parametrize(("section", "gate"), [("certificates", "certificates"), ("clock", "clock")])
def test_a_section_that_fails_is_blind_and_names_its_node(
    cluster: FakeCluster, session: Session, section: str, gate: str
) -> None:
    cluster.fakes["w1"].texts[section] = None
    verdicts = asked(session)
    assert {v["gate"]: v["outcome"] for v in verdicts.values() if v["outcome"] != "pass"} == {gate: "blind"}
    assert verdicts[gate]["code"] == "LOOK_INCOMPLETE"
    assert "w1" in verdicts[gate]["message"]


def test_a_clock_that_is_off_blocks(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w1"].texts["clock"] = f"{cluster.now + 7:.3f}"
    assert outcomes(session) == {**dict.fromkeys(MINE, "pass"), "clock": "block"}


def test_an_api_that_is_away_makes_all_of_them_blind(cluster: FakeCluster, session: Session) -> None:
    cluster.api_away_until = cluster.now + 10_000
    assert set(outcomes(session).values()) == {"blind"}
