"""An API server's answers for a large cluster that does not exist: nodes, pods, budgets and workloads, page by page.

Objects have the size and shape of real ones (managed fields included), because their size is what a round of gates
pays for. Documents that do not grow with a cluster (kubeadm's ConfigMaps, APIServices) are given. What is neither does
not exist: a list of it is a 404, as of a resource the server does not know.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

VERSION = "1.34.4"
CONTROL_PLANES = 3
PODS_PER_BUDGET = 100
PODS_PER_APP = 20
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_METRIC_SERIES = 30_000  # as many lines as a busy API server's page has
_CONDITIONS = (
    ("Ready", "True"),
    ("MemoryPressure", "False"),
    ("DiskPressure", "False"),
    ("PIDPressure", "False"),
)


def nodes(count: int) -> list[dict[str, Any]]:
    """Return Node objects, the first ones control planes; each lists as many images as a kubelet reports."""
    return [_node(number) for number in range(count)]


def node_name(number: int) -> str:
    """Name of the n-th node."""
    return f"cp{number + 1}" if number < CONTROL_PLANES else f"w{number - CONTROL_PLANES + 1}"


def _node(number: int) -> dict[str, Any]:
    name = node_name(number)
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if number < CONTROL_PLANES:
        labels["node-role.kubernetes.io/control-plane"] = ""
    images = [
        {"names": [f"registry.example.org/team/app-{n}@sha256:{n:064x}"], "sizeBytes": 10**8}
        for n in range(50)
    ]
    resources = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return {
        "metadata": _metadata(name, labels=labels),
        "spec": {"podCIDR": f"10.{number >> 8}.{number & 255}.0/24"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"10.200.{number >> 8}.{number & 255}"},
                {"type": "Hostname", "address": name},
            ],
            "allocatable": resources,
            "capacity": resources,
            "conditions": [
                {
                    "type": kind,
                    "status": status,
                    "lastHeartbeatTime": "2026-11-28T22:00:00Z",
                    "lastTransitionTime": "2026-11-01T00:00:00Z",
                    "reason": "Kubelet",
                    "message": "as it should be",
                }
                for kind, status in _CONDITIONS
            ],
            "images": images,
            "nodeInfo": {
                "kubeletVersion": f"v{VERSION}",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.12.41",
                "osImage": "Debian GNU/Linux 13 (trixie)",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def pods(count: int, node_count: int) -> list[dict[str, Any]]:
    """Return Pods over all nodes: the control planes' own, then applications of 20 replicas in 50 namespaces."""
    own = [
        _static_pod(name, node_name(number))
        for number in range(CONTROL_PLANES)
        for name in (*_COMPONENTS, "etcd")
    ]
    return [*own, *(_pod(number, node_count) for number in range(count - len(own)))]


def _static_pod(component: str, node: str) -> dict[str, Any]:
    image = "etcd:3.6.5-0" if component == "etcd" else f"{component}:v{VERSION}"
    pod = _pod_object(f"{component}-{node}", "kube-system", node, f"registry.k8s.io/{image}")
    pod["metadata"]["labels"] = {"component": component, "tier": "control-plane"}
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "0" * 32}
    pod["metadata"]["ownerReferences"] = [{"kind": "Node", "name": node, "controller": True}]
    return pod


def _pod(number: int, node_count: int) -> dict[str, Any]:
    app = number // PODS_PER_APP
    node = node_name(CONTROL_PLANES + number % (node_count - CONTROL_PLANES))
    pod = _pod_object(
        f"app-{app}-7f9c-{number}", f"team-{app % 50}", node, f"registry.example.org/app-{app}:v1"
    )
    pod["metadata"]["labels"] = {"app": f"app-{app}", "budget": str(number // PODS_PER_BUDGET)}
    pod["metadata"]["ownerReferences"] = [
        {"kind": "ReplicaSet", "name": f"app-{app}-7f9c", "controller": True}
    ]
    return pod


def _pod_object(name: str, namespace: str, node: str, image: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "env": [{"name": f"SETTING_{n}", "value": "some text of a setting"} for n in range(12)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
    }
    return {
        "metadata": _metadata(name, namespace),
        "spec": {
            "nodeName": node,
            "containers": [container],
            "volumes": [{"name": "token", "projected": {"sources": []}}, {"name": "scratch", "emptyDir": {}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "Ready")
            ],
            "containerStatuses": [{"name": "main", "ready": True, "restartCount": 0, "image": image}],
        },
    }


def budgets(pod_count: int) -> list[dict[str, Any]]:
    """Return one PodDisruptionBudget per hundred pods, each with room for a disruption."""
    return [
        {
            "metadata": _metadata(f"budget-{number}", f"team-{number % 50}"),
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"budget": str(number)}}},
            "status": {
                "disruptionsAllowed": 1,
                "currentHealthy": PODS_PER_BUDGET,
                "desiredHealthy": PODS_PER_BUDGET - 1,
                "expectedPods": PODS_PER_BUDGET,
            },
        }
        for number in range(pod_count // PODS_PER_BUDGET)
    ]


def deployments(pod_count: int) -> list[dict[str, Any]]:
    """Return the Deployments that the applications' pods belong to."""
    return [
        {
            "metadata": _metadata(f"app-{app}", f"team-{app % 50}", {"app": f"app-{app}"}),
            "spec": {
                "replicas": PODS_PER_APP,
                "template": {
                    "spec": {"containers": [{"name": "main", "image": f"registry.example.org/app-{app}:v1"}]}
                },
            },
        }
        for app in range(pod_count // PODS_PER_APP)
    ]


def _metadata(name: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    managed = {
        "f:metadata": {"f:labels": {f"f:key-{n}": {} for n in range(8)}},
        "f:status": {"f:conditions": {}},
    }
    found = {
        "name": name,
        "uid": f"00000000-0000-0000-0000-{abs(hash((name, namespace))) % 10**12:012d}",
        "resourceVersion": "4711",
        "creationTimestamp": "2026-11-01T00:00:00Z",
        "labels": dict(labels or {}),
        "managedFields": [
            {"manager": m, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": managed}
            for m in ("kubelet", "kube-controller-manager")
        ],
    }
    return {**found, "namespace": namespace} if namespace else found


def metrics() -> str:
    """Return the API server's page of metrics: long, and without a deprecated API in use."""
    labels = 'verb="LIST",group="apps",version="v1",resource="r{}",scope="cluster",component="apiserver"'
    series = (
        f'apiserver_request_duration_seconds_bucket{{{labels.format(n // 40)},le="{n % 40}"}} {n}'
        for n in range(_METRIC_SERIES)
    )
    return "\n".join(
        [
            "# TYPE process_start_time_seconds gauge",
            "process_start_time_seconds 1.7e+09",
            "# TYPE apiserver_requested_deprecated_apis gauge",
            "# TYPE apiserver_request_duration_seconds histogram",
            *series,
            "",
        ]
    )


class Fleet:
    """All answers by path, and what was asked for.

    Args:
        node_count: nodes, control planes included.
        pod_count: pods, static ones included.
        documents: what does not grow, by path: objects, and lists that are put before the ones made here.
    """

    def __init__(
        self, node_count: int, pod_count: int, documents: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        given = documents or {}
        self.objects = {path: document for path, document in given.items() if "items" not in document}
        made = {
            "/api/v1/nodes": nodes(node_count),
            "/api/v1/pods": pods(pod_count, node_count),
            "/apis/policy/v1/poddisruptionbudgets": budgets(pod_count),
            "/apis/apps/v1/deployments": deployments(pod_count),
        }
        lists = {path: list(document["items"]) for path, document in given.items() if "items" in document}
        self.collections = lists | {path: [*lists.get(path, ()), *items] for path, items in made.items()}
        self.metrics = metrics().encode()
        self.calls: Counter[str] = Counter()
        self.bytes_sent = 0

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, str, bytes]:
        """Status, content type and body of one GET; a list honours limit, continue and plain selectors."""
        if path in ("/metrics", "/readyz", "/livez"):
            return 200, "text/plain", self.metrics if path == "/metrics" else b"ok"
        if path in self.objects:
            return 200, "application/json", json.dumps(self.objects[path]).encode()
        items = self._items(path)
        if items is None:
            return 404, "application/json", b'{"kind":"Status","code":404,"message":"not found"}'
        wanted = [item for item in items if _is_selected(item, query)]
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0)
        page = wanted[start : start + limit] if limit else wanted[start:]
        more = str(start + limit) if limit and start + limit < len(wanted) else ""
        metadata = {"resourceVersion": "4711", **({"continue": more} if more else {})}
        return (
            200,
            "application/json",
            json.dumps({"kind": "List", "metadata": metadata, "items": page}).encode(),
        )

    def _items(self, path: str) -> list[dict[str, Any]] | None:
        """A collection, also of one namespace."""
        if path in self.collections:
            return self.collections[path]
        head, _, rest = path.partition("/namespaces/")
        namespace, _, resource = rest.partition("/")
        found = self.collections.get(f"{head}/{resource}")
        return None if found is None else [i for i in found if i["metadata"].get("namespace") == namespace]


def _is_selected(item: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Equality selectors on labels, and spec.nodeName."""
    labels = item["metadata"].get("labels") or {}
    wanted = [pair.split("=", 1) for pair in query.get("labelSelector", "").split(",") if "=" in pair]
    field, _, value = query.get("fieldSelector", "").partition("=")
    if field == "spec.nodeName" and item["spec"].get("nodeName") != value:
        return False
    return all(labels.get(key) == text for key, text in wanted)


@contextmanager
def served(fleet: Fleet) -> Iterator[str]:
    """Serve the fleet on the loopback; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            status, kind, body = fleet.answer(parts.path, query)
            fleet.calls[f"GET {parts.path}"] += 1
            self._say(status, kind, body)

        def do_POST(self) -> None:
            """A token for the kubelets is all that a round creates."""
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fleet.calls[f"POST {self.path}"] += 1
            self._say(201, "application/json", json.dumps({"status": {"token": "made up"}}).encode())

        def _say(self, status: int, kind: str, body: bytes) -> None:
            fleet.bytes_sent += len(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
