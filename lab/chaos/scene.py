"""What the night looks like from outside at one instant, and which moment that is. Pure.

Nothing here asks the product: a moment is told by Airflow's own task states (its REST API), by processes and manifest
files of the nodes as the machine sees them, and by cordons as the Kubernetes API shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos.catalogue import Moment, Strike

BUSY = ("running", "deferred")
ETCD, APISERVER, NEXT = "etcd.yaml", "kube-apiserver.yaml", "kube-controller-manager.yaml"
KUBELET_JOB, KUBEADM_JOB, STAGE_JOB = "kubelet-upgrade", "kubeadm-upgrade", "stage"
# Task of a moment: in the place's group, or (without one) at the top.
STEPS = {
    Moment.DRAIN: "drain_node",
    Moment.ETCD_STEP: "upgrade_node",
    Moment.APISERVER_STEP: "upgrade_node",
    Moment.KUBELET_PACKAGE: "upgrade_kubelet",
    Moment.BEFORE_UNCORDON: "verify_node",
}
# The job of the moment's task on its node: whoever comes back must ask for it.
JOBS = {
    Moment.BEFORE_DRAIN: STAGE_JOB,
    Moment.ETCD_STEP: KUBEADM_JOB,
    Moment.APISERVER_STEP: KUBEADM_JOB,
    Moment.KUBELET_PACKAGE: KUBELET_JOB,
}


@dataclass(frozen=True)
class TaskSeen:
    """One task instance as Airflow's API shows it."""

    id: str
    task: str
    map_index: int
    state: str | None
    number: int  # of the try


@dataclass(frozen=True)
class NodeSeen:
    """One node's processes and static pod manifests."""

    is_on: bool = True
    jobs: frozenset[str] = frozenset()  # steps whose job script runs
    kubeadm: frozenset[int] = frozenset()  # pids of `kubeadm upgrade`
    dpkg: bool = False
    manifests: Mapping[str, str] = field(default_factory=dict)  # file name -> hash


@dataclass(frozen=True)
class Scene:
    """Everything that is seen at one instant.

    Args:
        baseline: manifests by node when the case began: "changed" means changed by the upgrade.
        cordoned: nodes that are unschedulable and were not put aside by a person.
    """

    tasks: tuple[TaskSeen, ...] = ()
    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)
    baseline: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cordoned: frozenset[str] = frozenset()

    def running(self, task: str) -> TaskSeen | None:
        """The task instance with this id that is at work."""
        return next((t for t in self.tasks if t.task == task and t.state in BUSY), None)

    def has_changed(self, node: str, manifest: str) -> bool:
        """Tell whether the upgrade has written this manifest anew."""
        before, now = self.baseline.get(node, {}).get(manifest), self.nodes[node].manifests.get(manifest)
        return before is not None and now is not None and before != now


@dataclass(frozen=True)
class Found:
    """A moment that is there: the task at work, and the node it works on ("" where there is no single one)."""

    task: TaskSeen
    node: str = ""


def task_id(strike: Strike) -> str:
    """Id of the task that is at work in a strike's moment."""
    if strike.moment is Moment.BEFORE_DRAIN:
        return "stage"
    if strike.moment is Moment.TEARDOWN:
        return "release"
    if strike.moment is Moment.GATE:
        if strike.place == "gates":
            return "gates.etcd_latency"
        group, _, wave = strike.place.partition(".wave_")
        return f"{group}.check_etcd_{wave}" if wave else f"{strike.place}.check_etcd"
    return f"{strike.place}.{STEPS[strike.moment]}"


def find(strike: Strike, scene: Scene) -> Found | None:
    """Return the moment of a strike when it is there."""
    task = scene.running(task_id(strike))
    if task is None:
        return None
    if strike.moment is Moment.GATE:
        return Found(task) if task.state == "deferred" else None
    if strike.moment in (Moment.BEFORE_UNCORDON, Moment.TEARDOWN):
        return Found(task, next(iter(sorted(scene.cordoned)), ""))
    node = _node(strike.moment, scene)
    return None if node is None else Found(task, node)


def _node(moment: Moment, scene: Scene) -> str | None:
    """The node that the moment is on."""
    for name, node in sorted(scene.nodes.items()):
        if moment is Moment.BEFORE_DRAIN and STAGE_JOB in node.jobs and not scene.cordoned:
            return name
        if moment is Moment.DRAIN and name in scene.cordoned and not node.jobs:
            return name
        if moment is Moment.KUBELET_PACKAGE and KUBELET_JOB in node.jobs and node.dpkg:
            return name
        if node.kubeadm and _kubeadm_step(name, scene) is moment:
            return name
    return None


def _kubeadm_step(node: str, scene: Scene) -> Moment | None:
    """Which component kubeadm upgrades: it writes one manifest after the other and waits for its pod in between."""
    if scene.has_changed(node, APISERVER):
        return None if scene.has_changed(node, NEXT) else Moment.APISERVER_STEP
    return Moment.ETCD_STEP if scene.has_changed(node, ETCD) else None
