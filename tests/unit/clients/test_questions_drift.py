"""Parsers of what the looks and the API say about configuration; the manifest is what kubeadm 1.34.4 wrote."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from nightshift.clients.questions.drift import (
    CLUSTER_SETTINGS,
    configuration_text,
    parse_control_plane_config,
    parse_kubelet_files,
    parse_static_pod,
)
from nightshift.clients.questions.static_pods import MIRROR_HASHES, parse_static_pods
from nightshift.domain.facts.drift import Addon, HostVolume

SCHEDULER = """\
apiVersion: v1
kind: Pod
metadata:
  labels:
    component: kube-scheduler
    tier: control-plane
  name: kube-scheduler
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-scheduler
    - --authentication-kubeconfig=/etc/kubernetes/scheduler.conf
    - --bind-address=127.0.0.1
    - --leader-elect=true
    image: registry.k8s.io/kube-scheduler:v1.34.4
    imagePullPolicy: IfNotPresent
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: 127.0.0.1
        path: /livez
        port: probe-port
        scheme: HTTPS
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    name: kube-scheduler
    ports:
    - containerPort: 10259
      name: probe-port
      protocol: TCP
    resources:
      requests:
        cpu: 100m
    volumeMounts:
    - mountPath: /etc/kubernetes/scheduler.conf
      name: kubeconfig
      readOnly: true
  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext:
    seccompProfile:
      type: RuntimeDefault
  volumes:
  - hostPath:
      path: /etc/kubernetes/scheduler.conf
      type: FileOrCreate
    name: kubeconfig
status: {}
"""
CONFIGURATION = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.34.4\n"


def line(kind: str, second: str, text: str) -> str:
    return f"{kind}\t{second}\t{base64.b64encode(text.encode()).decode()}\n"


def test_a_manifest_of_kubeadm() -> None:
    pod = parse_static_pod(SCHEDULER)
    assert pod.program == ("kube-scheduler",)
    assert pod.flags["bind-address"] == ("127.0.0.1",)
    assert pod.order == ("authentication-kubeconfig", "bind-address", "leader-elect")
    assert pod.image == "registry.k8s.io/kube-scheduler:v1.34.4"
    path = "/etc/kubernetes/scheduler.conf"
    assert pod.volumes == {"kubeconfig": HostVolume(path, path, "FileOrCreate", True)}
    assert pod.rest["spec.container.livenessProbe.httpGet.port"] == '"probe-port"'
    assert not [key for key in pod.rest if key.startswith("status") or "volume" in key or "command" in key]


def edited(**changes: Any) -> str:
    document = yaml.safe_load(SCHEDULER)
    document["spec"]["containers"][0].update(changes)
    return yaml.safe_dump(document)


def test_comments_quotes_and_order_of_keys_mean_nothing() -> None:
    rewritten = "# by hand\n" + yaml.safe_dump(yaml.safe_load(SCHEDULER), default_style='"', sort_keys=True)
    # Quoting everything makes text of numbers; what kubeadm writes as text stays equal.
    assert parse_static_pod(rewritten).flags == parse_static_pod(SCHEDULER).flags
    assert parse_static_pod("# by hand\n" + SCHEDULER + "\n\n") == parse_static_pod(SCHEDULER)


def test_flags_in_args_and_in_two_words() -> None:
    pod = parse_static_pod(edited(command=["kube-scheduler"], args=["--v", "2", "--profiling", "--v=4"]))
    assert pod.flags == {"v": ("2", "4"), "profiling": ("true",)}


def test_volumes_that_kubeadm_config_has_no_place_for() -> None:
    document = yaml.safe_load(SCHEDULER)
    document["spec"]["volumes"] += [{"name": "scratch", "emptyDir": {}}]
    mounts = document["spec"]["containers"][0]["volumeMounts"]
    mounts[0]["subPath"] = "x"
    assert parse_static_pod(yaml.safe_dump(document)).volumes == {"kubeconfig": None, "scratch": None}


def test_a_second_container_and_an_env_from_elsewhere_are_seen() -> None:
    document = yaml.safe_load(edited(env=[{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}]))
    document["spec"]["containers"].append({"name": "sidecar", "image": "x"})
    pod = parse_static_pod(yaml.safe_dump(document))
    assert pod.env == {"A": "1", "B": None}
    assert "sidecar" in pod.rest["spec.more containers"]


@pytest.mark.parametrize(
    "text", ["", "- a\n", "kind: Pod\n", "spec: {containers: []}\n", "a: [\n", "spec: {containers: [x]}"]
)
def test_what_is_no_pod_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (pod|YAML|mapping)"):
        parse_static_pod(text)


def test_the_control_plane_section() -> None:
    text = (
        line("configuration", "-", CONFIGURATION)
        + line("live", "kube-scheduler", SCHEDULER)
        + line("live", "etcd", "broken: [")
        + line("rendered", "kube-scheduler", SCHEDULER)
    )
    found = parse_control_plane_config(text)
    assert found.configuration["kubernetesVersion"] == "v1.34.4"
    assert found.fingerprint == hashlib.sha256(CONFIGURATION.encode()).hexdigest()
    assert found.live["kube-scheduler"] == found.rendered["kube-scheduler"]
    assert found.live["etcd"].program == ()
    assert found.refusal == ""
    refused = parse_control_plane_config(
        line("configuration", "-", CONFIGURATION) + line("refused", "-", "no such field\n")
    )
    assert refused.refusal == "no such field"


@pytest.mark.parametrize(
    "text",
    [
        "",
        line("configuration", "-", ""),
        line("configuration", "-", CONFIGURATION) + line("rendered", "etcd", "broken: ["),
        line("configuration", "-", CONFIGURATION) + line("other", "-", "x"),
        "configuration\t-\t***\n",
        "configuration\n",
    ],
)
def test_a_section_that_is_not_whole_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError):  # each says something else
        parse_control_plane_config(text)


def test_the_kubelet_section() -> None:
    text = (
        line("config", "1000", "kind: KubeletConfiguration\nmaxPods: 110\n")
        + line("instance", "1001", 'containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"\n')
        + line("flags", "1002", "KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.1 --node-labels='a=b'\"\n")
        + line("process", "1003", "/usr/bin/kubelet\0--v=2\0")
        + line("patches", "0", "a.yaml\nb.yaml\n")
    )
    found = parse_kubelet_files(text)
    assert found.config == {"kind": "KubeletConfiguration", "maxPods": 110}
    assert found.instance == {"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock"}
    assert found.flags[0] == "--node-ip=10.0.0.1"
    assert found.arguments == ("/usr/bin/kubelet", "--v=2")
    assert (found.config_modified, found.flags_modified, found.started) == (1000, 1002, 1003)
    assert found.patches == ("a.yaml", "b.yaml")
    with pytest.raises(ValueError, match="no YAML"):
        parse_kubelet_files(line("config", "1000", "a: ["))


def test_the_static_pods_section() -> None:
    uid = "0123456789abcdef0123456789abcdef"
    found = parse_static_pods(
        "directory\t755\troot:root\nlink\t644\troot:root\ta\tb.yaml\nprocess\t77\t1000\t"
        + uid
        + "\nprocess\t78\t9\t-\n"
    )
    assert found.directory is not None
    assert found.directory.mode == "755"
    assert list(found.links) == ["a\tb.yaml"]
    assert (found.processes[77].uid, found.processes[78].uid) == (uid, "")
    assert parse_static_pods("").directory is None
    for text in ("other\t1\n", "process\t1\n", "process\tx\t1\t-\n"):
        with pytest.raises(ValueError):  # each says something else
            parse_static_pods(text)


class Reader:
    """Documents by path."""

    def __init__(self, **documents: dict[str, Any]) -> None:
        self.documents = documents

    def get(self, path: str) -> dict[str, Any] | None:
        return self.documents.get(path.rpartition("/")[2])

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        raise AssertionError(path)

    def text(self, path: str) -> str:
        raise AssertionError(path)


def workload(image: str, **metadata: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    return {"metadata": metadata, "spec": spec}


def test_what_the_api_says() -> None:
    documents = {
        "kubeadm-config": {"data": {"ClusterConfiguration": CONFIGURATION}},
        "kubelet-config": {"data": {"kubelet": "maxPods: 110\n"}},
        "coredns": {
            "data": {"Corefile": ".:53 {}"},
            **workload(
                "registry.k8s.io/coredns/coredns:v1.12.1", annotations={"meta.helm.sh/release-name": "dns"}
            ),
        },
        "kube-proxy": workload("registry.k8s.io/kube-proxy:v1.34.4", labels={"k8s-app": "kube-proxy"}),
    }
    found = CLUSTER_SETTINGS.ask(Reader(**documents))
    assert found.configuration is not None
    assert found.kubelet == {"maxPods": 110}
    assert found.corefile == ".:53 {}"
    assert found.dns == Addon("registry.k8s.io/coredns/coredns:v1.12.1", "Helm release dns")
    assert found.proxy == Addon("registry.k8s.io/kube-proxy:v1.34.4")
    nothing = CLUSTER_SETTINGS.ask(Reader())
    assert (nothing.configuration, nothing.corefile, nothing.dns) == (None, None, None)
    with pytest.raises(ValueError, match="no workload"):
        CLUSTER_SETTINGS.ask(Reader(**{"kube-proxy": {"metadata": {}}}))


def test_mirror_pods() -> None:
    class Pods(Reader):
        def list(self, path: str) -> Iterator[dict[str, Any]]:
            assert path.startswith("/api/v1/namespaces/kube-system/pods?")
            own = {"kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "abc"}
            yield {"metadata": {"name": "etcd-cp1", "annotations": own}}
            yield {"metadata": {"name": "etcd-by-hand", "annotations": {"kubernetes.io/config.hash": "x"}}}
            yield {"metadata": {"name": "plain"}}

    assert MIRROR_HASHES.ask(Pods()) == {"etcd-cp1": "abc"}


def test_what_is_asked_may_be_asked() -> None:
    asked = {(p.verb, p.resource, p.name) for p in CLUSTER_SETTINGS.permissions}
    assert asked == {
        ("get", "configmaps", "kubeadm-config"),
        ("get", "configmaps", "kubelet-config"),
        ("get", "configmaps", "coredns"),
        ("get", "deployments", "coredns"),
        ("get", "daemonsets", "kube-proxy"),
    }


def test_what_is_uploaded_reads_back_the_same() -> None:
    configuration = {
        "kind": "ClusterConfiguration",
        "a": [{"name": "v", "value": "2"}],
        "on": "off",
        "n": "1e3",
    }
    assert yaml.safe_load(configuration_text(configuration)) == configuration
    assert "kind: ClusterConfiguration\n" in configuration_text(configuration)
