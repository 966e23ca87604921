"""API objects (plain JSON) to facts. Pure functions; whatever is absent becomes "unknown", never "fine"."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nightshift.clients.kube_placement import Namespaces, need, placement, room, taints
from nightshift.domain.debts import FIELD_MANAGER, OWNER_ANNOTATION, TOKEN_ANNOTATION
from nightshift.domain.facts import (
    BudgetFacts,
    LeaseFacts,
    NodeFacts,
    PodFacts,
    WorkloadFacts,
    WorkloadName,
)

PREFIX = "nightshift.io/"
OWNER = OWNER_ANNOTATION  # who cordoned the node, see domain/owner.py
TOKEN = TOKEN_ANNOTATION  # its fencing token; also on the Lease
FENCED_OWNER = "nightshift.io/fenced-owner"  # on the Lease, see domain/takeover.py
FENCED_AT = "nightshift.io/fenced-at"
_CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
_MIRROR = "kubernetes.io/config.mirror"
_UNSCHEDULABLE = (
    "node.kubernetes.io/unschedulable"  # the taint that the node controller adds to a cordoned node
)


def node_facts(item: Mapping[str, Any]) -> NodeFacts:
    """One Node."""
    metadata, spec, status = item["metadata"], item.get("spec", {}), item.get("status", {})
    conditions = {c["type"]: c.get("status") for c in status.get("conditions", [])}
    ready: Mapping[str, Any] = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
    cordoned_by, cordoned_since = _cordon(metadata, spec)
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses", []))}
    return NodeFacts(
        name=metadata["name"],
        address=addresses.get("InternalIP", ""),
        is_control_plane=_CONTROL_PLANE_LABEL in metadata.get("labels", {}),
        kubelet_version=str(status.get("nodeInfo", {}).get("kubeletVersion", "")).removeprefix("v"),
        is_ready={"True": True, "False": False}.get(str(conditions.get("Ready"))),
        is_unschedulable=bool(spec.get("unschedulable")),
        pressures=tuple(sorted(t for t, s in conditions.items() if t.endswith("Pressure") and s == "True")),
        annotations=dict(metadata.get("annotations") or {}),
        labels=dict(metadata.get("labels") or {}),
        ready_since=parse_time(ready.get("lastTransitionTime")),
        ready_message=": ".join(filter(None, (ready.get("reason"), ready.get("message")))),
        cordoned_since=cordoned_since,
        cordoned_by=cordoned_by,
        taints=taints(spec),
        room=room(status.get("allocatable") or {}),
    )


def _cordon(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[str, float | None]:
    """By which program and since when a node is cordoned; ("", None) when it is not, or nobody says.

    Whoever changes a field is its only manager. One that applies the value it has already becomes another one: then
    more than ours want it, and the other is named.
    """
    if not spec.get("unschedulable"):
        return "", None
    writers: list[Mapping[str, Any]] = [
        entry
        for entry in metadata.get("managedFields") or ()
        if "f:unschedulable" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    wrote = min(writers, key=lambda entry: entry.get("manager") == FIELD_MANAGER, default={})
    taint: Mapping[str, Any] = next((t for t in spec.get("taints") or () if t["key"] == _UNSCHEDULABLE), {})
    # The writer's time is that of its last write of any field; the taint is added once.
    return str(wrote.get("manager") or ""), parse_time(taint.get("timeAdded") or wrote.get("time"))


def pod_facts(item: Mapping[str, Any], namespaces: Namespaces | None = None) -> PodFacts:
    """One Pod; `namespaces` as in `placement`."""
    metadata, spec = item["metadata"], item.get("spec", {})
    owner = next((o for o in metadata.get("ownerReferences") or [] if o.get("controller")), None)
    annotations = dict(metadata.get("annotations") or {})
    return PodFacts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        phase=str(item.get("status", {}).get("phase", "Unknown")),
        controller=f"{owner['kind']}/{owner['name']}" if owner else None,
        controller_kind=owner["kind"] if owner else None,
        is_mirror=_MIRROR in annotations,
        is_terminating=bool(metadata.get("deletionTimestamp")),
        has_emptydir=any("emptyDir" in v for v in spec.get("volumes") or []),
        labels=dict(metadata.get("labels") or {}),
        annotations=annotations,
        node=str(spec.get("nodeName") or ""),
        is_ready=any(
            c["type"] == "Ready" and c.get("status") == "True"
            for c in item.get("status", {}).get("conditions") or []
        ),
        need=need(spec),
        placement=placement(metadata["namespace"], spec, metadata.get("labels") or {}, namespaces),
    )


def budget_facts(item: Mapping[str, Any]) -> BudgetFacts:
    """One PodDisruptionBudget."""
    metadata, spec, status = item["metadata"], item.get("spec", {}), item.get("status", {})
    return BudgetFacts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        selector=spec.get("selector"),
        disruptions_allowed=int(status.get("disruptionsAllowed", 0)),
        current_healthy=int(status.get("currentHealthy", 0)),
        desired_healthy=int(status.get("desiredHealthy", 0)),
        expected_pods=int(status.get("expectedPods", 0)),
        always_evicts_unready=spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow",
        is_computed=int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)),
        sync_error=_sync_error(status),
    )


def _sync_error(status: Mapping[str, Any]) -> str:
    """What keeps the disruption controller from counting a budget; "" when nothing does."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionAllowed" and condition.get("reason") == "SyncFailed":
            return str(condition.get("message") or "SyncFailed")
    return ""


def lease_facts(item: Mapping[str, Any] | None) -> LeaseFacts:
    """The Lease; one that does not exist yet is held by nobody with token 0."""
    if item is None:
        return LeaseFacts(holder="", token=0, acquired=None, renewed=None, duration_seconds=0)
    spec, annotations = item.get("spec") or {}, item["metadata"].get("annotations") or {}
    return LeaseFacts(
        holder=str(spec.get("holderIdentity") or ""),
        token=int(annotations.get(TOKEN, "0")),
        acquired=parse_time(spec.get("acquireTime")),
        renewed=parse_time(spec.get("renewTime")),
        duration_seconds=int(spec.get("leaseDurationSeconds") or 0),
        fenced_owner=annotations.get(FENCED_OWNER, ""),
        fenced_at=parse_time(annotations.get(FENCED_AT)),
    )


def scale_facts(name: WorkloadName, item: Mapping[str, Any]) -> WorkloadFacts:
    """A controller by its Scale: what is omitted there is zero."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    wanted, running = int(spec.get("replicas") or 0), int(status.get("replicas") or 0)
    return WorkloadFacts(name, *_identity(item), wanted, running)


def cron_facts(name: WorkloadName, item: Mapping[str, Any]) -> WorkloadFacts:
    """A CronJob."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    return WorkloadFacts(name, *_identity(item), bool(spec.get("suspend")), len(status.get("active") or ()))


def _identity(item: Mapping[str, Any]) -> tuple[str, str]:
    return str(item["metadata"].get("uid", "")), str(item["metadata"].get("resourceVersion", ""))


def parse_time(text: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp() if text else None


def micro_time(seconds: float) -> str:
    """RFC 3339 with exactly six digits: the API refuses a MicroTime of any other length."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def image_version(image: str) -> str:
    """Version said by an image's tag: `registry.k8s.io/kube-apiserver:v1.34.4` -> `1.34.4`; "" without a tag."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.partition(":")[2].removeprefix("v")
