"""Gate: would an admission webhook stop the upgrade?

A webhook that fails closed and has nobody ready behind it refuses every request it is asked about. That **blocks** when
the night needs such requests: evicting and deleting pods in any namespace and starting them elsewhere with their volumes,
changing nodes, Leases, and what kubeadm and a new API server write. A namespaceSelector is evaluated over the namespaces there are; it never exempts what has no
namespace (nodes, ClusterRoles). A webhook that is asked about other things only, or fails open, passes, dead or not.

It also blocks when a drain that lies ahead would lock a webhook out: all its endpoints are on the node to be drained, it
fails closed, and starting its own pod elsewhere needs its own answer; where an objectSelector or matchConditions may
exempt that pod it **warns**. It warns when all endpoints of a needed webhook are on one node to be drained, and when the API
server waits long for one in front of Leases or nodes.

A needed webhook that fails closed and lies outside the cluster (a URL, a Service of type ExternalName) is **blind**: the API
server would ask it from its own network with its own trust, so no look from here or from a node tells whether it will
answer, and what is not known is not taken for fine. Who looks after it may know better: an override of WEBHOOK_OUTSIDE says so
until a date, and every report names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nightshift.domain.facts.webhooks import WEBHOOKS, WebhookFacts, WebhookRule
from nightshift.domain.gates.drained import drained_nodes
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.topics import NODES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "webhooks"
TITLE = "Admission webhooks"
NEEDS: tuple[AnyTopic, ...] = (WEBHOOKS, NODES)
WANTS: tuple[AnyTopic, ...] = (TARGET,)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_LONG_SECONDS = 10  # the API's default; a Lease is renewed every 10 s, and lost after a few of them
_SHOWN = 4  # namespaces that a message names

_SYSTEM = ("kube-system",)
_OWN = ("kube-system", "nightshift")
_WRITE = ("CREATE", "UPDATE")


@dataclass(frozen=True)
class _Request:
    """A kind of request the night cannot do without.

    Args:
        group: API group.
        resource: may carry a subresource.
        operations: as admission calls them; a patch is an UPDATE.
        namespaces: where it happens; () = the resource has no namespace, None = in every namespace.
        is_steady: it goes on all the time, and a slow answer hurts.
    """

    group: str
    resource: str
    operations: tuple[str, ...]
    namespaces: tuple[str, ...] | None
    is_steady: bool = False


_RBAC = "rbac.authorization.k8s.io"
_NEEDED = (
    # drains: the pods have to go, and to start elsewhere
    _Request("", "pods/eviction", ("CREATE",), None),
    _Request("", "pods", ("CREATE",), None),
    _Request("", "serviceaccounts/token", ("CREATE",), None),
    _Request("", "pods/binding", ("CREATE",), None),
    _Request("", "pods/status", ("UPDATE",), None),
    _Request("discovery.k8s.io", "endpointslices", _WRITE, None),
    # an evicted pod is gone only when its kubelet has deleted it; until then the drain waits
    _Request("", "pods", ("DELETE",), None),
    # the API counts an eviction in the budget before it grants it
    _Request("policy", "poddisruptionbudgets/status", ("UPDATE",), None),
    # volumes follow their pods; a kubelet that cannot write its CSINode does not become Ready
    _Request("storage.k8s.io", "volumeattachments", (*_WRITE, "DELETE"), ()),
    _Request("storage.k8s.io", "volumeattachments/status", ("UPDATE",), ()),
    _Request("storage.k8s.io", "csinodes", _WRITE, ()),
    # mirror pods, CoreDNS, the probe of the morning
    _Request("", "pods", ("UPDATE",), _OWN),
    # cordons, marks, heartbeats, leader election, our own Lease
    _Request("", "nodes", ("UPDATE",), (), is_steady=True),
    _Request("", "nodes/status", ("UPDATE",), (), is_steady=True),
    _Request("coordination.k8s.io", "leases", _WRITE, ("kube-node-lease", *_OWN), is_steady=True),
    # what kubeadm writes, and the Job it tries the cluster with
    _Request("", "configmaps", _WRITE, (*_OWN, "kube-public")),
    _Request("apps", "daemonsets", _WRITE, _SYSTEM),
    _Request("apps", "deployments", _WRITE, _SYSTEM),
    # how CoreDNS and kube-proxy roll out: by ReplicaSets and their counts, by ControllerRevisions
    _Request("apps", "replicasets", _WRITE, _SYSTEM),
    _Request("apps", "replicasets/status", ("UPDATE",), _SYSTEM),
    _Request("apps", "controllerrevisions", _WRITE, _SYSTEM),
    _Request("batch", "jobs", ("CREATE", "DELETE"), _SYSTEM),
    _Request("", "services", _WRITE, _SYSTEM),
    _Request("", "serviceaccounts", _WRITE, _SYSTEM),
    _Request(_RBAC, "roles", _WRITE, (*_SYSTEM, "kube-public")),
    _Request(_RBAC, "rolebindings", _WRITE, (*_SYSTEM, "kube-public")),
    # a new API server is not ready before it has written these
    _Request(_RBAC, "clusterroles", _WRITE, ()),
    _Request(_RBAC, "clusterrolebindings", _WRITE, ()),
    _Request("flowcontrol.apiserver.k8s.io", "flowschemas", _WRITE, ()),
    _Request("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", _WRITE, ()),
    _Request("scheduling.k8s.io", "priorityclasses", _WRITE, ()),
    _Request("apiregistration.k8s.io", "apiservices", _WRITE, ()),
    _Request("networking.k8s.io", "servicecidrs", _WRITE, ()),
)
_START_POD = _Request("", "pods", ("CREATE",), None)


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge every webhook that is asked about something the night needs."""
    webhooks, drained = round_.get(WEBHOOKS), frozenset(drained_nodes(round_))
    asked = {_title(w): found for w in webhooks if (found := _needed(w))}
    findings = [finding for webhook in webhooks for finding in _judge(webhook, drained)]
    return conclude(
        NAME,
        findings,
        passed=f"None of {len(webhooks)} admission webhooks stands in the way.",
        value=f"{len(webhooks)} webhooks, {len(asked)} in front of what the night needs",
        threshold="those that fail closed have ready endpoints",
        evidence={"in_front_of": asked},
    )


def _judge(webhook: WebhookFacts, drained: frozenset[str]) -> Iterator[Finding]:
    needed, backend = _needed(webhook), webhook.backend
    if not needed:
        return
    if webhook.timeout_seconds > _LONG_SECONDS and _steady(webhook):
        yield _slow(webhook)
    if not webhook.fails_closed:
        return
    if not backend.is_inside:
        yield _outside(webhook, needed)
    elif not backend.ready:
        yield _dead(webhook, needed)
    elif len(set(backend.ready)) == 1 and backend.ready[0] in drained:
        yield _on_one_node(webhook, needed)


def _needed(webhook: WebhookFacts) -> list[str]:
    """What the night needs and it is asked about, for people: "pods/eviction, pods in kube-system, shop"."""
    found: dict[str, list[str]] = {}
    for request in _NEEDED:
        where = _where(webhook, request)
        if where is not None:
            found.setdefault(where, []).append(request.resource)
    return [f"{', '.join(dict.fromkeys(resources))}{where}" for where, resources in found.items()]


def _where(webhook: WebhookFacts, request: _Request) -> str | None:
    """Where it is asked about such requests: " in kube-system", "" for what has no namespace; None: nowhere."""
    if not any(_asks(rule, request) for rule in webhook.rules):
        return None
    if request.namespaces == ():
        return ""
    wanted = webhook.namespaces if request.namespaces is None else set(request.namespaces)
    names = sorted(wanted & webhook.namespaces)
    if not names:
        return None
    more = f" and {len(names) - _SHOWN} more namespaces" if len(names) > _SHOWN else ""
    return f" in {', '.join(names[:_SHOWN])}{more}"


def _asks(rule: WebhookRule, request: _Request) -> bool:
    has_namespace = request.namespaces != ()
    scopes = ("*", "Namespaced") if has_namespace else ("*", "Cluster")
    return (
        rule.scope in scopes
        and bool({"*", request.group} & set(rule.groups))
        and bool({"*", *request.operations} & set(rule.operations))
        and any(_covers(pattern, request.resource) for pattern in rule.resources)
    )


def _covers(pattern: str, resource: str) -> bool:
    """As the API matches them: "pods" and "*" leave subresources out, "pods/*" and "*/*" are everything."""
    name, _, subresource = resource.partition("/")
    wanted, slash, wanted_subresource = pattern.partition("/")
    if wanted not in ("*", name):
        return False
    return wanted_subresource in ("*", subresource) if slash else not subresource


def _steady(webhook: WebhookFacts) -> list[str]:
    return [r.resource for r in _NEEDED if r.is_steady and _where(webhook, r) is not None]


def _title(webhook: WebhookFacts) -> str:
    return f"{webhook.kind} {webhook.configuration} ({webhook.name})"


def _asked_about(webhook: WebhookFacts, needed: list[str]) -> str:
    perhaps = ", as far as its objectSelector and matchConditions go" if webhook.is_conditional else ""
    return f"{'; '.join(needed)}{perhaps}"


def _dead(webhook: WebhookFacts, needed: list[str]) -> Finding:
    lack = "has no ready endpoint" if webhook.backend.exists else "does not exist"
    return Finding(
        Outcome.BLOCK,
        "WEBHOOK_DEAD",
        f"{_title(webhook)} fails closed and its {webhook.backend.address} {lack}: "
        f"the API refuses requests on {_asked_about(webhook, needed)}.",
        "The pods behind it do not run or are not ready; with failurePolicy Fail no answer means no.",
        f"Bring the pods of {webhook.backend.address} back; or, when nobody needs it any more, "
        f"kubectl delete {webhook.kind.lower()} {webhook.configuration}.",
        value="0 ready endpoints",
        threshold="at least 1",
    )


def _on_one_node(webhook: WebhookFacts, needed: list[str]) -> Finding:
    node, count = webhook.backend.ready[0], len(webhook.backend.ready)
    endpoints = "its only ready endpoint is" if count == 1 else f"all its {count} ready endpoints are"
    where = f"{_title(webhook)} fails closed and {endpoints} on {node}"
    if _guards_itself(webhook):
        return Finding(
            Outcome.WARN if webhook.is_conditional else Outcome.BLOCK,
            "WEBHOOK_LOCKS_ITSELF",
            f"{where}: once that node is drained, its pods cannot start elsewhere, because starting pods in "
            f"{webhook.own_namespace} needs its answer.",
            "Its rules cover pods in its own namespace, and its namespaceSelector does not exempt it.",
            f"Run it on two nodes (replicas, anti-affinity, a PodDisruptionBudget), or exempt namespace "
            f"{webhook.own_namespace} in its namespaceSelector.",
            value=f"{count} ready on 1 node",
            threshold="2 nodes",
        )
    return Finding(
        Outcome.WARN,
        "WEBHOOK_ON_ONE_NODE",
        f"{where}: while that node is drained, the API refuses requests on {_asked_about(webhook, needed)}.",
        "All its pods go with one drain; until one is ready elsewhere there is no answer, which means no.",
        "Run it on two nodes: replicas, anti-affinity, a PodDisruptionBudget.",
        value=f"{count} ready on 1 node",
        threshold="2 nodes",
    )


def _guards_itself(webhook: WebhookFacts) -> bool:
    return webhook.own_namespace in webhook.namespaces and any(
        _asks(rule, _START_POD) for rule in webhook.rules
    )


def _outside(webhook: WebhookFacts, needed: list[str]) -> Finding:
    return Finding(
        Outcome.BLIND,
        "WEBHOOK_OUTSIDE",
        f"{_title(webhook)} fails closed, is asked about {_asked_about(webhook, needed)}, and lies outside the "
        f"cluster, at {webhook.backend.address}: nobody has looked whether it answers.",
        "It is configured with an address instead of a Service with pods, and only the API server can ask it as it will be asked.",
        "Ask it yourself from every control plane, then override this finding until a date; or take what the night needs "
        "out of its rules, or let it fail open (failurePolicy Ignore).",
        value="not asked",
        threshold="answers, or fails open",
    )


def _slow(webhook: WebhookFacts) -> Finding:
    return Finding(
        Outcome.WARN,
        "WEBHOOK_TIMEOUT_LONG",
        f"{_title(webhook)} is in front of {', '.join(_steady(webhook))}, and the API server waits "
        f"{webhook.timeout_seconds} s for its answer; above {_LONG_SECONDS} s Leases are lost when it hangs.",
        "Leases and heartbeats are written every 10 s; a webhook that hangs holds each of them up.",
        f"Lower its timeoutSeconds to {_LONG_SECONDS} or less, or take Leases and nodes out of its rules.",
        value=f"{webhook.timeout_seconds} s",
        threshold=f"{_LONG_SECONDS} s",
    )
