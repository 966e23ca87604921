"""Gate: is every API that the cluster uses still there after the hop, and does every API answer now?

It **blocks** when an API that the target release no longer serves was asked for, when objects of a CustomResourceDefinition
cannot be converted (its conversion webhook has nobody behind it), and when an APIService is not available (with an
aggregated API away, namespaces cannot be deleted and discovery is slow); `api_use.ignored_api_services` allows some. A
conversion webhook outside the cluster (a URL, a Service of type ExternalName) is **blind**: nobody can look whether it answers
the API server; an override of CRD_CONVERSION_OUTSIDE says that you did. It
**warns** when an API was asked for that a later release removes, and when objects may be stored in a version of a
CustomResourceDefinition that is no longer served. Deprecated APIs that no release is known to remove are only written
down.

What was asked for is counted by each API server since it started: each is asked, on its own node, and one that started an
hour ago has not seen what runs once a day. The message says since when the one counts that has counted least.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from nightshift.domain.facts.api_use import (
    API_REQUESTS,
    API_SERVICES,
    CRDS,
    ApiRequests,
    ApiServiceFacts,
    CrdFacts,
    DeprecatedRequest,
)
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.target import TargetChoice
from nightshift.domain.topics import TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import parse_minor

NAME = "api_use"
TITLE = "APIs in use"
NEEDS: tuple[AnyTopic, ...] = (TARGET, API_REQUESTS, CRDS, API_SERVICES)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT})  # between two nodes API servers have just started and know of no request


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge what was asked for, what is stored and what answers."""
    target, servers = round_.get(TARGET), round_.by_node(API_REQUESTS)
    crds, services = round_.get(CRDS), round_.get(API_SERVICES)
    since = _since(servers)
    asked = sorted({request for server in servers.values() for request in server.deprecated}, key=str)
    findings = [
        *_judge_requests(asked, target, since),
        *(finding for crd in crds for finding in _judge_crd(crd)),
        *_judge_services(services, policy),
    ]
    kept = [str(request) for request in asked if not request.removed_release]
    return conclude(
        NAME,
        findings,
        passed=f"No API that goes away was asked for {since}; {len(services)} APIServices are available, "
        f"{len(crds)} CustomResourceDefinitions can be read.",
        value=f"{len(asked) - len(kept)} removed or soon removed APIs asked for",
        threshold="0",
        evidence={"asked_since": since, "deprecated_without_removal": kept},
    )


def _since(servers: Mapping[str, ApiRequests]) -> str:
    """Since when requests were counted everywhere: an API server forgets them when it is restarted."""
    if not servers:
        return "since nobody knows when: no API server answered"  # whoever asks this gate says why
    node, last = max(servers.items(), key=lambda item: item[1].started)
    started = datetime.fromtimestamp(last.started, UTC)
    whose = "the API server" if len(servers) == 1 else f"the last of {len(servers)} API servers"
    return f"since {whose} started ({node}, {started:%Y-%m-%d %H:%M} UTC)"


def _judge_requests(
    requests: Iterable[DeprecatedRequest], target: TargetChoice, since: str
) -> Iterator[Finding]:
    for request in requests:
        if not request.removed_release:
            continue
        if target.minor and parse_minor(request.removed_release) <= parse_minor(target.minor):
            yield _removed(request, target.minor, since)
        else:
            yield _deprecated(request, since)


def _removed(request: DeprecatedRequest, minor: str, since: str) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "API_REMOVED_IN_USE",
        f"{request} was asked for {since}; Kubernetes {request.removed_release} removed it, and tonight's target is {minor}.",
        "Some client still uses it; after the upgrade it gets 404. One single request counts, also a person's.",
        "Find the client in the API server's audit log (annotation k8s.io/deprecated) and move it to the newer version. "
        "The count starts anew when the API server is restarted.",
        value=f"removed in {request.removed_release}",
        threshold=f"target {minor}",
    )


def _deprecated(request: DeprecatedRequest, since: str) -> Finding:
    return Finding(
        Outcome.WARN,
        "API_DEPRECATED_IN_USE",
        f"{request} was asked for {since}; Kubernetes {request.removed_release} will remove it.",
        "Some client still uses it; tonight's hop does not take it away.",
        f"Move that client to the newer version before the hop to {request.removed_release}.",
        value=f"removed in {request.removed_release}",
    )


def _judge_crd(crd: CrdFacts) -> Iterator[Finding]:
    backend = crd.conversion
    if backend is not None and backend.is_inside and not backend.ready and len(crd.versions) > 1:
        lack = "has no ready endpoint" if backend.exists else "does not exist"
        yield Finding(
            Outcome.BLOCK,
            "CRD_CONVERSION_DEAD",
            f"Objects of {crd.name} cannot be converted between {', '.join(crd.versions)}: "
            f"its webhook's {backend.address} {lack}.",
            "Reading them in another version than the stored one fails, and with it garbage collection, the deletion of "
            "namespaces and every controller that watches them.",
            f"Bring the pods of {backend.address} back; or remove {crd.name} when nobody needs it any more.",
            value="0 ready endpoints",
            threshold="at least 1",
        )
    if backend is not None and not backend.is_inside and len(crd.versions) > 1:
        yield Finding(
            Outcome.BLIND,
            "CRD_CONVERSION_OUTSIDE",
            f"Objects of {crd.name} are converted between {', '.join(crd.versions)} by a webhook outside the cluster, at "
            f"{backend.address}: nobody has looked whether it answers.",
            "It is configured with an address instead of a Service with pods, and only the API server can ask it as it will be asked.",
            f"Read {crd.name} in every version (kubectl get {crd.name.replace('.', '.VERSION.', 1)}); when all answer, override this "
            "finding until a date.",
            value="not asked",
            threshold="answers",
        )
    unserved = sorted(set(crd.stored) - set(crd.served))
    if unserved:
        yield Finding(
            Outcome.WARN,
            "CRD_VERSION_UNSERVED",
            f"Objects of {crd.name} may be stored as {', '.join(unserved)}, which is no longer served.",
            "status.storedVersions still names it: nobody has rewritten the old objects since.",
            f"Rewrite all objects of {crd.name}, then take it out of status.storedVersions.",
        )


def _judge_services(services: tuple[ApiServiceFacts, ...], policy: ClusterPolicy) -> Iterator[Finding]:
    for service in services:
        if service.is_available or service.name in policy.api_use.ignored_api_services:
            continue
        is_unknown = service.is_available is None
        behind = f" (service {service.service})" if service.service else ""
        said = f"{service.reason}: {service.message}" if service.reason else "it says nothing about that yet"
        yield Finding(
            Outcome.BLIND if is_unknown else Outcome.BLOCK,
            "API_SERVICE_UNAVAILABLE",
            f"APIService {service.name}{behind} is {'neither available nor not' if is_unknown else 'not available'}: {said}.",
            "The API server cannot reach whoever serves it. Meanwhile namespaces cannot be deleted, and discovery is slow.",
            f"Bring its pods back, or delete the APIService; or allow it under api_use.ignored_api_services: {service.name}.",
            value="not available",
            threshold="available",
        )
