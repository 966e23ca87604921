"""A Kubernetes API server small enough to read: objects by path, resource versions, merge patches, evictions.

It listens on loopback and keeps what KubeApi depends on: a write with an old resourceVersion is a 409.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CUT = 0
_COLLECTIONS = ("nodes", "pods", "poddisruptionbudgets", "leases", "configmaps")


class ApiState:
    """Objects by path; tests put and read them directly."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        # Prepared answers, one per request; CUT in the place of a status: the connection ends without one.
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.queries: list[dict[str, list[str]]] = []  # of the requests, in the same order
        self.denied: set[str] = set()
        self.lock = threading.Lock()
        self._version = 0

    def put(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        """Store an object under a new resourceVersion."""
        self._version += 1
        item.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        self.objects[path] = item
        return item

    def patch_as(self, manager: str, path: str, spec: dict[str, Any]) -> None:
        """Another program changes an object's spec."""
        _object(self, "PATCH", path, {"fieldManager": [manager]}, {"metadata": {}, "spec": spec})

    def add_node(
        self, name: str, *, address: str = "10.0.0.1", is_control_plane: bool = True, **spec: Any
    ) -> None:
        """A Ready node."""
        labels = {"node-role.kubernetes.io/control-plane": ""} if is_control_plane else {}
        status = {
            "addresses": [
                {"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": address},
            ],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.34.4"},
        }
        metadata = {"name": name, "labels": labels}
        self.put(f"/api/v1/nodes/{name}", {"metadata": metadata, "spec": spec, "status": status})

    def add_pod(self, name: str, node: str = "n1", **metadata: Any) -> None:
        """A pod of namespace shop."""
        item = {
            "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", **metadata},
            "spec": {
                "nodeName": node,
                "volumes": [{"emptyDir": {}}],
                "containers": [{"image": "a/b:v1.2.3"}],
            },
            "status": {"phase": "Running"},
        }
        self.put(f"/api/v1/namespaces/shop/pods/{name}", item)

    def add_scale(self, plural: str, name: str, replicas: int) -> None:
        """The Scale of a controller of namespace shop; as the API does, no replicas are not said."""
        spec = {"replicas": replicas} if replicas else {}
        metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}"}
        path = f"/apis/apps/v1/namespaces/shop/{plural}/{name}/scale"
        self.put(path, {"metadata": metadata, "spec": spec, "status": {"replicas": replicas}})


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = _merge(dict(target.get(key) or {}), value)
        else:
            target[key] = value
    return target


def _answer(
    state: ApiState, method: str, path: str, query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    """What the API server says; under its lock."""
    prepared = state.answers.get((method, path))
    if prepared:
        return prepared.pop(0)
    if path == "/version":
        return 200, {"gitVersion": "v1.34.4"}
    if path == "/readyz":
        return 200, "ok"
    if path.endswith("/selfsubjectaccessreviews"):
        resource = body["spec"].get("resourceAttributes", {}).get("resource")
        return 201, {"status": {"allowed": resource not in state.denied}}
    if path.endswith("/eviction"):
        found = state.objects.pop(path.removesuffix("/eviction"), None)
        return (201, {}) if found else (404, {"message": "not found"})
    if path.endswith("/token"):
        return 201, {"status": {"token": "short-lived"}}
    if path.rsplit("/", 1)[-1] in _COLLECTIONS:
        return _collection(state, method, path, query, body)
    return _object(state, method, path, query, body)


def _collection(
    state: ApiState, method: str, path: str, query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    kind = path.rsplit("/", 1)[-1]
    if method == "POST":
        name = f"{path}/{body['metadata']['name']}"
        namespace = path.split("/")[-2]
        if f"/api/v1/namespaces/{namespace}" not in state.objects:
            return 404, {"message": "namespace not found"}
        return (409, {"message": "exists"}) if name in state.objects else (201, state.put(name, body))
    items = [item for p, item in state.objects.items() if f"/{kind}/" in p]
    node = (query.get("fieldSelector") or [""])[0].partition("spec.nodeName=")[2]
    if node:
        items = [i for i in items if i["spec"].get("nodeName") == node]
    return 200, {"items": items}


def _manage(before: dict[str, Any], after: dict[str, Any], manager: str) -> None:
    """As the API server does for one field: whoever changes it is its only manager, whoever removes it is none."""
    if before.get("spec", {}).get("unschedulable") == after.get("spec", {}).get("unschedulable"):
        return
    fields = {"f:spec": {"f:unschedulable": {}}} if "unschedulable" in after["spec"] else {}
    entry = {"manager": manager, "operation": "Update", "fieldsV1": fields}
    after["metadata"]["managedFields"] = [entry] if fields else []


def _object(
    state: ApiState, method: str, path: str, query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    current = state.objects.get(path)
    if current is None:
        return 404, {"message": f"{path} not found"}
    if method == "GET":
        return 200, current
    if method == "DELETE":
        return 200, state.objects.pop(path)
    wanted = body["metadata"].get("resourceVersion")
    if wanted not in (None, current["metadata"]["resourceVersion"]):
        return 409, {"message": "the object has been modified"}
    merged = json.loads(json.dumps(current if method == "PATCH" else body))  # what was sent is kept as it was
    if method == "PATCH":
        _merge(merged, body)
        _manage(current, merged, (query.get("fieldManager") or ["OpenAPI-Generator"])[0])
    return 200, state.put(path, merged)


def _handler(state: ApiState) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with state.lock:
                state.requests.append((self.command, url.path, body))
                state.queries.append(parse_qs(url.query))
                status, answer = _answer(state, self.command, url.path, parse_qs(url.query), body)
                if status == CUT:
                    self.close_connection = True
                    return
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            kind = "text/plain" if isinstance(answer, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names http.server calls

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    return Handler


@contextmanager
def serve(state: ApiState) -> Iterator[str]:
    """Serve `state` on loopback; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
