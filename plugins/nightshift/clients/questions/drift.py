"""Where configuration is written down: manifests, kubeadm's ConfigMaps, the kubelet's files, the add-ons' objects."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader, NodeQuestion
from nightshift.clients.yaml_text import read_yaml
from nightshift.domain.drift import split_words
from nightshift.domain.facts.drift import (
    Addon,
    ClusterSettings,
    ControlPlaneConfig,
    HostVolume,
    KubeletFiles,
    StaticPod,
)

_SYSTEM = "/api/v1/namespaces/kube-system/configmaps"
_DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
_DAEMON_SET = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
_NO_MEANING = ("status", "metadata.creationTimestamp")  # of a manifest: the kubelet sets them


def parse_control_plane_config(text: str) -> ControlPlaneConfig:
    """Read the section `control-plane-config`, see `lib/look/control-plane-config.sh`.

    Raises:
        ValueError: a line, the ClusterConfiguration or a rendered manifest is not understood, or kubeadm's version is
            missing.
    """
    configuration = refusal = kubeadm = ""
    live: dict[str, StaticPod] = {}
    rendered: dict[str, StaticPod] = {}
    for kind, component, content in _lines(text):
        if kind == "configuration":
            configuration = content
        elif kind == "kubeadm":
            kubeadm = content.strip()
        elif kind == "refused":
            refusal = content.strip() or "no reason given"
        elif kind == "rendered":
            rendered[component] = parse_static_pod(content)
        elif kind == "live":
            try:
                live[component] = parse_static_pod(content)
            except (
                ValueError
            ):  # a broken manifest is the static-pod gate's finding; here nothing can be compared
                live[component] = StaticPod((), {})
        else:
            raise ValueError(f"unknown kind of line: {kind!r}")
    if not kubeadm:
        raise ValueError("kubeadm's version is missing")
    fingerprint = hashlib.sha256(configuration.encode()).hexdigest()
    return ControlPlaneConfig(_mapping(configuration), fingerprint, live, rendered, kubeadm, refusal)


@lru_cache(maxsize=256)  # most often the rendered manifest is the live one, and both are the last round's
def parse_static_pod(text: str) -> StaticPod:
    """Read a manifest.

    Raises:
        ValueError: it is no pod with a container.
    """
    document = _mapping(text)
    try:
        spec = document["spec"]
        container, *others = spec["containers"]
        words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
        volumes = dict(_volumes(spec.get("volumes") or [], container.get("volumeMounts") or []))
        env = {item["name"]: item.get("value") for item in container.get("env") or []}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"no pod with a container: {error!r}") from error
    program, flags = split_words(words)
    kept = {
        k: v for k, v in container.items() if k not in ("command", "args", "image", "volumeMounts", "env")
    }
    rest = {
        **document,
        "spec": {**{k: v for k, v in spec.items() if k not in ("volumes", "containers")}, "container": kept},
    }
    if others:
        rest["spec"]["more containers"] = others
    return StaticPod(
        program=program,
        flags={name: tuple(v for n, v in flags if n == name) for name, _ in flags},
        order=tuple(name for name, _ in flags),
        image=str(container.get("image") or ""),
        volumes=volumes,
        env=env,
        rest=dict(_flat(rest)),
    )


def parse_kubelet_files(text: str) -> KubeletFiles:
    """Read the section `kubelet-config`, see `lib/look/kubelet-config.sh`.

    Raises:
        ValueError: a line or a file is not understood.
    """
    found = {kind: (float(seconds), content) for kind, seconds, content in _lines(text)}
    modified, config = found.get("config", (0.0, None))
    flags_modified, flags = found.get("flags", (0.0, ""))
    started, arguments = found.get("process", (0.0, None))
    return KubeletFiles(
        config=None if config is None else _mapping(config),
        config_modified=modified,
        instance=_mapping(found["instance"][1]) if "instance" in found else {},
        flags=_environment_flags(flags),
        flags_modified=flags_modified,
        arguments=None if arguments is None else tuple(arguments.split("\0")[:-1]),
        started=started,
        patches=tuple(found["patches"][1].split("\n")[:-1]) if "patches" in found else (),
    )


def read_cluster_settings(api: ApiReader) -> ClusterSettings:
    """Ask for kubeadm's ConfigMaps and the two add-ons: five objects, whatever the cluster's size.

    Raises:
        ValueError: one of them is not understood.
    """
    kubeadm = _data(api.get(f"{_SYSTEM}/kubeadm-config"), "ClusterConfiguration")
    kubelet = _data(api.get(f"{_SYSTEM}/kubelet-config"), "kubelet")
    return ClusterSettings(
        configuration=None if kubeadm is None else _mapping(kubeadm),
        kubelet=None if kubelet is None else _mapping(kubelet),
        corefile=_data(api.get(f"{_SYSTEM}/coredns"), "Corefile"),
        dns=_addon(api.get(_DEPLOYMENT)),
        proxy=_addon(api.get(_DAEMON_SET)),
    )


def configuration_text(configuration: Mapping[str, Any]) -> str:
    """A ClusterConfiguration as kubeadm reads it."""
    return yaml.safe_dump(dict(configuration), default_flow_style=False, sort_keys=True)


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    for line in text.splitlines():
        kind, second, encoded = line.split("\t")
        try:
            yield kind, second, base64.b64decode(encoded, validate=True).decode(errors="replace")
        except binascii.Error as error:
            raise ValueError(f"not base64: {encoded[:40]!r}") from error


@lru_cache(maxsize=256)
def _mapping(text: str) -> dict[str, Any]:
    """Read one document, the same text once: a thousand workers have one and the same file. Nobody changes the answer."""
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"no mapping: {text[:80]!r}")
    return document


def _volumes(
    volumes: Sequence[Mapping[str, Any]], mounts: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, HostVolume | None]]:
    """Volumes by name with where they are mounted; None for all but a path of the node mounted once as a whole."""
    for volume in volumes:
        name, path = volume["name"], volume.get("hostPath")
        mounted = [mount for mount in mounts if mount["name"] == name]
        plain = len(mounted) == 1 and set(mounted[0]) <= {"name", "mountPath", "readOnly"}
        if path is None or not plain:
            yield name, None
            continue
        mount = mounted[0]
        yield (
            name,
            HostVolume(path["path"], mount["mountPath"], path.get("type") or "", bool(mount.get("readOnly"))),
        )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """All leaves by their path; empty ones and what has no meaning in a manifest left out."""
    if path in _NO_MEANING or value in (None, {}, []):
        return
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _flat(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, json.dumps(value, sort_keys=True, default=str)


def _environment_flags(text: str) -> tuple[str, ...]:
    """The flags in `KUBELET_KUBEADM_ARGS="--a=b --c=d"`, as systemd splits them."""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "KUBELET_KUBEADM_ARGS":
            return tuple(word for part in shlex.split(value) for word in part.split())
    return ()


def _data(config_map: Mapping[str, Any] | None, key: str) -> str | None:
    return None if config_map is None else (config_map.get("data") or {}).get(key)


def _addon(workload: Mapping[str, Any] | None) -> Addon | None:
    if workload is None:
        return None
    try:
        metadata = workload["metadata"]
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no workload with a container: {error!r}") from error
    release = (metadata.get("annotations") or {}).get("meta.helm.sh/release-name")
    manager = (metadata.get("labels") or {}).get("app.kubernetes.io/managed-by")
    return Addon(image, f"Helm release {release}" if release else manager or "")


CONTROL_PLANE_CONFIG = NodeQuestion(section="control-plane-config", parse=parse_control_plane_config)
KUBELET_FILES = NodeQuestion(section="kubelet-config", parse=parse_kubelet_files)
CLUSTER_SETTINGS = ApiQuestion(
    ask=read_cluster_settings,
    permissions=(
        *(
            Permission("get", "", "configmaps", "kube-system", name)
            for name in ("kubeadm-config", "kubelet-config", "coredns")
        ),
        Permission("get", "apps", "deployments", "kube-system", "coredns"),
        Permission("get", "apps", "daemonsets", "kube-system", "kube-proxy"),
    ),
)
