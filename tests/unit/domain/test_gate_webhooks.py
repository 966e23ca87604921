from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import node
from tests.unit.domain.gate_rounds import POLICY, round_of

from nightshift.domain.facts.webhooks import WEBHOOKS, Backend, WebhookFacts, WebhookRule
from nightshift.domain.gates import webhooks
from nightshift.domain.round import Moment
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import NODES as TOPIC_NODES
from nightshift.domain.topics import TARGET
from nightshift.domain.verdicts import Outcome, Verdict

PODS = WebhookRule(("",), ("pods",), ("CREATE",), "Namespaced")
EVICTIONS = WebhookRule(("",), ("pods/eviction",), ("CREATE",))
EVERYTHING = WebhookRule(("*",), ("*/*",), ("*",))
CERTIFICATES = WebhookRule(("cert-manager.io",), ("certificates",), ("CREATE", "UPDATE"))
NODES = WebhookRule(("",), ("nodes",), ("UPDATE",), "Cluster")
LEASES = WebhookRule(("coordination.k8s.io",), ("leases",), ("*",))
ROLES = WebhookRule(("rbac.authorization.k8s.io",), ("clusterroles",), ("UPDATE",))
ALL_NAMESPACES = frozenset({"kube-system", "nightshift", "shop", "policy", "kube-node-lease"})
DEAD = Backend("service policy/guard", is_inside=True)
ALIVE = Backend("service policy/guard", is_inside=True, ready=("w1", "w2"))
ALONE = Backend("service policy/guard", is_inside=True, ready=("w1",))
OUTSIDE = Backend("guard.example.org", is_inside=False)


def webhook(*rules: WebhookRule, **changes: Any) -> WebhookFacts:
    plain = WebhookFacts(
        kind="ValidatingWebhookConfiguration",
        configuration="guard",
        name="guard.example.org",
        fails_closed=True,
        timeout_seconds=10,
        rules=rules,
        namespaces=ALL_NAMESPACES,
        is_conditional=False,
        own_namespace="policy",
        backend=ALIVE,
    )
    return replace(plain, **changes)


def verdict_of(
    *hooks: WebhookFacts, moment: Moment = Moment.NIGHT, ahead: tuple[str, ...] = (), behind: str = "w1"
) -> Verdict:
    target = TargetChoice(
        TargetKind.MINOR, "", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", nodes_behind=(behind,)
    )
    facts = {WEBHOOKS: hooks, TOPIC_NODES: (node("w1"), node("w2")), TARGET: target}
    return webhooks.check(round_of(facts, moment, ahead), POLICY)


@pytest.mark.parametrize(
    ("hook", "outcome", "code"),
    [
        pytest.param(webhook(EVERYTHING), Outcome.PASS, "OK", id="alive on two nodes"),
        pytest.param(webhook(PODS, backend=DEAD), Outcome.BLOCK, "WEBHOOK_DEAD", id="dead before pods"),
        pytest.param(webhook(EVICTIONS, backend=DEAD), Outcome.BLOCK, "WEBHOOK_DEAD", id="before evictions"),
        pytest.param(webhook(NODES, backend=DEAD), Outcome.BLOCK, "WEBHOOK_DEAD", id="before nodes"),
        pytest.param(webhook(LEASES, backend=DEAD), Outcome.BLOCK, "WEBHOOK_DEAD", id="before Leases"),
        pytest.param(
            webhook(CERTIFICATES, backend=DEAD), Outcome.PASS, "OK", id="dead before something else"
        ),
        pytest.param(webhook(PODS, backend=DEAD, fails_closed=False), Outcome.PASS, "OK", id="fails open"),
        pytest.param(
            webhook(PODS, backend=DEAD, is_conditional=True), Outcome.BLOCK, "WEBHOOK_DEAD", id="conditional"
        ),
        pytest.param(
            webhook(replace(PODS, operations=("DELETE",)), backend=DEAD, namespaces=frozenset({"shop"})),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="the kubelet's last delete of any pod",
        ),
        pytest.param(
            webhook(replace(PODS, operations=("UPDATE",)), backend=DEAD, namespaces=frozenset({"shop"})),
            Outcome.PASS,
            "OK",
            id="changing pods of others",
        ),
        pytest.param(
            webhook(WebhookRule(("policy",), ("*/status",), ("*",)), backend=DEAD),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="counting an eviction in its budget",
        ),
        pytest.param(
            webhook(WebhookRule(("apps",), ("replicasets",), ("CREATE",)), backend=DEAD),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="CoreDNS's new ReplicaSet",
        ),
        pytest.param(
            webhook(WebhookRule(("apps",), ("controllerrevisions",), ("CREATE",)), backend=DEAD),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="kube-proxy's new revision",
        ),
        pytest.param(
            webhook(
                WebhookRule(("apps",), ("replicasets",), ("*",)), backend=DEAD, namespaces=frozenset({"shop"})
            ),
            Outcome.PASS,
            "OK",
            id="ReplicaSets outside kube-system",
        ),
        pytest.param(
            webhook(
                WebhookRule(("storage.k8s.io",), ("volumeattachments",), ("DELETE",)),
                backend=DEAD,
                namespaces=frozenset(),
            ),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="detaching volumes",
        ),
        pytest.param(
            webhook(
                WebhookRule(("apps",), ("*",), ("UPDATE",)), backend=DEAD, namespaces=frozenset({"shop"})
            ),
            Outcome.PASS,
            "OK",
            id="Deployments outside kube-system",
        ),
        pytest.param(
            webhook(ROLES, backend=DEAD, namespaces=frozenset()),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="no selector exempts what has no namespace",
        ),
        pytest.param(
            webhook(replace(NODES, scope="Namespaced"), backend=DEAD),
            Outcome.PASS,
            "OK",
            id="scope leaves nodes out",
        ),
        pytest.param(
            webhook(WebhookRule(("",), ("*",), ("*",), "Cluster"), backend=DEAD),
            Outcome.BLOCK,
            "WEBHOOK_DEAD",
            id="scope Cluster",
        ),
        pytest.param(
            webhook(PODS, backend=ALONE), Outcome.BLOCK, "WEBHOOK_LOCKS_ITSELF", id="needs its own answer"
        ),
        pytest.param(
            webhook(PODS, backend=ALONE, is_conditional=True),
            Outcome.WARN,
            "WEBHOOK_LOCKS_ITSELF",
            id="may need its own answer",
        ),
        pytest.param(
            webhook(PODS, backend=ALONE, namespaces=frozenset({"shop"})),
            Outcome.WARN,
            "WEBHOOK_ON_ONE_NODE",
            id="exempts itself",
        ),
        pytest.param(
            webhook(NODES, backend=replace(ALONE, ready=("w1", "w1"))),
            Outcome.WARN,
            "WEBHOOK_ON_ONE_NODE",
            id="two pods on one node",
        ),
        pytest.param(webhook(CERTIFICATES, backend=ALONE), Outcome.PASS, "OK", id="alone and not needed"),
        pytest.param(webhook(PODS, backend=OUTSIDE), Outcome.BLIND, "WEBHOOK_OUTSIDE", id="outside"),
        pytest.param(
            webhook(PODS, backend=OUTSIDE, is_conditional=True),
            Outcome.BLIND,
            "WEBHOOK_OUTSIDE",
            id="outside, some requests exempt",
        ),
        pytest.param(
            webhook(PODS, backend=OUTSIDE, fails_closed=False),
            Outcome.PASS,
            "OK",
            id="outside and fails open",
        ),
        pytest.param(webhook(CERTIFICATES, backend=OUTSIDE), Outcome.PASS, "OK", id="outside and not needed"),
        pytest.param(
            webhook(LEASES, timeout_seconds=30, fails_closed=False),
            Outcome.WARN,
            "WEBHOOK_TIMEOUT_LONG",
            id="slow before Leases",
        ),
        pytest.param(webhook(PODS, timeout_seconds=30), Outcome.PASS, "OK", id="slow before pods"),
    ],
)
def test_one_webhook(hook: WebhookFacts, outcome: Outcome, code: str) -> None:
    verdict = verdict_of(hook)
    assert (verdict.outcome, verdict.code) == (outcome, code), verdict.message
    if code != "OK":
        assert "ValidatingWebhookConfiguration guard (guard.example.org)" in verdict.message
        assert verdict.resolution


@pytest.mark.parametrize(
    ("pattern", "resource", "covers"),
    [
        ("*", "pods", True),
        ("*", "pods/eviction", False),
        ("*/*", "pods", True),
        ("*/*", "pods/eviction", True),
        ("pods", "pods", True),
        ("pods", "pods/eviction", False),
        ("pods/*", "pods", True),
        ("pods/*", "pods/eviction", True),
        ("pods/*", "nodes", False),
        ("*/eviction", "pods/eviction", True),
        ("*/scale", "pods/eviction", False),
    ],
)
def test_resources_match_as_in_the_api(pattern: str, resource: str, covers: bool) -> None:
    """Kubernetes: `predicates/rules.Matcher.resource`; "pods/*" covers the empty subresource, too."""
    assert webhooks._covers(pattern, resource) is covers


@pytest.mark.parametrize(
    ("moment", "ahead", "behind", "outcome"),
    [
        (Moment.NIGHT, (), "w1", Outcome.BLOCK),
        (Moment.NIGHT, (), "w2", Outcome.PASS),
        (Moment.PLACE, ("w1",), "w1", Outcome.BLOCK),
        (Moment.PLACE, ("w2",), "w1", Outcome.PASS),
    ],
)
def test_only_the_drain_of_its_own_node_locks_a_webhook_out(
    moment: Moment, ahead: tuple[str, ...], behind: str, outcome: Outcome
) -> None:
    hook = webhook(PODS, backend=ALONE)
    assert verdict_of(hook, moment=moment, ahead=ahead, behind=behind).outcome is outcome


def test_a_dead_one_blocks_wherever_its_pods_were() -> None:
    verdict = verdict_of(webhook(PODS, backend=DEAD), moment=Moment.PLACE, ahead=("w2",))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "WEBHOOK_DEAD")


def test_the_message_names_service_requests_and_some_namespaces() -> None:
    verdict = verdict_of(webhook(PODS, EVICTIONS, backend=DEAD))
    assert "service policy/guard has no ready endpoint" in verdict.message
    assert (
        "pods/eviction, pods in kube-node-lease, kube-system, nightshift, policy and 1 more namespaces"
        in verdict.message
    )


def test_a_service_that_does_not_exist_is_said_so() -> None:
    verdict = verdict_of(webhook(PODS, backend=replace(DEAD, exists=False)))
    assert "service policy/guard does not exist" in verdict.message


def test_a_cluster_without_webhooks_passes() -> None:
    assert verdict_of().outcome is Outcome.PASS


def test_the_narrow_neighbour_is_not_named() -> None:
    verdict = verdict_of(
        webhook(PODS, backend=DEAD), webhook(CERTIFICATES, configuration="cert-manager", backend=DEAD)
    )
    assert "cert-manager" not in verdict.message
