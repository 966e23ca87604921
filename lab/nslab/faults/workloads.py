"""Workloads that stand in a drain's way: each in a namespace of its own, which `heal` deletes with all that is in it.

`break` returns when the trouble is what the API says: pods run, and the disruption controller has computed the budgets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import cluster, state
from nslab.shell import wait_until

DEADLOCK_USAGE = "pdb-deadlock"
OVERLAP_USAGE = "pdb-overlap"
PINNED_USAGE = "pod-pinned NODE"
BARE_USAGE = "bare-pod NODE"
NO_ROOM_USAGE = "no-room"

IMAGE = "registry.k8s.io/nightshift-lab/web:1"  # every worker has it
REPLICAS = 2
SHARE = 0.6  # of a worker's CPU that each pod of `no-room` asks for: a second one never fits beside it
PATIENCE = 180  # seconds for pods to run, budgets to be computed, a namespace to go

_HOSTNAME = "kubernetes.io/hostname"


def namespace_of(case: Case) -> str:
    """Return the namespace that holds everything of this fault."""
    return f"nslab-{case.fault}"


def parse_plain(usage: str, arguments: Sequence[str]) -> list[Case]:
    """Read no arguments; there is one such case."""
    read_arguments(arguments, usage, 0)
    return [Case(usage, "cluster")]


def parse_on_node(usage: str, arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`; there is one such case at a time, on whichever node."""
    (name,) = read_arguments(arguments, usage, 1)
    return [Case(usage.split()[0], "cluster", {"node": node_name(name, "worker")})]


def deadlock(case: Case) -> str:
    """Ask for as many healthy pods as there are."""
    _apply(case, [_deployment(case, REPLICAS), _budget(case, "guard", {"minAvailable": REPLICAS})])
    return f"budget {namespace_of(case)}/guard asks for all {REPLICAS} pods of its Deployment"


def overlap(case: Case) -> str:
    """Put two budgets over the same pods; each alone would allow a disruption."""
    budgets = [_budget(case, name, {"maxUnavailable": 1}) for name in ("first", "second")]
    # The disruption controller counts the pods for each budget when that is made; of a pod's later changes it tells only
    # one of two budgets, and the other would stay at what it saw first.
    _apply(case, [_deployment(case, REPLICAS)])
    cluster.kubectl(
        ["apply", "-f", "-"], stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": budgets})
    )
    name = namespace_of(case)
    wait_until(lambda: is_settled(name, REPLICAS), f"the budgets of {name} are computed", PATIENCE)
    return f"two budgets select the same pods in {namespace_of(case)}"


def pin(case: Case) -> str:
    """Tie a Deployment to one node by its name."""
    _apply(case, [_deployment(case, 1, nodeSelector={_HOSTNAME: case.text("node")})])
    return f"the pod of {namespace_of(case)}/app may run on {case.text('node')} only"


def bare(case: Case) -> str:
    """Run a pod that no controller made and nobody gave up."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare", "namespace": namespace_of(case)},
        "spec": _pod_spec(nodeSelector={_HOSTNAME: case.text("node")}),
    }
    _apply(case, [pod])
    return f"pod {namespace_of(case)}/bare on {case.text('node')} has no controller"


def fill_up(case: Case) -> str:
    """Let each worker run one pod that asks for most of a worker's CPU; it uses none of it."""
    workers = [node.name for node in state.current().workers]
    smallest = min(_cpu_millis(name) for name in workers)
    resources = {"requests": {"cpu": f"{int(smallest * SHARE)}m"}}
    _apply(case, [_deployment(case, len(workers), resources)])
    return (
        f"each worker runs a pod that asks for {int(smallest * SHARE)}m CPU: no other worker has room for it"
    )


def take_away(case: Case) -> str:
    """Delete the namespace, and wait until it is gone with all that was in it."""
    name = namespace_of(case)
    cluster.kubectl(
        ["delete", "namespace", name, "--ignore-not-found", "--wait", f"--timeout={PATIENCE}s"],
        timeout=PATIENCE + 30,
    )
    return f"namespace {name} is gone"


def _apply(case: Case, objects: Sequence[dict[str, Any]]) -> None:
    """Create everything anew and wait until the API tells of it."""
    take_away(case)
    name = namespace_of(case)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    items = {"apiVersion": "v1", "kind": "List", "items": [space, *objects]}
    cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(items))
    wanted = sum(o["spec"].get("replicas", 1) for o in objects if o["kind"] in ("Deployment", "Pod"))
    wait_until(lambda: is_settled(name, wanted), f"the pods and budgets of {name} are there", PATIENCE)


def is_settled(name: str, wanted: int) -> bool:
    """Tell whether that many pods of the namespace are ready, and its budgets are computed for them."""
    answer = cluster.kubectl(
        ["-n", name, "get", "pods,poddisruptionbudgets", "-o", "json", "--request-timeout=5s"], check=False
    )
    if answer.returncode != 0:
        return False
    items = json.loads(answer.stdout)["items"]
    pods = [item for item in items if item["kind"] == "Pod"]
    budgets = [item for item in items if item["kind"] == "PodDisruptionBudget"]
    return sum(map(_is_ready, pods)) == wanted == len(pods) and all(_is_computed(b, wanted) for b in budgets)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _is_computed(budget: dict[str, Any], wanted: int) -> bool:
    status = budget.get("status", {})
    is_seen = status.get("observedGeneration", 0) >= budget["metadata"].get("generation", 1)
    return bool(is_seen and status.get("currentHealthy") == status.get("expectedPods") == wanted)


def _deployment(
    case: Case, replicas: int, resources: dict[str, Any] | None = None, **pod_spec: Any
) -> dict[str, Any]:
    labels = {"app": case.fault}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": namespace_of(case)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(resources, **pod_spec)},
        },
    }


def _pod_spec(resources: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    container = {"name": "app", "image": IMAGE, "resources": resources or {}}
    return {"terminationGracePeriodSeconds": 1, "containers": [container], **more}


def _budget(case: Case, name: str, rule: dict[str, int]) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace_of(case)},
        "spec": {**rule, "selector": {"matchLabels": {"app": case.fault}}},
    }


def _cpu_millis(node: str) -> int:
    """Return what a node offers to pods."""
    said = cluster.kubectl(["get", "node", node, "-o", "jsonpath={.status.allocatable.cpu}"]).stdout.strip()
    return int(said[:-1]) if said.endswith("m") else int(said) * 1000


PDB_DEADLOCK = Fault(
    "pdb-deadlock", DEADLOCK_USAGE, "a budget that asks for all of its pods",
    lambda words: parse_plain(DEADLOCK_USAGE, words), deadlock, take_away,
)  # fmt: skip
PDB_OVERLAP = Fault(
    "pdb-overlap", OVERLAP_USAGE, "two budgets over the same pods",
    lambda words: parse_plain(OVERLAP_USAGE, words), overlap, take_away,
)  # fmt: skip
POD_PINNED = Fault(
    "pod-pinned", PINNED_USAGE, "a Deployment that only one worker may run",
    lambda words: parse_on_node(PINNED_USAGE, words), pin, take_away,
)  # fmt: skip
BARE_POD = Fault(
    "bare-pod", BARE_USAGE, "a pod without a controller that nobody gave up",
    lambda words: parse_on_node(BARE_USAGE, words), bare, take_away,
)  # fmt: skip
NO_ROOM = Fault(
    "no-room", NO_ROOM_USAGE, "requests that leave no worker room for another one's pods",
    lambda words: parse_plain(NO_ROOM_USAGE, words), fill_up, take_away,
)  # fmt: skip
