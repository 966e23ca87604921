"""Pods, nodes and volumes as the API writes them (recorded on kubeadm 1.34, shortened)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nightshift.clients.kube_objects import budget_facts, node_facts, pod_facts
from nightshift.clients.kube_placement import need, placement
from nightshift.clients.questions.placement import PODS_QUESTION, VOLUMES_QUESTION
from nightshift.domain.facts.placement import (
    HostPort,
    Mates,
    Need,
    Requirement,
    Room,
    Spread,
    Taint,
    Toleration,
    VolumeFacts,
)
from nightshift.domain.requirements import holds

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
    (pod,) = PODS_QUESTION.ask(Lists(pods=[COREDNS], namespaces=[]))
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


def test_every_resource_is_counted_as_the_scheduler_does() -> None:
    def asks(**requests: str) -> dict[str, Any]:
        return {"resources": {"requests": {name.replace("_", "-"): text for name, text in requests.items()}}}

    gpu = {"resources": {"requests": {"nvidia.com/gpu": "2", "cpu": "1"}}}
    spec = {
        "containers": [
            asks(ephemeral_storage="1Gi"),
            asks(ephemeral_storage="1Gi", hugepages_2Mi="4Mi"),
            gpu,
        ],
        "initContainers": [asks(ephemeral_storage="3Gi")],
        "overhead": {"ephemeral-storage": "1"},
    }
    assert need(spec).others == (
        ("ephemeral-storage", 3 * 2**30 + 1),
        ("hugepages-2Mi", 4 * 2**20),
        ("nvidia.com/gpu", 2),
    )
    assert need({"containers": [asks(ephemeral_storage="0")]}).others == ()


def required(*found: dict[str, Any]) -> dict[str, Any]:
    return {"requiredDuringSchedulingIgnoredDuringExecution": list(found)}


def test_a_selector_that_is_not_there_selects_nothing() -> None:
    rules = placement(
        "shop",
        {
            "affinity": {"podAntiAffinity": required({"topologyKey": "zone"})},
            "topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}],
        },
        {},
    )
    (apart,) = rules.apart
    assert not holds(apart.selector, {"app": "web"})
    assert not holds(rules.spreads[0].selector, {"app": "web"})


@pytest.mark.parametrize(
    ("term", "spaces"),
    [
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, ("cache", "shop")),
        (
            {"namespaceSelector": {"matchLabels": {"team": "a"}}, "namespaces": ["ops"]},
            ("cache", "ops", "shop"),
        ),
        ({"namespaceSelector": {}}, ("cache", "ops", "shop")),
        ({"namespaceSelector": {"matchLabels": {"team": "z"}}}, ("",)),  # none, and not its own
        ({"namespaceSelector": None}, ()),
        ({}, ()),
    ],
)
def test_a_term_about_other_pods_may_select_their_namespaces(
    term: dict[str, Any], spaces: tuple[str, ...]
) -> None:
    of_term = required({"topologyKey": "zone", "labelSelector": {}, **term})
    pod = {
        **COREDNS,
        "metadata": {**COREDNS["metadata"], "namespace": "ops"},
        "spec": {"affinity": {"podAntiAffinity": of_term, "podAffinity": of_term}},
    }
    labels = {"shop": {"team": "a"}, "cache": {"team": "a"}, "ops": {}}
    namespaces = [{"metadata": {"name": name, "labels": found}} for name, found in labels.items()]
    (read,) = PODS_QUESTION.ask(Lists(pods=[pod], namespaces=namespaces))
    assert read.placement.apart == read.placement.together == (Mates("zone", (), spaces),)
    if "namespaceSelector" in term and term["namespaceSelector"] is not None:
        assert pod_facts(pod).placement.apart == (), "a drain does not ask where its pods go"


SPEC_WITH_ALL_RULES: dict[str, Any] = {
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
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {}, "namespaces": ["cache"]}
            ]
        },
    },
    "containers": [
        {
            "ports": [
                {"containerPort": 80},
                {"containerPort": 80, "hostPort": 8080, "hostIP": "0.0.0.0"},
                {"containerPort": 53, "hostPort": 53, "hostIP": "10.0.0.1", "protocol": "UDP"},
            ]
        }
    ],
    "topologySpreadConstraints": [
        {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"},
        {
            "topologyKey": "zone",
            "maxSkew": 2,
            "minDomains": 3,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
            "matchLabelKeys": ["pod-template-hash", "absent"],
            "nodeAffinityPolicy": "Ignore",
            "nodeTaintsPolicy": "Honor",
        },
    ],
    "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
    ],
}


def test_rules_of_a_pod() -> None:
    rules = placement("shop", SPEC_WITH_ALL_RULES, {"app": "web", "pod-template-hash": "abc"})
    assert rules.together == (Mates("zone", (), ("cache",)),)
    assert rules.ports == (HostPort(8080, "TCP"), HostPort(53, "UDP", "10.0.0.1"))
    selected = (Requirement("app", "In", ("web",)), Requirement("pod-template-hash", "In", ("abc",)))
    assert rules.spreads == (Spread("zone", selected, 2, 3, honors_affinity=False, honors_taints=True),)
    assert rules.terms == (
        (Requirement("disk", "In", ("ssd",)),),
        (Requirement("metadata.name", "In", ("w1",), is_field=True),),
    )
    assert rules.apart == (Mates("kubernetes.io/hostname", (Requirement("app", "In", ("db",)),)),)
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
    more = {"ephemeral-storage": "93492209510", "hugepages-2Mi": "0", "nvidia.com/gpu": "1"}
    rich = {**item, "status": {"allocatable": {**item["status"]["allocatable"], **more}}}
    said = node_facts(rich).room
    assert said is not None
    assert said.others == (("ephemeral-storage", 93492209510), ("hugepages-2Mi", 0), ("nvidia.com/gpu", 1))
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


def test_a_budget_that_cannot_be_counted_says_why() -> None:
    metadata = {"namespace": "n", "name": "b", "generation": 1}
    condition = {
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "SyncFailed",
        "message": "no scale",
    }
    stuck = budget_facts({"metadata": metadata, "spec": {}, "status": {"conditions": [condition]}})
    assert (stuck.sync_error, stuck.is_computed) == ("no scale", False)
    counted = {**condition, "reason": "InsufficientPods"}
    seen = budget_facts({"metadata": metadata, "spec": {}, "status": {"conditions": [counted]}})
    assert seen.sync_error == ""


@pytest.mark.parametrize("spec", [{}, {"selector": None}, {"selector": {}}])
def test_no_selector_is_not_one_that_selects_every_pod(spec: dict[str, Any]) -> None:
    """policy/v1: a null selector selects no pod, an empty one all of its namespace."""
    assert budget_facts({"metadata": {"namespace": "n", "name": "b"}, "spec": spec}).selector == spec.get(
        "selector"
    )
