"""What a new minor may no longer bear: the table's entries, and the things on nodes and cluster they are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from nightshift.domain.round import NodeTopic, Topic

DEFAULT_REGISTRY = "registry.k8s.io"  # kubeadm's


class KillerKind(StrEnum):
    """What an entry of the table looks for."""

    FLAG = "flag"  # one of `names` on the command line of one of `components`
    FEATURE_GATE = "feature_gate"  # one of `names` set on a component; with `value`, only when set to that
    KUBEADM_GATE = "kubeadm_gate"  # one of `names` in kubeadm's own featureGates
    KUBEADM_API = "kubeadm_api"  # kubeadm-config is written in one of `names`
    CGROUP_V1 = "cgroup_v1"  # unless the kubelet's configuration sets one of `names` to false
    KERNEL = "kernel"  # older than `below`, and not of one of the series `names`
    RUNTIME = "runtime"  # a container runtime of `components` older than `below`
    ETCD = "etcd"  # a member older than `below`
    COREDNS_VERSION = "coredns_version"  # runs a version that is not in `names`
    COREDNS_PLUGIN = "coredns_plugin"  # the Corefile uses a plugin that is not in `names`
    PROXY_MODE = "proxy_mode"  # kube-proxy runs in one of `names`


@dataclass(frozen=True)
class Killer:
    """One entry of include/tables/version_killers.yaml.

    Args:
        name: unique, lower-case with dashes.
        kind: what is looked for; see `KillerKind` for the meaning of `components`, `names`, `value` and `below`.
        since: the minor it bites from, "1.35"; hops to older minors do not care.
        until: the last minor it bites in; None = still.
        outcome: "block", or "warn" when the minor still bears it.
        message: what happens, as the end of a sentence that begins with what was found.
        remedy: what to do.
        source: address of what says so.
        except_files: places where the flag does no harm, because kubeadm takes it away there itself.
        preflight: kubeadm's preflight check that refuses it; no harm when the policy has it ignored.
    """

    name: str
    kind: KillerKind
    since: str
    outcome: Literal["block", "warn"]
    message: str
    remedy: str
    source: str
    until: str | None = None
    components: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    value: str | None = None
    below: str | None = None
    except_files: tuple[str, ...] = ()
    preflight: str | None = None


@dataclass(frozen=True)
class KubeletFlag:
    """One flag the next kubelet is started with, and where it is written: a file, or "kubelet.service"."""

    name: str
    value: str
    place: str


@dataclass(frozen=True)
class Platform:
    """What a node brings along under its kubelet.

    Args:
        cgroup: "v1" or "v2".
        kernel: release, "6.1.0-31-amd64".
        runtime: "containerd" or "cri-o"; None when the socket of neither is there.
        runtime_version: "1.6.20".
        kubelet_flags: what the next start of the kubelet brings.
        kubelet_config: the file the next kubelet is given, with the files of its --config-dir laid over it; None = absent.
    """

    cgroup: str
    kernel: str
    runtime: str | None
    runtime_version: str | None
    kubelet_flags: tuple[KubeletFlag, ...] = ()
    kubelet_config: Mapping[str, object] | None = field(default_factory=dict)


@dataclass(frozen=True)
class KubeadmCluster:
    """What kubeadm wrote down about the cluster, and the two add-ons it looks after.

    Args:
        api_version: of ClusterConfiguration, "kubeadm.k8s.io/v1beta4".
        feature_gates: kubeadm's own.
        extra_args: component ("kube-apiserver", …, "etcd") -> flags (name, value) kubeadm writes into its manifest.
        image_repository: where the images come from, "registry.k8s.io".
        etcd_image: (repository, tag) that override kubeadm's own; "" = kubeadm's.
        dns_image: the same for CoreDNS.
        external_etcd: etcd is not kubeadm's.
        proxy_mode: of kube-proxy, "" = its default; None = kubeadm looks after no kube-proxy.
        proxy_gates: kube-proxy's feature gates.
        kubelet_gates: those every kubelet gets with the upgrade, from the ConfigMap kubelet-config.
        coredns_version: "1.12.1"; None = kubeadm looks after no CoreDNS.
        corefile: its configuration.
    """

    api_version: str
    feature_gates: Mapping[str, str] = field(default_factory=dict)
    extra_args: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    image_repository: str = DEFAULT_REGISTRY
    etcd_image: tuple[str, str] = ("", "")
    dns_image: tuple[str, str] = ("", "")
    external_etcd: bool = False
    proxy_mode: str | None = None
    proxy_gates: Mapping[str, str] = field(default_factory=dict)
    kubelet_gates: Mapping[str, str] = field(default_factory=dict)
    coredns_version: str | None = None
    corefile: str = ""


@dataclass(frozen=True)
class KubeProxy:
    """The kube-proxy that kubeadm lays out: DaemonSet kube-system/kube-proxy.

    Args:
        wanted: the version its image's tag says, "1.34.4"; "" = the tag says none; None = there is no such DaemonSet.
        running: node -> the same of the image that its pod was made with.
    """

    wanted: str | None
    running: Mapping[str, str] = field(default_factory=dict)


KILLERS = Topic[tuple[Killer, ...]]("killers", "the table of what new minors no longer bear")
PLATFORM = NodeTopic[Platform]("platform", "cgroups, kernel, container runtime and the kubelet's flags")
KUBEADM_CLUSTER = Topic[KubeadmCluster](
    "kubeadm_cluster", "kubeadm's configuration of the cluster, kube-proxy's and CoreDNS's"
)
KUBE_PROXY = Topic[KubeProxy]("kube_proxy", "the versions of kube-proxy")
