from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from tests.unit.domain.builders import node
from tests.unit.domain.gate_rounds import NOW, POLICY, round_of

from nightshift.domain.facts.alerts import ALERTS
from nightshift.domain.facts.api_use import (
    API_REQUESTS,
    API_SERVICES,
    CRDS,
    ApiRequests,
    ApiServiceFacts,
    CrdFacts,
    DeprecatedRequest,
)
from nightshift.domain.facts.webhooks import Backend
from nightshift.domain.gates import GATES, api_use
from nightshift.domain.gates.judging import judge
from nightshift.domain.policy import ApiUsePolicy, ClusterPolicy
from nightshift.domain.round import Reading, Round, Unread
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import NODES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

HOP = TargetChoice(TargetKind.MINOR, "next", version="1.35.4", minor="1.35", running="1.34.4")
NOTHING = TargetChoice(TargetKind.NONE, "nothing", running="1.34.4")
STARTED = 1_789_990_000.0  # 2026-09-21 10:46 UTC
LOCAL = ApiServiceFacts("v1.apps", True, "", "Local", "Local APIServices are always available")
METRICS = ApiServiceFacts(
    "v1beta1.metrics.k8s.io",
    False,
    "kube-system/metrics-server",
    "MissingEndpoints",
    "endpoints for service have no addresses",
)
ALIVE = Backend("service shop/convert", is_inside=True, ready=("w1",))
OUTSIDE = Backend("convert.example.org", is_inside=False)
DEAD = Backend("service shop/convert", is_inside=True)
CRD = CrdFacts("carts.shop.example.org", ("v1", "v1beta1"), ("v1", "v1beta1"), ("v1",), ALIVE)


def request(removed: str, version: str = "v1alpha1") -> DeprecatedRequest:
    return DeprecatedRequest("storage.k8s.io", version, "volumeattributesclasses", "", removed)


def verdict_of(
    *requests: DeprecatedRequest,
    target: TargetChoice = HOP,
    crd: CrdFacts = CRD,
    services: tuple[ApiServiceFacts, ...] = (LOCAL,),
    policy: ClusterPolicy = POLICY,
    others: Mapping[str, ApiRequests] = MappingProxyType({}),
) -> Verdict:
    facts = {
        TARGET: target,
        API_REQUESTS: {"cp1": ApiRequests(STARTED, requests), **others},
        CRDS: (crd,),
        API_SERVICES: services,
    }
    return api_use.check(round_of(facts), policy)


@pytest.mark.parametrize(
    ("removed", "target", "outcome", "code"),
    [
        ("1.35", HOP, Outcome.BLOCK, "API_REMOVED_IN_USE"),
        ("1.9", HOP, Outcome.BLOCK, "API_REMOVED_IN_USE"),  # minors are numbers, not text
        ("1.36", HOP, Outcome.WARN, "API_DEPRECATED_IN_USE"),
        ("1.100", HOP, Outcome.WARN, "API_DEPRECATED_IN_USE"),
        ("1.35", NOTHING, Outcome.WARN, "API_DEPRECATED_IN_USE"),
        ("", HOP, Outcome.PASS, "OK"),
    ],
)
def test_what_was_asked_for(removed: str, target: TargetChoice, outcome: Outcome, code: str) -> None:
    verdict = verdict_of(request(removed), target=target)
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert "storage.k8s.io/v1alpha1 volumeattributesclasses" in verdict.message
        assert f"Kubernetes {removed} " in verdict.message
        assert "since the API server started (cp1, 2026-09-21" in verdict.message


def test_a_deprecated_api_that_nothing_removes_is_written_down() -> None:
    assert verdict_of(request("")).evidence["deprecated_without_removal"] == [str(request(""))]


@pytest.mark.parametrize(
    ("changes", "outcome", "code"),
    [
        ({}, Outcome.PASS, "OK"),
        ({"conversion": DEAD}, Outcome.BLOCK, "CRD_CONVERSION_DEAD"),
        ({"conversion": replace(DEAD, exists=False)}, Outcome.BLOCK, "CRD_CONVERSION_DEAD"),
        ({"conversion": DEAD, "versions": ("v1",), "served": ("v1",)}, Outcome.PASS, "OK"),
        ({"conversion": OUTSIDE}, Outcome.BLIND, "CRD_CONVERSION_OUTSIDE"),
        ({"conversion": OUTSIDE, "versions": ("v1",), "served": ("v1",)}, Outcome.PASS, "OK"),
        ({"conversion": None}, Outcome.PASS, "OK"),
        ({"stored": ("v1alpha1", "v1")}, Outcome.WARN, "CRD_VERSION_UNSERVED"),
    ],
)
def test_custom_resources(changes: dict[str, Any], outcome: Outcome, code: str) -> None:
    verdict = verdict_of(crd=replace(CRD, **changes))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert "carts.shop.example.org" in verdict.message


@pytest.mark.parametrize(
    ("service", "outcome", "code"),
    [
        (METRICS, Outcome.BLOCK, "API_SERVICE_UNAVAILABLE"),
        (
            replace(METRICS, is_available=None, reason="", message=""),
            Outcome.BLIND,
            "API_SERVICE_UNAVAILABLE",
        ),
        (replace(METRICS, is_available=True), Outcome.PASS, "OK"),
    ],
)
def test_api_services(service: ApiServiceFacts, outcome: Outcome, code: str) -> None:
    verdict = verdict_of(services=(LOCAL, service))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert "v1beta1.metrics.k8s.io (service kube-system/metrics-server)" in verdict.message


def test_an_api_service_may_be_allowed_to_be_away() -> None:
    policy = replace(POLICY, api_use=ApiUsePolicy(("v1beta1.metrics.k8s.io",)))
    assert verdict_of(services=(METRICS,), policy=policy).outcome is Outcome.PASS


def test_every_api_server_is_asked_and_the_youngest_says_since_when() -> None:
    later = ApiRequests(STARTED + 86_400, (request("1.35"),))
    verdict = verdict_of(others={"cp2": later})
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "API_REMOVED_IN_USE")
    assert "since the last of 2 API servers started (cp2, 2026-09-22" in verdict.message


def test_an_api_server_that_cannot_be_asked_makes_it_blind() -> None:
    nodes = (node("cp1"), node("cp2"))
    facts = {NODES: nodes, TARGET: HOP, CRDS: (CRD,), API_SERVICES: (LOCAL,)}
    silent = Reading(
        NOW,
        value={"cp1": ApiRequests(STARTED, ())},
        problems={"cp2": Unread("API_UNREACHABLE", "It is away.", "", "")},
    )
    round_ = round_of(facts)
    round_ = replace(round_, readings={**round_.readings, API_REQUESTS.name: silent})
    assert judge(GATES["api_use"], round_, POLICY).outcome is Outcome.BLIND


def asked_of(problems: Mapping[str, Unread], service: ApiServiceFacts = LOCAL, *names: str) -> Verdict:
    """Nobody answered about requests; the rest is known."""
    facts = {NODES: tuple(map(node, names)), TARGET: HOP, CRDS: (CRD,), API_SERVICES: (service,)}
    round_ = round_of(facts)
    silent = Reading(NOW, value={}, problems=problems)
    round_ = replace(round_, readings={**round_.readings, API_REQUESTS.name: silent})
    return judge(GATES["api_use"], round_, POLICY)


def test_no_api_server_that_answers_is_said_as_that_and_hides_nothing() -> None:
    away = Unread("NODE_UNREACHABLE", "cp1 does not answer.", "It is off.", "Start it.")
    verdict = asked_of({"cp1": away}, METRICS, "cp1", "w1")
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_UNREACHABLE")
    assert verdict.cause == "It is off."
    assert [f["code"] for f in verdict.evidence["findings"]] == [
        "NODE_UNREACHABLE",
        "API_SERVICE_UNAVAILABLE",
    ]
    assert "GATE_BROKEN" not in str(verdict.evidence)


def test_a_cluster_without_a_control_plane_node_is_blind() -> None:
    verdict = asked_of({}, LOCAL, "w1")
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_NOT_ASKED")


def test_a_gate_that_breaks_beside_a_silent_node_says_both() -> None:
    def breaks(round_: Round, policy: ClusterPolicy) -> Verdict:
        return max(())

    away = Unread("NODE_UNREACHABLE", "cp1 does not answer.", "It is off.", "Start it.")
    facts = {NODES: (node("cp1"),), TARGET: HOP, CRDS: (CRD,), API_SERVICES: (LOCAL,)}
    round_ = round_of(facts)
    silent = Reading(NOW, value={}, problems={"cp1": away})
    round_ = replace(round_, readings={**round_.readings, API_REQUESTS.name: silent})
    verdict = judge(replace(GATES["api_use"], check=breaks), round_, POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_UNREACHABLE")
    assert [f["code"] for f in verdict.evidence["findings"]] == ["NODE_UNREACHABLE", "GATE_BROKEN"]
    wanting = replace(GATES["api_use"], check=lambda round_, policy: round_.get(ALERTS))
    verdict = judge(wanting, round_, POLICY)
    assert [f["code"] for f in verdict.evidence["findings"]] == ["NODE_UNREACHABLE", "FACT_NOT_ASKED"]
