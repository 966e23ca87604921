"""The lab under a policy of the test's own, and what an owner has there: workloads to be made quiet, a budget that is tight.

Whatever is looked at is looked at from outside, as everywhere in the lab's cases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lab.gate_world import CLUSTER_FILE, changed_policy
from tests.lab.test_night import KUBEADM_UNIT
from tests.lab.world import DAG, KubectlWatch, World, wait_until

from nsdemo.runs import rest_airflow
from nsdemo.settings import PROJECT

# As the lab's own, but patient with a busy disk and begun by nobody's clock: these nights are not about the etcd gate.
PATIENT_FILE = PROJECT / "lab" / "chaos" / "clusters" / "lab.yaml"
BRAKE = "brake_lab"
MARK = "nightshift.io/quarantined"
SLOW = "slow"  # namespace of the pod that takes its time
TIGHT = "tight"  # namespace of the budget that allows nothing
KEEPER = f"{TIGHT}/keeper-"  # how the pod that may not go begins
_IMAGE = "registry.k8s.io/nightshift-lab/web:1"  # every worker has it
_SETTLE_SECONDS = 180
_JOB_SECONDS = 180  # from the begin of a node's drain until its kubeadm works
_STARTED = "39f53479d3a045ac8e11786248231fbf"  # systemd's message id

QUIESCE = {
    "quiesce": [
        {"kind": "Deployment", "namespace": "shop", "name": "batch"},
        {"kind": "StatefulSet", "namespace": "shop", "name": "queue"},
        {"kind": "CronJob", "namespace": "shop", "name": "nightly"},
        {"kind": "CronJob", "namespace": "shop", "name": "resting"},
    ]
}
# Replicas, or whether it is suspended. Nobody owes anything for what its owner had suspended himself.
AS_BEFORE = {"batch": 2, "queue": 3, "nightly": False, "resting": True}
QUIET = {"batch": 0, "queue": 0, "nightly": True, "resting": True}


class OwnersWorld(World):
    """The lab under a policy of its own.

    Args:
        clusters: directory for the cluster's file.
        policy_file: what its policy is made from.
    """

    def __init__(self, clusters: Path, policy_file: Path = CLUSTER_FILE) -> None:
        super().__init__()
        self._clusters = clusters
        self._text = policy_file.read_text(encoding="utf-8")

    def airflow_settings(self) -> dict[str, str]:
        """What this Airflow's processes are told."""
        return {**super().airflow_settings(), "NIGHTSHIFT_CLUSTERS": str(self._clusters)}

    def say(self, *changes: Mapping[str, Any]) -> None:
        """Write the cluster's file, also in the middle of a night: it counts from the next task on."""
        text = self._text
        for change in changes:
            text = changed_policy(text, change)
        written = self._clusters / "next"
        written.write_text(text, encoding="utf-8")
        os.replace(written, self._clusters / "lab.yaml")  # nobody reads half a file


@contextmanager
def owned(
    shared: World, clusters: Path, monkeypatch: pytest.MonkeyPatch, policy_file: Path = CLUSTER_FILE
) -> Iterator[OwnersWorld]:
    """An owner's world whose Airflow is stopped before and after; `shared` is told that its cluster was used."""
    # Enrolment gives the rights that the file names, and the demo's own takes the lab's file whatever the caller says.
    monkeypatch.setattr("nsdemo.lab.CLUSTERS", clusters)
    world = OwnersWorld(clusters, policy_file)
    shared.used = True
    rest_airflow(world.home, DAG, print)
    yield world
    if world.facts:
        world.lab("heal", "all", check=False)
    rest_airflow(world.home, DAG, print)


# Workloads that are made quiet


def start_workloads(world: World) -> None:
    """Everything that QUIESCE names, as in AS_BEFORE."""
    pods = {"replicas": AS_BEFORE["batch"], **_pods("batch")}
    row = {"replicas": AS_BEFORE["queue"], "serviceName": "queue", **_pods("queue")}
    _apply(
        world,
        _object("apps/v1", "Deployment", "shop", "batch", pods),
        _object("apps/v1", "StatefulSet", "shop", "queue", row),
        *(
            _object("batch/v1", "CronJob", "shop", name, _yearly(is_suspended=bool(AS_BEFORE[name])))
            for name in ("nightly", "resting")
        ),
    )
    for name in ("deployment/batch", "statefulset/queue"):
        world.kubectl("-n", "shop", "rollout", "status", name, f"--timeout={_SETTLE_SECONDS}s")


def settings(world: World) -> dict[str, int | bool]:
    """What is set now of what QUIESCE names: replicas, or whether it is suspended."""
    names = [f"{entry['kind'].lower()}/{entry['name']}" for entry in QUIESCE["quiesce"]]
    found = json.loads(world.kubectl("-n", "shop", "get", *names, "-o", "json"))["items"]
    return {
        item["metadata"]["name"]: bool(item["spec"].get("suspend"))
        if item["kind"] == "CronJob"
        else item["spec"]["replicas"]
        for item in found
    }


def loud_pods(world: World) -> list[str]:
    """Pods of what has no replicas while it is quiet."""
    words = world.kubectl("-n", "shop", "get", "pods", "-l", "app in (batch, queue)", "-o", "name")
    return words.split()


class ReplicaWatch(KubectlWatch):
    """Every number of replicas that Deployment `batch` was given while the watch lasted, in order."""

    def __init__(self, world: World) -> None:
        columns = "custom-columns=N:.spec.replicas"
        super().__init__(world.kubectl_command(), "deployment", "batch", "-n", "shop", "-o", columns)
        self.seen: list[int] = []

    def take(self, line: str) -> None:
        """The Deployment as it is now."""
        self.seen.append(int(line))


# A budget that allows nothing


def tighten(world: World, node: str) -> str:
    """Let a pod run on a node that its budget does not let go; returns the pod's UID.

    No deadlock: the budget wants one of two pods healthy and the other one never is, so the gate can only say that a
    drain would wait. Nor is the pod tied to its node.
    """
    objects = tight_objects(node)
    _apply(world, *objects)
    wait_until(lambda: _is_tight(world), "a budget that allows no disruption", _SETTLE_SECONDS)
    keeper = _keeper(world)
    assert keeper["spec"]["nodeName"] == node, f"the pod that must stay is on {keeper['spec']['nodeName']}"
    return keeper_uid(world)


def tight_objects(node: str) -> list[dict[str, Any]]:
    """What `tighten` makes, the pods preferably on this node."""
    affinity = _preferably_on(node)
    never = {"readinessProbe": {"tcpSocket": {"port": 9}}}  # nobody listens there
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"guarded": "true"}}}
    keeper, absent = (
        {"replicas": 1, **_pods(name, {"guarded": "true"}, container, affinity=affinity)}
        for name, container in (("keeper", {}), ("absent", never))
    )
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TIGHT}},
        _object("apps/v1", "Deployment", TIGHT, "keeper", keeper),
        _object("apps/v1", "Deployment", TIGHT, "absent", absent),
        _object("policy/v1", "PodDisruptionBudget", TIGHT, "guard", budget),
    ]


def _preferably_on(node: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]
        }
    }


def loosen(world: World) -> None:
    """Take the budget away, and its pods."""
    world.kubectl("delete", "namespace", TIGHT, "--ignore-not-found", f"--timeout={_SETTLE_SECONDS}s")


def keeper_uid(world: World) -> str:
    """UID of the pod that its budget protects; another one: it was evicted."""
    return str(_keeper(world)["metadata"]["uid"])


def _keeper(world: World) -> dict[str, Any]:
    (pod,) = json.loads(world.kubectl("-n", TIGHT, "get", "pods", "-l", "app=keeper", "-o", "json"))["items"]
    found: dict[str, Any] = pod
    return found


def _is_tight(world: World) -> bool:
    """As counted by the cluster's own disruption controller."""
    budget = json.loads(world.kubectl("-n", TIGHT, "get", "poddisruptionbudget", "guard", "-o", "json"))
    names = ("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed")
    return [budget.get("status", {}).get(name) for name in names] == [1, 1, 2, 0]


# A pod that takes its time


def linger(world: World, node: str, seconds: int) -> None:
    """Let a pod run on a node, a control plane too, that takes so long to end: so long does a drain of the node wait."""
    _apply(world, *lingering_objects(node, seconds))
    world.kubectl("-n", SLOW, "rollout", "status", "deployment/lingers", f"--timeout={_SETTLE_SECONDS}s")
    (pod,) = json.loads(world.kubectl("-n", SLOW, "get", "pods", "-o", "json"))["items"]
    assert pod["spec"]["nodeName"] == node, f"the pod that takes its time is on {pod['spec']['nodeName']}"


def lingering_objects(node: str, seconds: int) -> list[dict[str, Any]]:
    """What `linger` makes."""
    lifecycle = {"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}
    everywhere = [{"operator": "Exists"}]
    spec = _pods(
        "lingers",
        None,
        lifecycle,
        affinity=_preferably_on(node),
        tolerations=everywhere,
        terminationGracePeriodSeconds=seconds + 30,
    )
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SLOW}},
        _object("apps/v1", "Deployment", SLOW, "lingers", {"replicas": 1, **spec}),
    ]


# Brake, window, mark


def set_brake(world: World, action: str) -> str:
    """Pull or release it as a person does in the UI; returns what the run's note says."""
    world.api.wait_for_dag(BRAKE, 240)
    world.api.unpause(BRAKE)
    run_id = world.api.start(BRAKE, action=action, reason="lab test")
    run = world.finish(run_id, dag_id=BRAKE)
    assert run["state"] == "success", run["note"]
    return str(run["note"])


def closing_window(now: datetime) -> tuple[dict[str, Any], datetime]:
    """A window that is open and closes within a minute, and when it does.

    Args:
        now: an aware datetime.
    """
    closes = (now + timedelta(minutes=1)).astimezone(UTC).replace(second=0, microsecond=0)
    opened = closes - timedelta(hours=6)
    return {"window": {"start": f"{opened:%H:%M}", "end": f"{closes:%H:%M}"}}, closes


def mark_of(world: World, node: str) -> str | None:
    """What says that a node was set aside; None when nothing does."""
    found: str | None = world.nodes()[node]["metadata"].get("annotations", {}).get(MARK)
    return found


# Nights


def begin_drain(world: World, wave: int, seconds: float = 1800) -> tuple[str, str]:
    """Start a night and wait for the drain of the worker of this wave; returns the run's id and the node."""
    run_id = world.upgrade_until_running(f"workers.wave_{wave:02d}.drain_node", seconds)
    return run_id, taken_worker(world)


def begin_worker(world: World, wave: int) -> tuple[str, str]:
    """Start a night and wait until kubeadm's job works on the worker of this wave; returns the run's id and the node."""
    run_id, node = begin_drain(world, wave)
    world.on_node(node, once(f"systemctl is-active --quiet {KUBEADM_UNIT}"))
    return run_id, node


def kill_kubeadm(world: World, node: str) -> None:
    """SIGKILL of a worker's job while kubeadm itself works, once it does: a dpkg that dies half way is another case.

    It works for a quarter of a second, so it is stopped first.
    """
    stop, kill = "pkill -STOP -f '^kubeadm upgrade node'", f"systemctl kill -s KILL {KUBEADM_UNIT}"
    world.on_node(node, f"{once(stop)} && {kill}")


def once(asked: str) -> str:
    """Shell: wait until a command succeeds. Asked on the node: a worker's job is over in two seconds, an SSH takes half of one."""
    return f"(until {asked}; do ((SECONDS < {_JOB_SECONDS})) || exit 1; sleep 0.02; done)"


def taken_worker(world: World) -> str:
    """The one worker that is cordoned now. Which one comes first is decided by their pods."""
    taken = wait_until(lambda: [n for n in world.cordoned() if n.startswith("w")], "a cordoned worker", 120)
    assert len(taken) == 1, f"one worker at a time, and not {taken}"
    return str(taken[0])


def words(run: Mapping[str, Any]) -> dict[str, str]:
    """Node -> its word in the ledger."""
    return {node["name"]: node["outcome"] for node in run["ledger"]["nodes"]}


def end_of(run: Mapping[str, Any], name: str) -> datetime:
    """When a node that was upgraded was uncordoned."""
    (node,) = (node for node in run["ledger"]["nodes"] if node["name"] == name)
    return datetime.fromisoformat(node["began"]) + timedelta(seconds=node["seconds"])


def kubeadm_jobs(world: World, node: str) -> int:
    """How many kubeadm jobs have begun on a node, by systemd's own word."""
    command = f"journalctl -q -o cat UNIT={KUBEADM_UNIT} MESSAGE_ID={_STARTED} | wc -l"
    return int(world.on_node(node, command))


# Objects


def _apply(world: World, *objects: Mapping[str, Any]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    world.kubectl("apply", "-f", "-", stdin=json.dumps(listed))


def _object(version: str, kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _pods(
    name: str,
    labels: Mapping[str, str] | None = None,
    container: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Selector and template of a controller called `name`."""
    only = {"name": name, "image": _IMAGE, **(container or {})}
    return {
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name, **(labels or {})}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [only], **spec},
        },
    }


def _yearly(*, is_suspended: bool) -> dict[str, Any]:
    """A CronJob that never comes to its hour while the lab is up."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": _IMAGE}]}
    return {
        "schedule": "0 3 1 1 *",
        "suspend": is_suspended,
        "jobTemplate": {"spec": {"template": {"spec": pod}}},
    }
