"""Reads the admission webhooks, the namespaces their selectors select, and who answers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.clients.questions.backends import PERMISSIONS, backend_key, find_backends
from nightshift.domain.drain import selector_matches
from nightshift.domain.facts.webhooks import Backend, WebhookFacts, WebhookRule

_KINDS = {
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
}
_GROUP = "admissionregistration.k8s.io"
_DEFAULT_TIMEOUT_SECONDS = 10  # the API fills it in; so say its docs


def _ask(api: ApiReader) -> tuple[WebhookFacts, ...]:
    configured = [
        (kind, item["metadata"]["name"], webhook)
        for kind, plural in _KINDS.items()
        for item in api.list(f"/apis/{_GROUP}/v1/{plural}")
        for webhook in item.get("webhooks") or ()
    ]
    if not configured:
        return ()
    namespaces = {
        item["metadata"]["name"]: dict(item["metadata"].get("labels") or {})
        for item in api.list("/api/v1/namespaces")
    }
    backends = find_backends(api, (webhook["clientConfig"] for _, _, webhook in configured))
    return tuple(
        webhook_facts(kind, name, webhook, namespaces, backends[backend_key(webhook["clientConfig"])])
        for kind, name, webhook in configured
    )


def webhook_facts(
    kind: str,
    configuration: str,
    webhook: Mapping[str, Any],
    namespaces: Mapping[str, Mapping[str, str]],
    backend: Backend,
) -> WebhookFacts:
    """One entry of a configuration's `webhooks`, with the labels of all namespaces."""
    selector = webhook.get("namespaceSelector") or {}
    service = webhook["clientConfig"].get("service") or {}
    return WebhookFacts(
        kind=kind,
        configuration=configuration,
        name=str(webhook["name"]),
        fails_closed=webhook.get("failurePolicy", "Fail") != "Ignore",
        timeout_seconds=int(webhook.get("timeoutSeconds", _DEFAULT_TIMEOUT_SECONDS)),
        rules=tuple(map(_rule, webhook.get("rules") or ())),
        namespaces=frozenset(n for n, labels in namespaces.items() if selector_matches(selector, labels)),
        is_conditional=bool(webhook.get("matchConditions")) or _selects(webhook.get("objectSelector")),
        own_namespace=str(service.get("namespace", "")),
        backend=backend,
    )


def _rule(rule: Mapping[str, Any]) -> WebhookRule:
    return WebhookRule(
        groups=tuple(rule.get("apiGroups") or ()),
        resources=tuple(rule.get("resources") or ()),
        operations=tuple(rule.get("operations") or ()),
        scope=str(rule.get("scope") or "*"),
    )


def _selects(selector: Mapping[str, Any] | None) -> bool:
    """Tell whether a selector leaves anything out; the API writes an empty one as {}."""
    return bool(selector) and any((selector or {}).values())


WEBHOOKS_QUESTION = ApiQuestion(
    _ask,
    (
        *(Permission("list", _GROUP, plural) for plural in _KINDS.values()),
        Permission("list", "", "namespaces"),
        *PERMISSIONS,
    ),
)
