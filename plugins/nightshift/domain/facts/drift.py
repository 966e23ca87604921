"""How control planes, kubelets and add-ons are configured, in each of the places where that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightshift.domain.round import NodeTopic, Topic


@dataclass(frozen=True)
class HostVolume:
    """A directory or file of the node that a static pod sees; what kubeadm calls an extra volume."""

    host_path: str
    mount_path: str
    path_type: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class StaticPod:
    """What a manifest says, as far as kubeadm writes it.

    Args:
        program: the words in front of the first flag.
        flags: name without dashes -> values, in order; a flag without a value has "true".
        order: names of the flags as they are written.
        image: with its tag.
        volumes: by name; None when it is of a kind that kubeadm-config has no place for.
        env: name -> value; None when it is taken from elsewhere.
        rest: everything else, by its path ("spec.hostNetwork"), as JSON text.
    """

    program: tuple[str, ...]
    flags: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...] = ()
    image: str = ""
    volumes: Mapping[str, HostVolume | None] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)
    rest: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ControlPlaneConfig:
    """One control-plane node: what is written there, and what its kubeadm would write in its place.

    Args:
        configuration: the ClusterConfiguration in kubeadm-config.
        fingerprint: SHA-256 of its text, hex.
        live: component -> its manifest.
        rendered: component -> the manifest kubeadm would write, patches included.
        refusal: kubeadm's words when it refused to write any; "" otherwise.
    """

    configuration: Mapping[str, Any]
    fingerprint: str
    live: Mapping[str, StaticPod]
    rendered: Mapping[str, StaticPod]
    refusal: str = ""


@dataclass(frozen=True)
class KubeletFiles:
    """One node's kubelet.

    Args:
        config: /var/lib/kubelet/config.yaml; None = absent.
        config_modified: seconds since the epoch on the node's clock.
        instance: instance-config.yaml, which kubeadm lays over it; empty when absent.
        flags: of kubeadm-flags.env, in order.
        flags_modified: seconds since the epoch on the node's clock.
        arguments: the running process's; None = no kubelet runs.
        started: when it started, seconds since the epoch on the node's clock; within a second.
        patches: names of the files in kubeadm's patches directory.
    """

    config: Mapping[str, Any] | None
    config_modified: float
    instance: Mapping[str, Any]
    flags: tuple[str, ...]
    flags_modified: float
    arguments: tuple[str, ...] | None
    started: float
    patches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Addon:
    """CoreDNS' Deployment or kube-proxy's DaemonSet.

    Args:
        image: of its first container.
        manager: who says that it manages it ("Helm release dns"); "" when nobody does.
    """

    image: str
    manager: str = ""


@dataclass(frozen=True)
class ClusterSettings:
    """What kubeadm keeps in the cluster, and what it would replace there.

    Args:
        configuration: the ClusterConfiguration; None = no ConfigMap kubeadm-config.
        kubelet: the KubeletConfiguration in ConfigMap kubelet-config; None = absent.
        corefile: None = no ConfigMap coredns.
        dns: CoreDNS' Deployment; None = absent.
        proxy: kube-proxy's DaemonSet; None = absent.
    """

    configuration: Mapping[str, Any] | None
    kubelet: Mapping[str, Any] | None
    corefile: str | None
    dns: Addon | None
    proxy: Addon | None


CONTROL_PLANE_CONFIG = NodeTopic[ControlPlaneConfig](
    "control_plane_config", "what kubeadm would write for a control plane", only_control_planes=True
)
KUBELET_FILES = NodeTopic[KubeletFiles]("kubelet_files", "the kubelet's files and flags")
CLUSTER_SETTINGS = Topic[ClusterSettings]("cluster_settings", "kubeadm's ConfigMaps and add-ons")
