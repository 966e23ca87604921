"""The parsers of what the API server says about itself, on documents as it writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from nightshift.clients.kube_objects import node_facts, parse_time
from nightshift.clients.permissions import Permission
from nightshift.clients.questions.api_use import (
    API_SERVICES_QUESTION,
    CRDS_QUESTION,
    parse_api_requests,
)
from nightshift.clients.questions.webhooks import WEBHOOKS_QUESTION
from nightshift.domain.facts.api_use import DeprecatedRequest
from nightshift.domain.facts.webhooks import Backend, WebhookRule

METRICS = """\
# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested.
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="storage.k8s.io",removed_release="1.35",resource="volumeattributesclasses",subresource="",version="v1alpha1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1
# HELP apiserver_request_total [STABLE] Counter of apiserver requests
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",verb="LIST"} 7
# HELP process_start_time_seconds [STABLE] Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.78999e+09
"""


@dataclass
class Api:
    """An API server in a few documents; notes what it was asked."""

    documents: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        self.asked.append(path)
        yield from self.documents.get(path, [])

    def get(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        return self.documents.get(path)


def named(name: str, **rest: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **rest}


def slice_of(service: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": f"{service}-x", "labels": labels}, "endpoints": list(endpoints)}


def endpoint(node: str | None, uid: str, **conditions: Any) -> dict[str, Any]:
    return {"addresses": ["10.0.0.1"], "nodeName": node, "targetRef": {"uid": uid}, "conditions": conditions}


SLICES = "/apis/discovery.k8s.io/v1/namespaces/policy/endpointslices"
SERVICE = "/api/v1/namespaces/policy/services/guard"
CLIENT = {
    "service": {"namespace": "policy", "name": "guard", "path": "/validate", "port": 443},
    "caBundle": "Cg==",
}
WEBHOOK = {
    "name": "guard.example.org",
    "clientConfig": CLIENT,
    "rules": [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
            "scope": "Namespaced",
        }
    ],
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "namespaceSelector": {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
        ]
    },
    "objectSelector": {},
    "sideEffects": "None",
    "timeoutSeconds": 5,
}
NAMESPACES = [
    {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
    for name in ("kube-system", "shop")
]


def api(webhook: dict[str, Any] = WEBHOOK, **documents: Any) -> Api:
    return Api(
        {
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": [
                named("guard", webhooks=[webhook])
            ],
            "/api/v1/namespaces": NAMESPACES,
            SERVICE: named("guard", spec={"type": "ClusterIP"}),
            SLICES: [slice_of("guard", endpoint("w1", "a", ready=True), endpoint("w2", "b", ready=False))],
            **documents,
        }
    )


def test_metrics() -> None:
    found = parse_api_requests(METRICS)
    assert found.started == 1.78999e9
    assert found.deprecated == (
        DeprecatedRequest("storage.k8s.io", "v1alpha1", "volumeattributesclasses", "", "1.35"),
        DeprecatedRequest("", "v1", "componentstatuses", "", ""),
    )
    assert [str(r) for r in found.deprecated] == [
        "storage.k8s.io/v1alpha1 volumeattributesclasses",
        "v1 componentstatuses",
    ]


@pytest.mark.parametrize(
    "text", ["", "<html>", "apiserver_request_total 7", "process_start_time_seconds NaN"]
)
def test_what_is_no_metrics_of_an_api_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"process_start_time_seconds|<html>"):
        parse_api_requests(text)


def test_a_webhook() -> None:
    (found,) = WEBHOOKS_QUESTION.ask(api())
    assert (found.kind, found.configuration, found.name) == (
        "ValidatingWebhookConfiguration",
        "guard",
        "guard.example.org",
    )
    assert found.fails_closed
    assert found.timeout_seconds == 5
    assert found.rules == (WebhookRule(("",), ("pods",), ("CREATE",), "Namespaced"),)
    assert found.namespaces == {"shop"}
    assert not found.is_conditional
    assert found.own_namespace == "policy"
    assert found.backend == Backend("service policy/guard", is_inside=True, ready=("w1",))


@pytest.mark.parametrize(
    ("change", "closed", "conditional"),
    [
        ({"failurePolicy": "Ignore"}, False, False),
        ({"objectSelector": {"matchLabels": {"a": "b"}}}, True, True),
        ({"matchConditions": [{"name": "x", "expression": "true"}]}, True, True),
        ({"matchConditions": None, "objectSelector": None}, True, False),
    ],
)
def test_failure_policy_and_conditions(change: dict[str, Any], closed: bool, conditional: bool) -> None:
    (found,) = WEBHOOKS_QUESTION.ask(api({**WEBHOOK, **change}))
    assert (found.fails_closed, found.is_conditional) == (closed, conditional)


def test_what_the_api_fills_in_is_assumed_when_it_is_absent() -> None:
    bare = {"name": "guard.example.org", "clientConfig": CLIENT}
    (found,) = WEBHOOKS_QUESTION.ask(api(bare))
    assert (found.fails_closed, found.timeout_seconds, found.rules) == (True, 10, ())
    assert found.namespaces == {"kube-system", "shop"}


@pytest.mark.parametrize(
    ("documents", "backend"),
    [
        ({SERVICE: None}, Backend("service policy/guard", is_inside=True, exists=False)),
        ({SLICES: []}, Backend("service policy/guard", is_inside=True)),
        (
            {SLICES: [slice_of("other", endpoint("w1", "a", ready=True))]},
            Backend("service policy/guard", is_inside=True),
        ),
        (
            {
                SLICES: [
                    slice_of("guard", endpoint("w1", "a")),
                    slice_of("guard", endpoint(None, "b", ready=None)),
                ]
            },
            Backend("service policy/guard", is_inside=True, ready=("", "w1")),
        ),
        (  # both families of one pod
            {SLICES: [slice_of("guard", endpoint("w1", "a")), slice_of("guard", endpoint("w1", "a"))]},
            Backend("service policy/guard", is_inside=True, ready=("w1",)),
        ),
        (
            {SLICES: [{"metadata": {"name": "x"}, "endpoints": None}]},
            Backend("service policy/guard", is_inside=True),
        ),
        (
            {SERVICE: named("guard", spec={"type": "ExternalName", "externalName": "guard.example.org"})},
            Backend("service policy/guard (guard.example.org)", is_inside=False),
        ),
    ],
)
def test_who_is_behind_a_service(documents: dict[str, Any], backend: Backend) -> None:
    (found,) = WEBHOOKS_QUESTION.ask(api(**documents))
    assert found.backend == backend


def test_an_address_lies_outside() -> None:
    outside = {**WEBHOOK, "clientConfig": {"url": "https://guard.example.org:8443/validate?x=1"}}
    (found,) = WEBHOOKS_QUESTION.ask(api(outside))
    assert (found.backend, found.own_namespace) == (Backend("guard.example.org", is_inside=False), "")


def test_each_service_and_namespace_is_asked_once() -> None:
    asked = api(
        **{
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": [
                named("guard", webhooks=[WEBHOOK, {**WEBHOOK, "name": "second.example.org"}])
            ]
        }
    )
    assert len(WEBHOOKS_QUESTION.ask(asked)) == 3
    assert (asked.asked.count(SLICES), asked.asked.count(SERVICE)) == (1, 1)


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd(**conversion: Any) -> dict[str, Any]:
    versions = [{"name": "v1", "served": True, "storage": True}, {"name": "v1beta1", "served": False}]
    return named(
        "carts.shop.example.org",
        spec={"versions": versions, "conversion": conversion},
        status={"storedVersions": ["v1beta1", "v1"]},
    )


def test_a_custom_resource() -> None:
    (found,) = CRDS_QUESTION.ask(Api({CRDS: [crd(strategy="None")]}))
    assert (found.versions, found.served, found.stored) == (("v1", "v1beta1"), ("v1",), ("v1beta1", "v1"))
    assert found.conversion is None


def test_a_custom_resource_with_a_conversion_webhook() -> None:
    asked = api(
        **{
            CRDS: [
                crd(strategy="Webhook", webhook={"clientConfig": CLIENT, "conversionReviewVersions": ["v1"]})
            ]
        }
    )
    (found,) = CRDS_QUESTION.ask(asked)
    assert found.conversion == Backend("service policy/guard", is_inside=True, ready=("w1",))


@pytest.mark.parametrize(
    ("status", "available"), [("True", True), ("False", False), ("Unknown", None), (None, None)]
)
def test_an_api_service(status: str | None, available: bool | None) -> None:
    said = [{"type": "Available", "status": status, "reason": "MissingEndpoints", "message": "no addresses"}]
    item = named(
        "v1beta1.metrics.k8s.io",
        spec={"service": {"namespace": "kube-system", "name": "metrics-server"}},
        status={"conditions": said if status else []},
    )
    (found,) = API_SERVICES_QUESTION.ask(Api({"/apis/apiregistration.k8s.io/v1/apiservices": [item]}))
    assert found.is_available is available
    assert found.service == "kube-system/metrics-server"
    assert found.reason == ("MissingEndpoints" if status else "")


def test_what_a_question_takes_is_asked_of_the_api() -> None:
    assert Permission("list", "", "nodes").review() == {
        "resourceAttributes": {"verb": "list", "resource": "nodes"}
    }


def test_a_cordoned_node_says_by_whom_and_since_when() -> None:
    """As a 1.34 API server writes it after `kubectl cordon`."""
    item = {
        "metadata": {
            "name": "w1",
            "managedFields": [
                {"manager": "kubelet", "time": "2026-11-28T22:00:00Z", "fieldsV1": {"f:status": {}}},
                {
                    "manager": "kubectl",
                    "operation": "Update",
                    "time": "2026-11-28T21:00:00Z",
                    "fieldsV1": {"f:spec": {"f:unschedulable": {}}},
                },
            ],
        },
        "spec": {
            "unschedulable": True,
            "taints": [
                {
                    "key": "node.kubernetes.io/unschedulable",
                    "effect": "NoSchedule",
                    "timeAdded": "2026-11-28T20:00:00Z",
                }
            ],
        },
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "False",
                    "lastTransitionTime": "2026-11-28T19:00:00Z",
                    "reason": "KubeletNotReady",
                    "message": "container runtime is down",
                }
            ]
        },
    }
    facts = node_facts(item)
    assert (facts.cordoned_by, facts.cordoned_since) == ("kubectl", parse_time("2026-11-28T20:00:00Z"))
    assert (facts.is_ready, facts.ready_since) == (False, parse_time("2026-11-28T19:00:00Z"))
    assert facts.ready_message == "KubeletNotReady: container runtime is down"
    del item["spec"]["taints"]  # type: ignore[attr-defined]
    assert node_facts(item).cordoned_since == parse_time("2026-11-28T21:00:00Z")
    item["spec"] = {}
    assert (node_facts(item).cordoned_by, node_facts(item).cordoned_since) == ("", None)


@pytest.mark.parametrize("managers", [("nightshift", "argocd"), ("argocd", "nightshift")])
def test_of_two_that_want_a_node_cordoned_the_other_is_named(managers: tuple[str, str]) -> None:
    fields = {"f:spec": {"f:unschedulable": {}}}
    item = {
        "metadata": {"name": "w1", "managedFields": [{"manager": m, "fieldsV1": fields} for m in managers]},
        "spec": {"unschedulable": True},
    }
    assert node_facts(item).cordoned_by == "argocd"
