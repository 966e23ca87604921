"""Which kube-proxy the DaemonSet of kubeadm wants, and which one each node's pod was made with: one object and one list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.clients.kube_objects import image_version
from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.domain.facts.versions import KubeProxy

_NAME = "kube-proxy"
_DAEMON_SET = f"/apis/apps/v1/namespaces/kube-system/daemonsets/{_NAME}"
_PODS = f"/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3D{_NAME}"
_OVER = ("Succeeded", "Failed")  # phases of pods that run nothing any more


def read_kube_proxy(api: ApiReader) -> KubeProxy:
    """Read both; a pod that goes or has ended is passed over.

    A pod's own image counts and not the DaemonSet's: with updateStrategy OnDelete, or in the middle of a rollout, they differ.
    """
    daemon_set = api.get(_DAEMON_SET)
    wanted = None if daemon_set is None else _version(daemon_set["spec"]["template"]["spec"])
    return KubeProxy(
        wanted, {pod["spec"]["nodeName"]: _version(pod["spec"]) for pod in api.list(_PODS) if _runs(pod)}
    )


def _runs(pod: Mapping[str, Any]) -> bool:
    is_over = (pod.get("status") or {}).get("phase") in _OVER
    return bool(pod["spec"].get("nodeName")) and not is_over and not pod["metadata"].get("deletionTimestamp")


def _version(spec: Mapping[str, Any]) -> str:
    containers = spec["containers"]  # a sidecar may come first
    own = next((c for c in containers if c.get("name") == _NAME), containers[0])
    return image_version(str(own["image"]))


KUBE_PROXY_QUESTION = ApiQuestion(
    read_kube_proxy,
    (
        Permission("get", "apps", "daemonsets", "kube-system", _NAME),
        Permission("list", "", "pods", "kube-system"),
    ),
)
