"""What kubeadm wrote down about the cluster in kube-system, and the state of the add-ons it looks after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.clients.yaml_text import read_yaml
from nightshift.domain.facts.versions import DEFAULT_REGISTRY, KubeadmCluster

_MAPS = "/api/v1/namespaces/kube-system/configmaps"
_COREDNS = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
_COMPONENTS = {
    "apiServer": "kube-apiserver",
    "controllerManager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
}


def read_kubeadm_cluster(api: ApiReader) -> KubeadmCluster:
    """Read kubeadm-config, the kubelets', kube-proxy's and CoreDNS's configuration, and CoreDNS's image.

    Raises:
        ValueError: kubeadm-config is absent or not understood.
    """
    config = _document(api.get(f"{_MAPS}/kubeadm-config"), "ClusterConfiguration")
    if config is None:
        raise ValueError("there is no ClusterConfiguration in ConfigMap kube-system/kubeadm-config")
    etcd = _mapping(config, "etcd")
    local, dns = _mapping(etcd, "local"), _mapping(config, "dns")
    extra = {name: _arguments(_mapping(config, key)) for key, name in _COMPONENTS.items()}
    proxy = _document(api.get(f"{_MAPS}/kube-proxy"), "config.conf")
    kubelet = _document(api.get(f"{_MAPS}/kubelet-config"), "kubelet")
    coredns = api.get(_COREDNS)
    return KubeadmCluster(
        api_version=str(config.get("apiVersion", "")),
        feature_gates=_texts(_mapping(config, "featureGates")),
        extra_args={**extra, "etcd": _arguments(local)},
        image_repository=str(config.get("imageRepository") or DEFAULT_REGISTRY),
        etcd_image=_image(local),
        dns_image=_image(dns),
        external_etcd="external" in etcd,
        proxy_mode=None if proxy is None else str(proxy.get("mode") or ""),
        proxy_gates={} if proxy is None else _texts(_mapping(proxy, "featureGates")),
        kubelet_gates={} if kubelet is None else _texts(_mapping(kubelet, "featureGates")),
        coredns_version=None if dns.get("disabled") else _coredns_version(coredns),
        corefile=_corefile(api) if coredns else "",
    )


def _document(configmap: Mapping[str, Any] | None, key: str) -> dict[str, Any] | None:
    """The YAML under one key of a ConfigMap; None when there is none."""
    text = ((configmap or {}).get("data") or {}).get(key)
    if text is None:
        return None
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{key} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{key} is no mapping")
    return document


def _corefile(api: ApiReader) -> str:
    return str((((api.get(f"{_MAPS}/coredns") or {}).get("data")) or {}).get("Corefile", ""))


def _coredns_version(deployment: Mapping[str, Any] | None) -> str | None:
    if deployment is None:
        return None
    image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2].removeprefix("v")


def _arguments(component: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """v1beta4 writes a list of names and values, v1beta3 a mapping."""
    given = component.get("extraArgs") or ()
    if isinstance(given, Mapping):
        return tuple((str(name), str(value)) for name, value in given.items())
    return tuple((str(item["name"]), str(item.get("value", ""))) for item in given)


def _image(component: Mapping[str, Any]) -> tuple[str, str]:
    return str(component.get("imageRepository") or ""), str(component.get("imageTag") or "")


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is no mapping")
    return value


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


KUBEADM_CLUSTER_QUESTION = ApiQuestion(
    read_kubeadm_cluster,
    (
        *(
            Permission("get", "", "configmaps", "kube-system", name)
            for name in ("kubeadm-config", "kubelet-config", "kube-proxy", "coredns")
        ),
        Permission("get", "apps", "deployments", "kube-system", "coredns"),
    ),
)
