"""What decides where a pod can run, out of Pods, Nodes and PersistentVolumes (plain JSON). Pure functions.

As the scheduler reads them: kubernetes/component-helpers scheduling/corev1 and resource/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightshift.domain.facts.placement import (
    HostPort,
    Mates,
    Need,
    Placement,
    Requirement,
    Room,
    Spread,
    Taint,
    Term,
    Terms,
    Toleration,
    VolumeFacts,
)
from nightshift.domain.quantities import milli, whole
from nightshift.domain.requirements import holds

_NOTHING: Term = (Requirement("", "In"),)  # a label is one of no values
_NOWHERE = ("",)  # a namespace that no pod is in
_COUNTED_APART = ("cpu", "memory", "pods")

Namespaces = Mapping[str, Mapping[str, str]]  # by name, their labels


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
            tuple(sorted((n, whole(amount)) for n, amount in allocatable.items() if n not in _COUNTED_APART)),
        )
    except (KeyError, ValueError):
        return None


def need(spec: Mapping[str, Any]) -> Need:
    """A Pod's requests: all containers and sidecars together, or the largest init container; plus the overhead."""
    others = ((name, _request(spec, name, whole)) for name in sorted(_asked_for(spec)))
    return Need(
        _request(spec, "cpu", milli),
        _request(spec, "memory", whole),
        tuple((name, amount) for name, amount in others if amount),
    )


def _asked_for(spec: Mapping[str, Any]) -> set[str]:
    """The resources that are not counted apart and that anything in this pod asks for."""
    holders = (spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    asked = [(holder.get("resources") or {}).get("requests") or {} for holder in holders]
    return set().union(*asked, spec.get("overhead") or {}).difference(_COUNTED_APART)


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


def placement(
    namespace: str, spec: Mapping[str, Any], labels: Mapping[str, str], namespaces: Namespaces | None = None
) -> Placement:
    """A Pod's rules about where it may run.

    Args:
        namespace: the pod's.
        spec: its.
        labels: its.
        namespaces: of the cluster. None: nobody asks where this pod may run, terms that select namespaces are left out.
    """
    affinity = spec.get("affinity") or {}
    wanted = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    apart = (affinity.get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    together = (affinity.get("podAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return Placement(
        selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        terms=node_terms(wanted.get("nodeSelectorTerms") or ()),
        tolerations=tuple(_toleration(t) for t in spec.get("tolerations") or ()),
        apart=tuple(_mates(apart, namespaces)),
        together=tuple(_mates(together, namespaces)),
        ports=tuple(_host_ports(spec)),
        spreads=tuple(
            _spread(item, labels)
            for item in spec.get("topologySpreadConstraints") or ()
            if item.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        ),
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


def _mates(terms: Sequence[Mapping[str, Any]] | None, namespaces: Namespaces | None) -> Iterator[Mates]:
    """Terms about other pods. Namespaces that are named and those that are selected count together."""
    for term in terms or ():
        spaces: tuple[str, ...] = tuple(term.get("namespaces") or ())
        wanted = term.get("namespaceSelector")
        if wanted is not None:
            if namespaces is None:
                continue
            selector = _selector(wanted)
            selected = {name for name, labels in namespaces.items() if holds(selector, labels)}
            spaces = tuple(sorted(selected.union(spaces))) or _NOWHERE
        yield Mates(term["topologyKey"], _selector(term.get("labelSelector")), spaces)


def _host_ports(spec: Mapping[str, Any]) -> Iterator[HostPort]:
    """Ports of the node; an address that means all of them is "" here."""
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                address = str(port.get("hostIP") or "")
                yield HostPort(
                    int(port["hostPort"]),
                    str(port.get("protocol") or "TCP"),
                    "" if address in ("0.0.0.0", "::") else address,
                )


def _spread(item: Mapping[str, Any], labels: Mapping[str, str]) -> Spread:
    """One constraint; the pod's own values of `matchLabelKeys` are part of its selector."""
    own = (Requirement(k, "In", (labels[k],)) for k in item.get("matchLabelKeys") or () if k in labels)
    return Spread(
        topology_key=item["topologyKey"],
        selector=(*_selector(item.get("labelSelector")), *own),
        max_skew=int(item["maxSkew"]),
        min_domains=int(item.get("minDomains") or 1),
        honors_affinity=item.get("nodeAffinityPolicy", "Honor") == "Honor",
        honors_taints=item.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _selector(selector: Mapping[str, Any] | None) -> Term:
    """A label selector; none at all selects no pod, an empty one every pod."""
    if selector is None:
        return _NOTHING
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
