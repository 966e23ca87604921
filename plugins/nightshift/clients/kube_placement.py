"""What decides where a pod can run, out of Pods, Nodes and PersistentVolumes (plain JSON). Pure functions.

As the scheduler reads them: kubernetes/component-helpers scheduling/corev1 and resource/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightshift.domain.facts.placement import (
    Apart,
    Need,
    Placement,
    Requirement,
    Room,
    Taint,
    Term,
    Terms,
    Toleration,
    VolumeFacts,
)
from nightshift.domain.quantities import milli, whole


def taints(spec: Mapping[str, Any]) -> tuple[Taint, ...]:
    """A Node's taints."""
    return tuple(
        Taint(t["key"], str(t.get("value") or ""), str(t.get("effect") or ""))
        for t in spec.get("taints") or ()
    )


def room(allocatable: Mapping[str, Any]) -> Room | None:
    """A Node's `status.allocatable`; None when it says nothing that can be understood."""
    try:
        return Room(
            milli(allocatable["cpu"]) if "cpu" in allocatable else 0,
            whole(allocatable["memory"]),
            whole(allocatable["pods"]),
        )
    except (KeyError, ValueError):
        return None


def need(spec: Mapping[str, Any]) -> Need:
    """A Pod's requests: all containers and sidecars together, or the largest init container; plus the overhead."""
    return Need(_request(spec, "cpu", milli), _request(spec, "memory", whole))


def _request(spec: Mapping[str, Any], resource: str, read: Any) -> int:
    def of(holder: Mapping[str, Any]) -> int:
        requests = (holder.get("resources") or {}).get("requests") or {}
        return int(read(requests[resource])) if resource in requests else 0

    overhead = (spec.get("overhead") or {}).get(resource)
    extra = int(read(overhead)) if overhead is not None else 0
    if resource in ((spec.get("resources") or {}).get("requests") or {}):
        return of(spec) + extra  # asked for the pod as a whole
    running = sum(of(container) for container in spec.get("containers") or ())
    beside = highest = 0
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":  # a sidecar: it stays
            beside += of(container)
            highest = max(highest, beside)
        else:
            highest = max(highest, beside + of(container))
    return max(running + beside, highest) + extra


def placement(namespace: str, spec: Mapping[str, Any]) -> Placement:
    """A Pod's rules about where it may run."""
    affinity = spec.get("affinity") or {}
    wanted = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    apart = (affinity.get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return Placement(
        selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        terms=node_terms(wanted.get("nodeSelectorTerms") or ()),
        tolerations=tuple(_toleration(t) for t in spec.get("tolerations") or ()),
        apart=tuple(_apart(term) for term in apart or ()),
        claims=tuple(_claims(namespace, spec.get("volumes") or ())),
    )


def node_terms(terms: Sequence[Mapping[str, Any]]) -> Terms:
    """Node selector terms; an empty term selects nothing, and is dropped as the scheduler does."""
    read = (
        tuple(
            Requirement(r["key"], r["operator"], tuple(r.get("values") or ()), kind == "matchFields")
            for kind in ("matchExpressions", "matchFields")
            for r in term.get(kind) or ()
        )
        for term in terms
    )
    return tuple(term for term in read if term)


def _toleration(item: Mapping[str, Any]) -> Toleration:
    return Toleration(
        str(item.get("key") or ""),
        str(item.get("operator") or "Equal"),
        str(item.get("value") or ""),
        str(item.get("effect") or ""),
    )


def _apart(term: Mapping[str, Any]) -> Apart:
    return Apart(
        term["topologyKey"], _selector(term.get("labelSelector") or {}), tuple(term.get("namespaces") or ())
    )


def _selector(selector: Mapping[str, Any]) -> Term:
    labels = (Requirement(k, "In", (v,)) for k, v in sorted((selector.get("matchLabels") or {}).items()))
    expressions = (
        Requirement(r["key"], r["operator"], tuple(r.get("values") or ()))
        for r in selector.get("matchExpressions") or ()
    )
    return (*labels, *expressions)


def _claims(namespace: str, volumes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Claims that outlive the pod; that of an ephemeral volume goes with it."""
    for volume in volumes:
        if "persistentVolumeClaim" in volume:
            yield f"{namespace}/{volume['persistentVolumeClaim']['claimName']}"


def volume_facts(item: Mapping[str, Any]) -> tuple[str, VolumeFacts] | None:
    """One PersistentVolume by its claim, "namespace/name"; None when it is bound to none."""
    spec = item.get("spec", {})
    claim = spec.get("claimRef")
    if not claim or item.get("status", {}).get("phase") not in (None, "Bound"):
        return None
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    terms = node_terms(required.get("nodeSelectorTerms") or ())
    return f"{claim['namespace']}/{claim['name']}", VolumeFacts(item["metadata"]["name"], terms)
