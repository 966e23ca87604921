"""The Kubernetes API as the night needs it: nodes, evictions, the Lease, and what the cluster runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote

import yaml
from kubernetes.client import ApiClient

from nightshift.clients.api_reader import TransportReader, put
from nightshift.clients.kube_objects import (
    FENCED_AT,
    FENCED_OWNER,
    OWNER,
    PREFIX,
    TOKEN,
    budget_facts,
    cron_facts,
    image_version,
    lease_facts,
    micro_time,
    node_facts,
    pod_facts,
    scale_facts,
)
from nightshift.clients.kube_transport import MERGE_PATCH, KubeTransport, StatusError
from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion
from nightshift.clients.yaml_text import read_yaml
from nightshift.domain.debts import (
    DEBT_ANNOTATIONS,
    FIELD_MANAGER,
    Debt,
    from_text,
    is_foreign_cordon,
    require_no_newer_mark,
    to_text,
)
from nightshift.domain.errors import ConfigError, UnreachableError
from nightshift.domain.facts import (
    BudgetFacts,
    LeaseFacts,
    NodeFacts,
    PodFacts,
    WorkloadFacts,
    WorkloadName,
)

T = TypeVar("T")

NAMESPACE = "nightshift"
LEASE_NAME = "nightshift"
BRAKE_NAME = "nightshift-brake"
DEBTS_NAME = "nightshift-debts"
KUBELET_READER = "kubelet-reader"
_NAMESPACE_PATH = f"/api/v1/namespaces/{NAMESPACE}"
_CONFIG_MAPS_PATH = f"{_NAMESPACE_PATH}/configmaps"
_LEASES_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
# Kind -> group, resource as permissions name it, path below its namespace; {} takes the name.
_WORKLOADS = {
    "Deployment": ("apps", "deployments/scale", "deployments/{}/scale"),
    "StatefulSet": ("apps", "statefulsets/scale", "statefulsets/{}/scale"),
    "CronJob": ("batch", "cronjobs", "cronjobs/{}"),
}
_COMPARE_AND_SWAP_TRIES = 8  # kubelets write their Node's status between our read and our write
_KUBELET_TOKEN_SECONDS = 600  # the shortest the API grants


class EvictionOutcome(StrEnum):
    """What the API made of one request to evict."""

    EVICTED = "evicted"
    GONE = "gone"  # no such pod, or another one under the same name
    BUDGET_BLOCKED = "budget_blocked"  # a budget allows none now; asking again may help
    THROTTLED = "throttled"  # the API is busy or a budget is not computed yet; asking again helps
    NAMESPACE_TERMINATING = "namespace_terminating"  # it goes on its own
    REFUSED = "refused"  # permanent, e.g. two budgets match one pod


@dataclass(frozen=True)
class Eviction:
    """One answer; `detail` is the API's own sentence ("" when evicted)."""

    outcome: EvictionOutcome
    detail: str = ""


def workload_permissions(name: WorkloadName) -> tuple[Permission, ...]:
    """What making this workload quiet takes: of a controller its Scale only, which says nothing about its pods."""
    group, resource, _ = _WORKLOADS[name.kind]
    verbs = ("get", "patch") if name.kind == "CronJob" else ("get", "update")
    return tuple(Permission(verb, group, resource, name.namespace, name.name) for verb in verbs)


class KubeApi:
    """One cluster's API."""

    def __init__(self, api_client: ApiClient) -> None:
        self._http = KubeTransport(api_client)

    # -- nodes --------------------------------------------------------------------------------------

    def nodes(self) -> tuple[NodeFacts, ...]:
        """All nodes, by name."""
        items = self._http.call("GET", "/api/v1/nodes")["items"]
        return tuple(sorted((node_facts(i) for i in items), key=lambda n: n.name))

    def node(self, name: str) -> NodeFacts | None:
        """One node; None when it does not exist."""
        item = self._get(_node_path(name))
        return None if item is None else node_facts(item)

    def cordon(self, name: str, owner: str, token: int) -> bool:
        """Cordon and mark as ours in one patch; False when the cordon is somebody else's, who keeps it.

        A mark of an earlier run is taken over: that run lost the Lease, its debts are ours. On a cordon that is not
        ours any more it says that we are at work there; see `uncordon`.

        Raises:
            FencedError: RUN_FENCED, the mark is a newer run's: this one stood still while it was fenced.
        """
        is_foreign = False  # in the version that was patched

        def change(item: dict[str, Any]) -> dict[str, Any] | None:
            nonlocal is_foreign
            node = node_facts(item)
            require_no_newer_mark(node, token)
            is_foreign = is_foreign_cordon(node)
            if is_foreign and OWNER not in _annotations(item):
                return None
            marks = {OWNER: owner, TOKEN: str(token)}
            return {"metadata": {"annotations": marks}, "spec": {"unschedulable": True}}

        self._patch_node(name, change)
        return not is_foreign

    def uncordon(self, name: str, owner: str | None = None, token: str | None = None) -> bool:
        """Uncordon and drop our marks if the node is marked (by `owner`, with `token`, if given); False: not ours.

        A cordon that somebody else made since our mark was written stays; the mark goes.
        """

        def change(item: dict[str, Any]) -> dict[str, Any] | None:
            found = _annotations(item)
            if (
                OWNER not in found
                or owner not in (None, found[OWNER])
                or token not in (None, found.get(TOKEN))
            ):
                return None
            unmarked = _without_marks(item)
            is_foreign = is_foreign_cordon(node_facts(item))
            return unmarked if is_foreign else {**unmarked, "spec": {"unschedulable": None}}

        return "spec" in self._patch_node(name, change)

    def drop_node_annotations(self, name: str, owner: str | None, token: str | None) -> bool:
        """Drop the marks a run left on a node, if they are still these (None: absent); False: there is nothing to drop."""

        def change(item: dict[str, Any]) -> dict[str, Any] | None:
            found = _annotations(item)
            is_seen = (found.get(OWNER), found.get(TOKEN)) == (owner, token)
            has_marks = owner is not None or token is not None  # an empty mark is one all the same
            return _without_marks(item) if is_seen and has_marks else None

        return bool(self._patch_node(name, change))

    def annotate_node(self, name: str, values: Mapping[str, str | None]) -> None:
        """Set (None: drop) annotations of a node."""
        self._patch_node(name, lambda item: {"metadata": {"annotations": dict(values)}})

    def _patch_node(
        self, name: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply `change` to exactly the version of the Node it was decided on; what was written, {} when it wants none.

        Under our own name: afterwards the API tells our cordons from those of others.
        """
        for _ in range(_COMPARE_AND_SWAP_TRIES):
            item = self._http.call("GET", _node_path(name))
            patch = change(item)
            if patch is None:
                return {}
            patch["metadata"]["resourceVersion"] = item["metadata"]["resourceVersion"]
            try:
                self._http.call(
                    "PATCH",
                    _node_path(name),
                    query={"fieldManager": FIELD_MANAGER},
                    body=patch,
                    content_type=MERGE_PATCH,
                    judged=(409,),
                )
                return patch
            except StatusError:
                continue
        raise UnreachableError(
            "API_UNREACHABLE",
            f"Node {name} changed under each of {_COMPARE_AND_SWAP_TRIES} attempts to patch it.",
            cause="Something else writes this Node object all the time.",
            next_step=f"Look who writes it: kubectl get node {name} -o yaml --show-managed-fields",
        )

    # -- pods ---------------------------------------------------------------------------------------

    def pods_on(self, node: str) -> tuple[PodFacts, ...]:
        """Pods bound to a node."""
        items = self._http.call("GET", "/api/v1/pods", query={"fieldSelector": f"spec.nodeName={node}"})
        return tuple(pod_facts(i) for i in items["items"])

    def evictable_pod_counts(self) -> dict[str, int]:
        """Pods per node that a drain would evict (no DaemonSet, no mirror)."""
        counts: dict[str, int] = {}
        for item in self._http.call("GET", "/api/v1/pods")["items"]:
            pod, node = pod_facts(item), item["spec"].get("nodeName")
            if node and not pod.is_mirror and pod.controller_kind != "DaemonSet":
                counts[node] = counts.get(node, 0) + 1
        return counts

    def budgets(self) -> tuple[BudgetFacts, ...]:
        """All PodDisruptionBudgets."""
        items = self._http.call("GET", "/apis/policy/v1/poddisruptionbudgets")["items"]
        return tuple(budget_facts(i) for i in items)

    def evict(self, namespace: str, name: str, uid: str) -> Eviction:
        """Ask for an eviction of exactly this pod: a new pod under the same name is left alone."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        try:
            path = f"{_pod_path(namespace, name)}/eviction"
            self._http.call("POST", path, body=body, judged=(403, 404, 409, 429, 500))
        except StatusError as answer:
            return _judge_eviction(answer)
        return Eviction(EvictionOutcome.EVICTED)

    # -- what runs ----------------------------------------------------------------------------------

    def ready(self) -> bool:
        """True when /readyz says ok; False when it says otherwise or does not answer."""
        return self._http.is_ready()

    def component_images(self) -> dict[str, dict[str, str]]:
        """Images of the control-plane pods: node -> component -> image."""
        query = {"labelSelector": "tier=control-plane"}
        found: dict[str, dict[str, str]] = {}
        for item in self._http.call("GET", "/api/v1/namespaces/kube-system/pods", query=query)["items"]:
            component = (item["metadata"].get("labels") or {}).get("component")
            node = item["spec"].get("nodeName")
            if component and node and not item["metadata"].get("deletionTimestamp"):
                found.setdefault(node, {})[component] = item["spec"]["containers"][0]["image"]
        return found

    def component_versions(self) -> dict[str, dict[str, str]]:
        """Versions of the control-plane pods: node -> component -> "1.34.4" (etcd: its image tag)."""
        return {
            node: {name: image_version(image) for name, image in components.items()}
            for node, components in self.component_images().items()
        }

    def kubeadm_config(self) -> dict[str, str]:
        """What kubeadm's ClusterConfiguration says: kubernetesVersion ("1.34.4"), imageRepository; what is absent is absent."""
        item = self._get("/api/v1/namespaces/kube-system/configmaps/kubeadm-config") or {}
        try:
            config = read_yaml((item.get("data") or {}).get("ClusterConfiguration", "")) or {}
        except yaml.YAMLError:
            config = {}
        wanted = ("kubernetesVersion", "imageRepository")
        return {key: str(config[key]).removeprefix("v") for key in wanted if key in config}

    # -- the Lease ----------------------------------------------------------------------------------

    def lease(self) -> LeaseFacts:
        """The cluster's Lease; an empty one when it does not exist yet."""
        return lease_facts(self._get(f"{_LEASES_PATH}/{LEASE_NAME}"))

    def claim_lease(self, owner: str, now: float, seconds: int, expected: LeaseFacts) -> LeaseFacts | None:
        """Take the Lease with token + 1 if it still is as `expected`; None when somebody was faster."""
        spec = {
            "holderIdentity": owner,
            "acquireTime": micro_time(now),
            "renewTime": micro_time(now),
            "leaseDurationSeconds": seconds,
        }
        return self._swap_lease(spec, expected.token + 1, lambda current: current == expected)

    def renew_lease(self, holder: str, token: int, now: float) -> bool:
        """Renew; False when the Lease is no longer ours with this token."""
        return self._keep_trying({"renewTime": micro_time(now)}, holder, token)

    def release_lease(self, holder: str, token: int) -> bool:
        """Empty the holder, keep the token; False when holder or token are others by now."""
        return self._keep_trying(
            {"holderIdentity": None, "renewTime": None, "acquireTime": None}, holder, token
        )

    def bump_token(self, expected: LeaseFacts, wanted: int = 0) -> LeaseFacts | None:
        """Raise the token by one, or to a bigger `wanted`, holder unchanged; None when the Lease changed meanwhile."""
        return self._swap_lease({}, max(wanted, expected.token + 1), lambda current: current == expected)

    def abandon_lease(self, holder: str, token: int) -> bool:
        """Let the Lease expire now, holder and token kept; False when they are others by now."""
        return self._keep_trying({"renewTime": None}, holder, token)

    def fence_lease(self, expected: LeaseFacts, fenced: LeaseFacts) -> LeaseFacts | None:
        """Write the Lease as `fenced` (see domain/takeover.py); None when it changed since `expected`."""
        spec = {
            "holderIdentity": fenced.holder,
            "acquireTime": _micro_time(fenced.acquired),
            "renewTime": _micro_time(fenced.renewed),
            "leaseDurationSeconds": fenced.duration_seconds,
        }
        annotations = {FENCED_OWNER: fenced.fenced_owner, FENCED_AT: _micro_time(fenced.fenced_at)}
        return self._swap_lease(spec, fenced.token, lambda current: current == expected, annotations)

    def _keep_trying(self, spec: Mapping[str, Any], holder: str, token: int) -> bool:
        """Write `spec` while the Lease is ours: parallel tasks of one run renew it too and may be faster."""
        for _ in range(_COMPARE_AND_SWAP_TRIES):
            seen: list[LeaseFacts] = []

            def is_ours(current: LeaseFacts, seen: list[LeaseFacts] = seen) -> bool:
                seen.append(current)
                return (current.holder, current.token) == (holder, token)

            if self._swap_lease(spec, token, is_ours) is not None:
                return True
            if (seen[-1].holder, seen[-1].token) != (holder, token):
                return False
        raise UnreachableError(
            "API_UNREACHABLE",
            f"The Lease changed under each of {_COMPARE_AND_SWAP_TRIES} attempts to write it, and is {holder}'s still.",
            cause="Many tasks of this run renew it at once, and the API is slow.",
            next_step="None: it is asked again.",
        )

    def _swap_lease(
        self,
        spec: Mapping[str, Any],
        token: int,
        wanted: Callable[[LeaseFacts], bool],
        annotations: Mapping[str, str | None] | None = None,
    ) -> LeaseFacts | None:
        """Write the Lease if `wanted` agrees to the version read; None when not, or when it changed meanwhile."""
        item = self._get(f"{_LEASES_PATH}/{LEASE_NAME}")
        if not wanted(lease_facts(item)):
            return None
        is_new = item is None
        item = item or {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE_NAME, "namespace": NAMESPACE},
        }
        merged = {**(item.get("spec") or {}), **spec}
        item["spec"] = {key: value for key, value in merged.items() if value is not None}
        marks = {**_annotations(item), **(annotations or {}), TOKEN: str(token)}
        item["metadata"]["annotations"] = {key: value for key, value in marks.items() if value}
        method, path = ("POST", _LEASES_PATH) if is_new else ("PUT", f"{_LEASES_PATH}/{LEASE_NAME}")
        try:
            return lease_facts(self._http.call(method, path, body=item, judged=(404, 409)))
        except StatusError as answer:
            if answer.status == 404 and is_new:
                raise _namespace_missing() from answer
            return None

    # -- debts and what they are about --------------------------------------------------------------

    def debts(self) -> tuple[Debt, ...]:
        """Everything recorded in the ledger of debts, unreadable entries included."""
        item = self._get(f"{_CONFIG_MAPS_PATH}/{DEBTS_NAME}") or {}
        return tuple(from_text(key, text) for key, text in sorted((item.get("data") or {}).items()))

    def record_debt(self, debt: Debt, instead_of: Debt | None = None) -> bool:
        """Record a debt in place of `instead_of` (None: of nothing); False when the ledger has something else there."""
        return self._swap_debt(debt.key, instead_of, debt)

    def forget_debt(self, debt: Debt) -> bool:
        """Remove exactly this debt; False when the ledger has none, or another one of that subject."""
        return self._swap_debt(debt.key, debt, None)

    def _swap_debt(self, key: str, expected: Debt | None, new: Debt | None) -> bool:
        """Replace one entry if it is as expected; other entries are others' and may change meanwhile."""
        path = f"{_CONFIG_MAPS_PATH}/{DEBTS_NAME}"
        for _ in range(_COMPARE_AND_SWAP_TRIES):
            item = self._get(path)
            is_new = item is None
            item = item or {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": DEBTS_NAME, "namespace": NAMESPACE},
            }
            data = dict(item.get("data") or {})
            if (from_text(key, data[key]) if key in data else None) != expected:
                return False
            data.pop(key, None)
            item["data"] = data if new is None else {**data, key: to_text(new)}
            method, target = ("POST", _CONFIG_MAPS_PATH) if is_new else ("PUT", path)
            try:
                self._http.call(method, target, body=item, judged=(404, 409))
                return True
            except StatusError as answer:
                if answer.status == 404 and is_new:
                    raise _namespace_missing() from answer
        raise UnreachableError(
            "API_UNREACHABLE",
            f"ConfigMap {NAMESPACE}/{DEBTS_NAME} changed under each of {_COMPARE_AND_SWAP_TRIES} attempts to write it.",
            cause="Something else writes it all the time.",
            next_step=f"Look who: kubectl -n {NAMESPACE} get configmap {DEBTS_NAME} -o yaml --show-managed-fields",
        )

    def workload(self, name: WorkloadName) -> WorkloadFacts | None:
        """A Deployment, StatefulSet or CronJob; None when it does not exist."""
        item = self._get(_workload_path(name))
        if item is None:
            return None
        return cron_facts(name, item) if name.kind == "CronJob" else scale_facts(name, item)

    def set_workload(self, found: WorkloadFacts, setting: int | bool) -> bool:
        """Set wanted replicas, or suspend; False when it changed since it was found.

        Deployments and StatefulSets through their Scale: the right to write that is no right to change their pods.
        """
        path = _workload_path(found.name)
        item = self._get(path)
        if item is None or item["metadata"].get("resourceVersion") != found.version:
            return False
        try:
            if found.name.kind == "CronJob":
                patch = {"metadata": {"resourceVersion": found.version}, "spec": {"suspend": setting}}
                self._http.call("PATCH", path, body=patch, content_type=MERGE_PATCH, judged=(404, 409))
            else:
                spec = {**(item.get("spec") or {}), "replicas": setting}
                self._http.call("PUT", path, body={**item, "spec": spec}, judged=(404, 409))
        except StatusError:
            return False
        return True

    # -- our namespace ------------------------------------------------------------------------------

    def namespace_annotations(self) -> dict[str, str]:
        """The nightshift.io/ annotations of our namespace."""
        item = self._get(_NAMESPACE_PATH)
        if item is None:
            raise _namespace_missing()
        return {key: value for key, value in _annotations(item).items() if key.startswith(PREFIX)}

    def set_namespace_annotations(self, values: Mapping[str, str | None]) -> None:
        """Set (None: drop) annotations of our namespace."""
        body = {"metadata": {"annotations": dict(values)}}
        try:
            self._http.call("PATCH", _NAMESPACE_PATH, body=body, content_type=MERGE_PATCH, judged=(404,))
        except StatusError as answer:
            raise _namespace_missing() from answer

    def brake(self) -> dict[str, str]:
        """What the brake's ConfigMap says, see domain/brake.py; empty when there is none."""
        item = self._get(f"{_CONFIG_MAPS_PATH}/{BRAKE_NAME}")
        return {str(key): str(value) for key, value in ((item or {}).get("data") or {}).items()}

    def set_brake(self, data: Mapping[str, str] | None) -> None:
        """Write the brake's ConfigMap as a whole, whatever it said; None: remove it."""
        path = f"{_CONFIG_MAPS_PATH}/{BRAKE_NAME}"
        metadata = {"name": BRAKE_NAME, "namespace": NAMESPACE}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data or {})}
        try:
            if data is None:
                self._http.call("DELETE", path, judged=(404,))
            else:
                self._http.call("PUT", path, body=body, judged=(404,))
        except StatusError:
            if data is not None:
                self._create_brake(body)

    def _create_brake(self, body: Mapping[str, Any]) -> None:
        try:
            self._http.call("POST", _CONFIG_MAPS_PATH, body=body, judged=(404,))
        except StatusError as answer:
            raise _namespace_missing() from answer

    def can_i(self, wanted: Iterable[Permission]) -> tuple[str, ...]:
        """Of the wanted permissions return those that are denied, as readable text.

        Raises:
            UnreachableError: API_UNREACHABLE, the API server is not ready: it would deny everything.
        """
        denied = []
        for permission in wanted:
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": permission.review(),
            }
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            if not self._http.call("POST", path, body=review)["status"].get("allowed"):
                denied.append(str(permission))
        if denied:
            self._http.require_ready("permission reviews")
        return tuple(denied)

    def ask(self, question: ApiQuestion[T]) -> T:
        """Put one question to the API server (read only).

        Raises:
            BlindError: API_ANSWER_UNKNOWN, the answer was not understood.
        """
        return put(question, TransportReader(self._http), self._http.host)

    def kubelet_token(self) -> str:
        """A short-lived token of the service account that may read kubelet configuration, and nothing else."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _KUBELET_TOKEN_SECONDS},
        }
        path = f"{_NAMESPACE_PATH}/serviceaccounts/{KUBELET_READER}/token"
        try:
            return str(self._http.call("POST", path, body=body, judged=(404,))["status"]["token"])
        except StatusError as answer:
            raise ConfigError(
                "NAMESPACE_MISSING",
                f"There is no service account {NAMESPACE}/{KUBELET_READER}.",
                cause="The cluster is not enrolled, or only in part.",
                next_step="Run the enrol command for this cluster again; it is idempotent.",
            ) from answer

    def _get(self, path: str) -> dict[str, Any] | None:
        """One object; None when it does not exist."""
        try:
            item: dict[str, Any] = self._http.call("GET", path, judged=(404,))
        except StatusError:
            return None
        return item


def _without_marks(item: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that drops a run's marks from a node."""
    return {"metadata": {"annotations": {key: None for key in DEBT_ANNOTATIONS if key in _annotations(item)}}}


def _annotations(item: Mapping[str, Any]) -> dict[str, str]:
    """Annotations of an object that may have none."""
    return dict(item["metadata"].get("annotations") or {})


def _micro_time(seconds: float | None) -> str | None:
    return None if seconds is None else micro_time(seconds)


def _node_path(name: str) -> str:
    return f"/api/v1/nodes/{quote(name, safe='')}"


def _pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"


def _workload_path(name: WorkloadName) -> str:
    """Path of a CronJob, or of the Scale of a Deployment or StatefulSet."""
    group, _, path = _WORKLOADS[name.kind]
    below = path.format(quote(name.name, safe=""))
    return f"/apis/{group}/v1/namespaces/{quote(name.namespace, safe='')}/{below}"


def _namespace_missing() -> ConfigError:
    """The namespace our state lives in is not there."""
    return ConfigError(
        "NAMESPACE_MISSING",
        f"There is no namespace {NAMESPACE} in this cluster.",
        cause="The cluster is not enrolled.",
        next_step="Run the enrol command for this cluster; it is idempotent.",
    )


def _judge_eviction(answer: StatusError) -> Eviction:
    """Translate a refused eviction; reasons are told apart by `details.causes`, not by prose where avoidable."""
    causes = (answer.body.get("details") or {}).get("causes") or []
    reasons = {str(c.get("reason")) for c in causes}
    detail = "; ".join(str(c["message"]) for c in causes if c.get("message")) or answer.text
    if answer.status in (404, 409):  # 409: the UID precondition failed, a new pod carries the name
        return Eviction(EvictionOutcome.GONE, detail)
    if answer.status == 429:
        blocked = "DisruptionBudget" in reasons
        return Eviction(EvictionOutcome.BUDGET_BLOCKED if blocked else EvictionOutcome.THROTTLED, detail)
    if answer.status == 403 and "NamespaceTerminating" in reasons:
        return Eviction(EvictionOutcome.NAMESPACE_TERMINATING, detail)
    if answer.status == 500 and "more than one PodDisruptionBudget" not in answer.text:
        return Eviction(EvictionOutcome.THROTTLED, detail)
    return Eviction(EvictionOutcome.REFUSED, detail)
