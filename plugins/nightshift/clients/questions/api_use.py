"""Reads which deprecated APIs each API server was asked for, the CustomResourceDefinitions and the APIServices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader, NodeQuestion
from nightshift.clients.questions.backends import PERMISSIONS, backend_key, find_backends
from nightshift.domain.facts.api_use import ApiRequests, ApiServiceFacts, CrdFacts, DeprecatedRequest
from nightshift.domain.facts.webhooks import Backend

_DEPRECATED = "apiserver_requested_deprecated_apis"
_STARTED = "process_start_time_seconds"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def parse_api_requests(text: str) -> ApiRequests:
    """Read the section `api-requests`, see `lib/look/api-requests.sh`.

    Raises:
        ValueError: these are no metrics of an API server.
    """
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    started = next((s.value for s in samples if s.name == _STARTED), math.nan)
    if math.isnan(started):
        raise ValueError(f"the API server's metrics have no {_STARTED}")
    labels = [s.labels for s in samples if s.name == _DEPRECATED and s.value > 0]
    names = ("group", "version", "resource", "subresource", "removed_release")
    found = {DeprecatedRequest(*(label.get(name, "") for name in names)) for label in labels}
    return ApiRequests(float(started), tuple(sorted(found, key=str)))


def _ask_crds(api: ApiReader) -> tuple[CrdFacts, ...]:
    items = list(api.list(_CRDS))
    backends = find_backends(api, filter(None, map(_converter, items)))
    return tuple(crd_facts(item, backends) for item in items)


def crd_facts(item: Mapping[str, Any], backends: Mapping[str, Backend]) -> CrdFacts:
    """One CustomResourceDefinition, with what is behind its conversion webhook."""
    versions, converter = item["spec"].get("versions") or (), _converter(item)
    return CrdFacts(
        name=str(item["metadata"]["name"]),
        versions=tuple(str(v["name"]) for v in versions),
        served=tuple(str(v["name"]) for v in versions if v.get("served")),
        stored=tuple(map(str, (item.get("status") or {}).get("storedVersions") or ())),
        conversion=None if converter is None else backends[backend_key(converter)],
    )


def _converter(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The clientConfig of its conversion webhook; None when the API server converts alone."""
    conversion = item["spec"].get("conversion") or {}
    if conversion.get("strategy") != "Webhook":
        return None
    found: Mapping[str, Any] = conversion["webhook"]["clientConfig"]
    return found


def api_service_facts(item: Mapping[str, Any]) -> ApiServiceFacts:
    """One APIService."""
    service = item["spec"].get("service")
    conditions = (item.get("status") or {}).get("conditions") or ()
    said: Mapping[str, Any] = next((c for c in conditions if c.get("type") == "Available"), {})
    return ApiServiceFacts(
        name=str(item["metadata"]["name"]),
        is_available={"True": True, "False": False}.get(str(said.get("status"))),
        service=f"{service['namespace']}/{service['name']}" if service else "",
        reason=str(said.get("reason") or ""),
        message=str(said.get("message") or ""),
    )


API_REQUESTS_QUESTION = NodeQuestion("api-requests", parse_api_requests)
CRDS_QUESTION = ApiQuestion(
    _ask_crds, (Permission("list", "apiextensions.k8s.io", "customresourcedefinitions"), *PERMISSIONS)
)
API_SERVICES_QUESTION = ApiQuestion(
    lambda api: tuple(map(api_service_facts, api.list(_API_SERVICES))),
    (Permission("list", "apiregistration.k8s.io", "apiservices"),),
)
