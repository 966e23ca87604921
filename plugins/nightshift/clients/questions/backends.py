"""Who answers behind a webhook: the Service it names, and that Service's ready endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiReader
from nightshift.domain.facts.webhooks import Backend

PERMISSIONS = (
    Permission("get", "", "services"),
    Permission("list", "discovery.k8s.io", "endpointslices"),
)


def find_backends(api: ApiReader, client_configs: Iterable[Mapping[str, Any]]) -> dict[str, Backend]:
    """Look at everything these `clientConfig`s name; by `backend_key`. One list of endpoints per namespace."""
    found: dict[str, Backend] = {}
    slices: dict[str, list[dict[str, Any]]] = {}
    for config in client_configs:
        key, service = backend_key(config), config.get("service")
        if key in found:
            continue
        if not service:
            found[key] = Backend(urlsplit(str(config["url"])).hostname or str(config["url"]), is_inside=False)
            continue
        namespace = str(service["namespace"])
        if namespace not in slices:
            slices[namespace] = list(api.list(_slices_path(namespace)))
        item = api.get(_service_path(namespace, str(service["name"])))
        found[key] = _behind(namespace, str(service["name"]), item, slices[namespace])
    return found


def backend_key(client_config: Mapping[str, Any]) -> str:
    """What two webhooks with the same backend have in common."""
    service = client_config.get("service")
    return f"{service['namespace']}/{service['name']}" if service else str(client_config["url"])


def _behind(
    namespace: str, name: str, service: Mapping[str, Any] | None, slices: Iterable[Mapping[str, Any]]
) -> Backend:
    address = f"service {namespace}/{name}"
    if service is None:
        return Backend(address, is_inside=True, exists=False)
    if service.get("spec", {}).get("type") == "ExternalName":
        return Backend(f"{address} ({service['spec'].get('externalName')})", is_inside=False)
    mine = [s for s in slices if (s["metadata"].get("labels") or {}).get(_SERVICE_LABEL) == name]
    # Both families of a dual-stack Service list the same pods.
    ready = {
        _identity(endpoint): str(endpoint.get("nodeName") or "")
        for part in mine
        for endpoint in part.get("endpoints") or ()
        if _is_ready(endpoint)
    }
    return Backend(address, is_inside=True, ready=tuple(sorted(ready.values())))


def _is_ready(endpoint: Mapping[str, Any]) -> bool:
    """The API says of a condition that is not there: take it as true."""
    return (endpoint.get("conditions") or {}).get("ready") is not False


def _identity(endpoint: Mapping[str, Any]) -> str:
    target = endpoint.get("targetRef") or {}
    return str(target.get("uid") or ",".join(endpoint.get("addresses") or ()))


_SERVICE_LABEL = "kubernetes.io/service-name"


def _slices_path(namespace: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"


def _service_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/services/{quote(name, safe='')}"
