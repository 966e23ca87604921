"""Answers about a node's platform and packages, the cluster's configuration and its workloads, in recorded form."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from nightshift.clients.permissions import Permission
from nightshift.clients.questions.kube_proxy import read_kube_proxy
from nightshift.clients.questions.kubeadm_cluster import KUBEADM_CLUSTER_QUESTION, read_kubeadm_cluster
from nightshift.clients.questions.packages import parse_packages
from nightshift.clients.questions.platform import parse_platform
from nightshift.clients.questions.supply import parse_supply
from nightshift.clients.questions.workload_images import read_workload_images
from nightshift.domain.facts.addons import WorkloadImage
from nightshift.domain.facts.packages import BrokenPackage, LockHolder
from nightshift.domain.facts.supply import Supplied, SupplyItem
from nightshift.domain.facts.versions import KubeletFlag, KubeProxy

# As a node of kubeadm 1.34.4 on Debian 12 says it.
FLAGS_ENV = (
    'KUBELET_KUBEADM_ARGS="--pod-infra-container-image=registry.k8s.io/pause:3.10.1 --node-ip=10.217.0.11"\n'
)
UNIT = (
    "ExecStart={ path=/usr/bin/kubelet ; argv[]=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS "
    "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS --v=2 ; ignore_errors=no ; pid=100 ; code=(null) ; status=0/0 }\n"
    'Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf '
    '--kubeconfig=/etc/kubernetes/kubelet.conf" KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\n'
)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def platform(**changes: str) -> str:
    lines = {
        "cgroup": "cgroup2fs",
        "kernel": "6.1.0-31-amd64",
        "runtime": "containerd containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
        "flags-env": encoded(FLAGS_ENV),
        "default": encoded("KUBELET_EXTRA_ARGS=\n"),
        "config": encoded("failCgroupV1: false\nfeatureGates: {Foo: true}\n"),
        "unit": encoded(UNIT),
        **changes,
    }
    return "".join(f"{key}\t{value}\n" for key, value in lines.items())


def test_platform() -> None:
    found = parse_platform(platform())
    assert (found.cgroup, found.kernel) == ("v2", "6.1.0-31-amd64")
    assert (found.runtime, found.runtime_version) == ("containerd", "1.6.20")
    assert found.kubelet_config == {"failCgroupV1": False, "featureGates": {"Foo": True}}
    flags = set(found.kubelet_flags)
    assert (
        KubeletFlag("pod-infra-container-image", "registry.k8s.io/pause:3.10.1", "kubeadm-flags.env") in flags
    )
    assert KubeletFlag("config", "/var/lib/kubelet/config.yaml", "kubelet.service") in flags
    assert KubeletFlag("v", "2", "kubelet.service") in flags
    assert {f.name for f in flags if f.place == "kubelet.service"} == {
        "v", "bootstrap-kubeconfig", "kubeconfig", "config"
    }  # fmt: skip


def test_drop_ins_are_laid_over_the_file_in_order() -> None:
    first = encoded("featureGates: {Bar: true}\nmaxPods: 50\nevictionHard: {a: 1%}\n")
    second = encoded("# nothing\n")
    third = encoded("featureGates: {Foo: false}\nclusterDNS: [10.0.0.10]\nmaxPods: 60\n")
    text = platform() + "".join(f"drop-in\t{content}\n" for content in (first, second, third))
    assert parse_platform(text).kubelet_config == {
        "failCgroupV1": False,
        "featureGates": {"Foo": False, "Bar": True},
        "maxPods": 60,
        "evictionHard": {"a": "1%"},
        "clusterDNS": ["10.0.0.10"],
    }
    assert parse_platform(platform()).kubelet_config == {"failCgroupV1": False, "featureGates": {"Foo": True}}


def test_a_kubelet_without_a_file_is_told_from_one_that_says_nothing() -> None:
    assert parse_platform(platform(config="")).kubelet_config is None
    assert parse_platform(platform(config="") + f"drop-in\t{encoded('maxPods: 1')}\n").kubelet_config is None
    assert parse_platform(platform(config=encoded("{}"))).kubelet_config == {}


@pytest.mark.parametrize(
    ("said", "runtime", "version"),
    [
        ("containerd containerd github.com/containerd/containerd v1.7.24 88bf19b2105c8b17560993bee28a01ddc2f97182", "containerd", "1.7.24"),
        ("containerd containerd containerd.io v2.1.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376", "containerd", "2.1.4"),
        ("cri-o crio version 1.34.1", "cri-o", "1.34.1"),
        ("", None, None),
    ],
)  # fmt: skip
def test_runtimes(said: str, runtime: str | None, version: str | None) -> None:
    found = parse_platform(platform(runtime=said))
    assert (found.runtime, found.runtime_version) == (runtime, version)


def test_extra_arguments_in_either_form() -> None:
    text = '# mine\nKUBELET_EXTRA_ARGS="--feature-gates=A=true,B=false --v 4 --bare"\n'
    flags = parse_platform(platform(default=encoded(text))).kubelet_flags
    mine = {f.name: f.value for f in flags if f.place == "/etc/default/kubelet"}
    assert mine == {"feature-gates": "A=true,B=false", "v": "4", "bare": ""}


@pytest.mark.parametrize(
    "changes",
    [
        {"cgroup": ""},
        {"cgroup": "ext2/ext3"},
        {"runtime": "containerd"},
        {"config": encoded("- a list")},
        {"config": encoded("a: [")},
        {"drop-in": encoded("a: [")},
        {"unit": "not base64!"},
    ],
)
def test_a_platform_that_is_not_understood(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_platform(platform(**changes))


def test_a_platform_with_a_line_missing() -> None:
    with pytest.raises(KeyError):
        parse_platform(platform().replace("kernel\t", "colonel\t"))


def test_packages() -> None:
    text = (
        "lock\t812\t42\t/var/lib/dpkg/lock-frontend\t/usr/bin/python3 /usr/bin/unattended-upgrade \n"
        "broken\tnslab-broken\thalf-configured\nheld\tkubeadm\nheld\tkubelet\njournal\tupdates\n"
        "unattended\t812 /usr/bin/python3 /usr/bin/unattended-upgrade\nreboot\tyes\n"
        "reboot-package\tlinux-base\nreboot-package\tlinux-base\nend\n"
    )
    found = parse_packages(text)
    command = "/usr/bin/python3 /usr/bin/unattended-upgrade"
    assert found.locks == (LockHolder(812, command, "/var/lib/dpkg/lock-frontend", 42.0),)
    assert found.broken == (BrokenPackage("nslab-broken", "half-configured"),)
    assert found.held == ("kubeadm", "kubelet")
    assert found.has_journal
    assert found.needs_reboot
    assert found.unattended == (f"812 {command}",)
    assert found.reboot_packages == ("linux-base",)


@pytest.mark.parametrize("text", ["", "held\tkubeadm\n", "other\tx\nend\n", "lock\t1\nend\n"])
def test_half_an_answer_about_packages(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_packages(text)


def test_supply() -> None:
    text = "repository\t1.35\tfound\thttp://r/v1.35/deb/\nimage\tr/a:1\tmissing\tr answers 404\nend\n"
    assert parse_supply(text) == (
        SupplyItem("repository", "1.35", Supplied.FOUND, "http://r/v1.35/deb/"),
        SupplyItem("image", "r/a:1", Supplied.MISSING, "r answers 404"),
    )


@pytest.mark.parametrize(
    "text", ["", "image\ta\tfound\t\n", "image\ta\tperhaps\t\nend\n", "thing\ta\tfound\t\nend\n"]
)
def test_half_an_answer_about_supply(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_supply(text)


class Api:
    """API documents by path."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        return iter(self.documents.get(path, ()))

    def get(self, path: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.documents.get(path)
        return found

    def text(self, path: str) -> str:
        raise AssertionError(path)


MAPS = "/api/v1/namespaces/kube-system/configmaps"
COREDNS = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"


def workload(namespace: str, name: str, *images: str) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"template": {"spec": {"containers": containers}}},
    }


def cluster(config: str, proxy: str = "mode: iptables\n") -> Api:
    return Api(
        {
            f"{MAPS}/kubeadm-config": {"data": {"ClusterConfiguration": config}},
            f"{MAPS}/kube-proxy": {"data": {"config.conf": proxy}},
            f"{MAPS}/coredns": {"data": {"Corefile": ".:53 {\n    errors\n}\n"}},
            COREDNS: workload("kube-system", "coredns", "registry.k8s.io/coredns/coredns:v1.12.1"),
        }
    )


# As kubeadm 1.34.4 writes it.
STOCK = """\
apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
controllerManager: {}
dns: {}
etcd:
  local:
    dataDir: /var/lib/etcd
imageRepository: registry.k8s.io
kind: ClusterConfiguration
kubernetesVersion: v1.34.4
proxy: {}
scheduler: {}
"""


def test_of_deployments_it_asks_for_coredns_only() -> None:
    asked = [p for p in KUBEADM_CLUSTER_QUESTION.permissions if p.resource == "deployments"]
    assert asked == [Permission("get", "apps", "deployments", "kube-system", "coredns")]


def test_stock_kubeadm_configuration() -> None:
    found = read_kubeadm_cluster(cluster(STOCK))
    assert found.api_version == "kubeadm.k8s.io/v1beta4"
    assert set(found.extra_args.values()) == {()}
    assert (found.image_repository, found.etcd_image, found.external_etcd) == (
        "registry.k8s.io",
        ("", ""),
        False,
    )
    assert (found.proxy_mode, found.coredns_version) == ("iptables", "1.12.1")
    assert "errors" in found.corefile


def test_kubeadm_configuration_with_everything() -> None:
    config = """\
apiVersion: kubeadm.k8s.io/v1beta4
apiServer: {extraArgs: [{name: feature-gates, value: A=true}, {name: v, value: "4"}]}
scheduler: {extraArgs: {v: "2"}}
featureGates: {NodeLocalCRISocket: false}
dns: {imageRepository: mirror/dns, imageTag: v1.14.0}
etcd: {local: {imageTag: 3.6.11-0, extraArgs: [{name: experimental-x, value: "1"}]}}
imageRepository: mirror
"""
    api = cluster(config, "mode: ipvs\nfeatureGates: {B: true}\n")
    api.documents[f"{MAPS}/kubelet-config"] = {"data": {"kubelet": "featureGates: {C: false}\n"}}
    found = read_kubeadm_cluster(api)
    assert found.kubelet_gates == {"C": "False"}
    assert found.extra_args["kube-apiserver"] == (("feature-gates", "A=true"), ("v", "4"))
    assert found.extra_args["kube-scheduler"] == (("v", "2"),)
    assert found.extra_args["etcd"] == (("experimental-x", "1"),)
    assert found.feature_gates == {"NodeLocalCRISocket": "False"}
    assert (found.dns_image, found.etcd_image) == (("mirror/dns", "v1.14.0"), ("", "3.6.11-0"))
    assert (found.proxy_mode, found.proxy_gates) == ("ipvs", {"B": "True"})


def test_what_kubeadm_does_not_look_after_is_absent() -> None:
    api = cluster(STOCK.replace("dns: {}", "dns: {disabled: true}"))
    del api.documents[f"{MAPS}/kube-proxy"]
    found = read_kubeadm_cluster(api)
    assert (found.proxy_mode, found.coredns_version) == (None, None)


@pytest.mark.parametrize("config", ["", "[]", "a: [", "etcd: 3"])
def test_a_configuration_that_is_not_understood(config: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_kubeadm_cluster(cluster(config))


def test_without_kubeadms_configuration() -> None:
    with pytest.raises(ValueError, match="kubeadm-config"):
        read_kubeadm_cluster(Api({}))


def test_workload_images() -> None:
    api = Api(
        {
            "/apis/apps/v1/daemonsets": [
                workload("kube-system", "calico-node", "calico/node:v3.31.0", "b:1")
            ],
            "/apis/apps/v1/deployments": [workload("shop", "web", "web:1")],
        }
    )
    assert read_workload_images(api) == (
        WorkloadImage("DaemonSet kube-system/calico-node", "calico/node:v3.31.0"),
        WorkloadImage("DaemonSet kube-system/calico-node", "b:1"),
        WorkloadImage("Deployment shop/web", "web:1"),
    )


def proxy_pod(node: str, image: str, **changes: Any) -> dict[str, Any]:
    metadata = {"name": f"kube-proxy-{node or image}", **changes.pop("metadata", {})}
    containers = [{"name": "sidecar", "image": "logs:v9.9.9"}, {"name": "kube-proxy", "image": image}]
    spec = {"containers": containers, **({"nodeName": node} if node else {})}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running"}, **changes}


def test_kube_proxy_is_what_the_daemon_set_wants_and_what_each_pod_was_made_with() -> None:
    image = "registry.k8s.io/kube-proxy:v{}"
    daemon_set = workload("kube-system", "kube-proxy", image.format("1.34.4"))
    pods = [
        proxy_pod("w1", image.format("1.34.4")),
        proxy_pod("w2", f"{image.format('1.33.0')}@sha256:{'0' * 64}"),
        proxy_pod("w3", "mirror:5000/kube-proxy@sha256:1"),
        proxy_pod("", image.format("1.1.1")),
        proxy_pod("w4", image.format("1.1.1"), metadata={"deletionTimestamp": "2026-11-01T00:00:00Z"}),
        proxy_pod("w5", image.format("1.1.1"), status={"phase": "Failed"}),
    ]
    path = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-proxy"
    api = Api({"/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy": daemon_set, path: pods})
    assert read_kube_proxy(api) == KubeProxy("1.34.4", {"w1": "1.34.4", "w2": "1.33.0", "w3": ""})
    assert read_kube_proxy(Api({})) == KubeProxy(None)
