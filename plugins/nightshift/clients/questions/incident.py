"""What the API knows about a failure, as the files of an incident's folder `cluster/`: bounded, without secrets, never a Secret.

Only what the product may read anyway, and the events of two namespaces: kube-system has the control plane's, default the
nodes'.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.domain.redaction import redact, redact_object

_EVENT_NAMESPACES = ("kube-system", "default")
# ConfigMap -> the document in it, which is the whole file.
_DOCUMENTS = {
    "kubeadm-config": "ClusterConfiguration",
    "kubelet-config": "kubelet",
    "kube-proxy": "config.conf",
}
_MOST_EVENTS = 400  # the newest
_MOST_OBJECTS = 500
_SYSTEM = "/api/v1/namespaces/kube-system"


def _read_events(api: ApiReader) -> str:
    found = [e for name in _EVENT_NAMESPACES for e in api.list(f"/api/v1/namespaces/{name}/events")]
    found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return _dumped(found[-_MOST_EVENTS:])


def _read_nodes(api: ApiReader) -> str:
    return _dumped([_without(node, "status", "images") for node in _listed(api, "/api/v1/nodes")])


def _read_pods(api: ApiReader) -> str:
    return _dumped(_listed(api, f"{_SYSTEM}/pods"))


def _read_budgets(api: ApiReader) -> str:
    return _dumped(_listed(api, "/apis/policy/v1/poddisruptionbudgets"))


def _config_map(name: str, key: str) -> Callable[[ApiReader], str]:
    def read(api: ApiReader) -> str:
        text = ((api.get(f"{_SYSTEM}/configmaps/{name}") or {}).get("data") or {}).get(key)
        if text is None:
            raise ValueError(f"there is no {key} in ConfigMap kube-system/{name}")
        return _redacted(str(text))

    return read


def _redacted(text: str) -> str:
    """A document of YAML without its secrets: parsed, so that no way of writing them hides one."""
    try:
        return yaml.safe_dump(redact_object(yaml.safe_load(text)), sort_keys=False)
    except (yaml.YAMLError, RecursionError):
        return redact(text)


def _listed(api: ApiReader, path: str) -> list[dict[str, Any]]:
    return [item for _, item in zip(range(_MOST_OBJECTS), api.list(path), strict=False)]


def _without(item: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    kept = {k: v for k, v in (item.get(section) or {}).items() if k != key}
    return {**item, section: kept}


def _dumped(items: list[Any]) -> str:
    """As `kubectl get -o json` writes a list."""
    return json.dumps({"kind": "List", "items": redact_object(items)}, indent=1, sort_keys=True) + "\n"


# Path in the incident -> how it is read; what is asked first is what a diagnosis reads first.
CLUSTER_FILES: Mapping[str, ApiQuestion[str]] = {
    "cluster/events.json": ApiQuestion(
        _read_events, tuple(Permission("list", "", "events", name) for name in _EVENT_NAMESPACES)
    ),
    "cluster/nodes.json": ApiQuestion(_read_nodes, (Permission("list", "", "nodes"),)),
    "cluster/kube-system-pods.json": ApiQuestion(_read_pods, (Permission("list", "", "pods"),)),
    "cluster/budgets.json": ApiQuestion(
        _read_budgets, (Permission("list", "policy", "poddisruptionbudgets"),)
    ),
    **{
        f"cluster/{name}.yaml": ApiQuestion(
            _config_map(name, key), (Permission("get", "", "configmaps", "kube-system", name),)
        )
        for name, key in _DOCUMENTS.items()
    },
}


def evidence_permissions() -> tuple[Permission, ...]:
    """What reading all of it takes: enrolment grants it, and no night refuses to begin without it."""
    wanted = {permission for question in CLUSTER_FILES.values() for permission in question.permissions}
    return tuple(sorted(wanted, key=str))
