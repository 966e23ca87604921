"""Admission webhooks as configured, and who answers behind them."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.round import Topic


@dataclass(frozen=True)
class Backend:
    """Who answers behind a webhook.

    Args:
        address: for people: "service shop/policy", or the URL's host.
        is_inside: a Service with pods of this cluster; what lies outside cannot be looked at from here.
        exists: the Service is there.
        ready: the node of each ready endpoint, "" when the endpoint names none.
    """

    address: str
    is_inside: bool
    exists: bool = True
    ready: tuple[str, ...] = ()


@dataclass(frozen=True)
class WebhookRule:
    """Which requests it is asked about; "*" is any, as in the API. `scope`: "Cluster", "Namespaced" or "*"."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    operations: tuple[str, ...]
    scope: str = "*"


@dataclass(frozen=True)
class WebhookFacts:
    """One webhook of a ValidatingWebhookConfiguration or MutatingWebhookConfiguration.

    Args:
        kind: of the configuration.
        configuration: its name.
        name: of the webhook in it.
        fails_closed: failurePolicy is Fail (also when it says nothing).
        timeout_seconds: how long the API server waits for its answer.
        rules: what it is asked about.
        namespaces: those of the cluster's namespaces that its namespaceSelector selects.
        is_conditional: an objectSelector or matchConditions let further requests pass; which, only the request tells.
        own_namespace: where its Service is, "" for a URL.
        backend: who answers.
    """

    kind: str
    configuration: str
    name: str
    fails_closed: bool
    timeout_seconds: int
    rules: tuple[WebhookRule, ...]
    namespaces: frozenset[str]
    is_conditional: bool
    own_namespace: str
    backend: Backend


WEBHOOKS = Topic[tuple[WebhookFacts, ...]]("webhooks", "the admission webhooks")
