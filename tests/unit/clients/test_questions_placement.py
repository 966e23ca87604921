"""Pods, nodes and volumes as the API writes them (recorded on kubeadm 1.34, shortened)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nightshift.clients.kube_objects import budget_facts, node_facts, pod_facts
from nightshift.clients.kube_placement import need, placement
from nightshift.clients.questions.placement import PODS_QUESTION, VOLUMES_QUESTION
from nightshift.domain.facts.placement import Apart, Need, Requirement, Room, Taint, Toleration, VolumeFacts

COREDNS: dict[str, Any] = {
    "metadata": {
        "name": "coredns-66bc5c9577-2xk8d",
        "namespace": "kube-system",
        "uid": "u1",
        "labels": {"k8s-app": "kube-dns", "pod-template-hash": "66bc5c9577"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "coredns-66bc5c9577", "controller": True}],
    },
    "spec": {
        "nodeName": "cp1",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "containers": [{"name": "coredns", "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}}}],
        "tolerations": [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
        ],
        "volumes": [{"name": "config-volume", "configMap": {"name": "coredns"}}],
    },
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}


class Lists:
    """An API with these lists."""

    def __init__(self, **items: list[dict[str, Any]]) -> None:
        self._items = items

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        return iter(self._items[path.removeprefix("/api/v1/")])

    def get(self, path: str) -> None:
        raise AssertionError(path)

    def text(self, path: str) -> str:
        raise AssertionError(path)


def test_a_pod_of_a_deployment() -> None:
    (pod,) = PODS_QUESTION.ask(Lists(pods=[COREDNS]))
    assert (pod.node, pod.is_ready, pod.need) == ("cp1", True, Need(100, 70 * 2**20))
    assert pod.workload == "Deployment kube-system/coredns"
    assert pod.placement.selector == (("kubernetes.io/os", "linux"),)
    assert pod.placement.tolerations[1] == Toleration(
        "node-role.kubernetes.io/control-plane", "Equal", "", "NoSchedule"
    )
    assert {pod.placement: 1}[pod_facts(COREDNS).placement] == 1  # thousands share one


def test_a_pod_that_waits_for_a_node_is_bound_to_none_and_not_ready() -> None:
    waiting = {**COREDNS, "spec": {"containers": []}, "status": {"phase": "Pending"}}
    pod = pod_facts(waiting)
    assert (pod.node, pod.is_ready, pod.need) == ("", False, Need())


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        pytest.param({"containers": [container("1"), container("200m")]}, 1200, id="all containers"),
        pytest.param({"containers": [{}]}, 0, id="no request"),
        pytest.param(
            {"containers": [container("1")], "initContainers": [container("2")]}, 2000, id="init is larger"
        ),
        pytest.param(
            {"containers": [container("1")], "initContainers": [container("500m", restartPolicy="Always")]},
            1500,
            id="a sidecar stays",
        ),
        pytest.param(
            {
                "containers": [container("100m")],
                "initContainers": [container("500m", restartPolicy="Always"), container("1")],
            },
            1500,
            id="an init container beside a sidecar",
        ),
        pytest.param({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250, id="overhead"),
        pytest.param({"containers": [container("1")], **container("3")}, 3000, id="asked for the whole pod"),
    ],
)
def test_requests_as_the_scheduler_counts_them(spec: dict[str, Any], cpu: int) -> None:
    assert need(spec).cpu_millis == cpu


def test_rules_of_a_pod() -> None:
    rules = placement(
        "shop",
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w1"]}]},
                            {},
                        ]
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}],
                },
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": {"app": "db"}},
                        }
                    ]
                },
            },
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
        },
    )
    assert rules.terms == (
        (Requirement("disk", "In", ("ssd",)),),
        (Requirement("metadata.name", "In", ("w1",), is_field=True),),
    )
    assert rules.apart == (Apart("kubernetes.io/hostname", (Requirement("app", "In", ("db",)),)),)
    assert rules.claims == ("shop/data-db-0",)


def test_volumes_by_their_claim() -> None:
    local = {
        "metadata": {"name": "pv-local"},
        "spec": {
            "claimRef": {"namespace": "shop", "name": "data-db-0"},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": ["w1"]}
                            ]
                        }
                    ]
                }
            },
        },
        "status": {"phase": "Bound"},
    }
    network = {
        "metadata": {"name": "pv-nfs"},
        "spec": {"claimRef": {"namespace": "shop", "name": "files"}},
        "status": {"phase": "Bound"},
    }
    free = {"metadata": {"name": "pv-free"}, "spec": {}, "status": {"phase": "Available"}}
    old = {**network, "status": {"phase": "Released"}}
    assert VOLUMES_QUESTION.ask(Lists(persistentvolumes=[local, network, free])) == {
        "shop/data-db-0": VolumeFacts("pv-local", ((Requirement("kubernetes.io/hostname", "In", ("w1",)),),)),
        "shop/files": VolumeFacts("pv-nfs", ()),
    }
    assert VOLUMES_QUESTION.ask(Lists(persistentvolumes=[old])) == {}


def test_what_a_node_carries_and_repels() -> None:
    item: dict[str, Any] = {
        "metadata": {"name": "cp1"},
        "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "1930m", "memory": "8042744Ki", "pods": "110"}},
    }
    node = node_facts(item)
    assert node.taints == (Taint("node-role.kubernetes.io/control-plane", "", "NoSchedule"),)
    assert node.room == Room(1930, 8042744 * 1024, 110)
    for broken in ({}, {"cpu": "2", "memory": "lots", "pods": "110"}, {"cpu": "2", "memory": "1Gi"}):
        assert node_facts({**item, "status": {"allocatable": broken}}).room is None, broken


def test_a_budget_that_was_not_computed_yet_says_so() -> None:
    item: dict[str, Any] = {"metadata": {"namespace": "n", "name": "b", "generation": 2}, "spec": {}}
    assert not budget_facts(item).is_computed
    assert not budget_facts({**item, "status": {"observedGeneration": 1}}).is_computed
    seen = budget_facts(
        {**item, "spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}, "status": {"observedGeneration": 2}}
    )
    assert (seen.is_computed, seen.always_evicts_unready) == (True, True)
