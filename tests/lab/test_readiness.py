"""A dry run says the night and changes nothing: every object of the cluster and every file of the nodes, before and after."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from tests.lab.previews import read_preview, until_foreseen
from tests.lab.world import World, wait_until

from nightshift.domain import plan
from nightshift.domain.gates import GATES

READINESS = "readiness_lab"
# Whose writes never end in a healthy cluster; whoever else writes while a dry run is at work is us.
CLUSTER_ITSELF = {"kubelet", "kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd"}
# Heartbeats: written every few seconds, and not to be told from a change of somebody else's by their version.
HEARTBEATS = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}
# What every running node writes of its own accord.
RESTLESS = (
    *("/proc", "/sys", "/run", "/dev", "/tmp", "/var/log", "/var/lib/containerd", "/var/lib/etcd"),
    *("/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/var/lib/kubelet/device-plugins"),
    *("/var/lib/systemd", "/var/lib/cni"),
)


def objects(world: World) -> dict[str, dict[str, Any]]:
    """Every object of the cluster that can be listed, by kind, namespace and name."""
    kinds = world.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    listed = ",".join(kind for kind in kinds if kind not in HEARTBEATS and ".metrics.k8s.io" not in kind)
    items = json.loads(world.kubectl("get", listed, "-A", "-o", "json", "--show-managed-fields"))["items"]
    found = {}
    for item in items:
        about = item["metadata"]
        found[f"{item['kind']} {about.get('namespace', '')}/{about['name']}"] = item
    return found


def last_writer(item: dict[str, Any]) -> str:
    """Who changed an object last, as the API server noted it."""
    fields = item["metadata"].get("managedFields") or []
    latest = max(fields, key=lambda field: str(field.get("time", "")), default={})
    return str(latest.get("manager", "nobody"))


def changed(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What came, went, or has another resourceVersion, and who did it; without what the cluster itself writes."""
    found = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        versions = [item and item["metadata"].get("resourceVersion") for item in (old, new)]
        if versions[0] == versions[1]:
            continue
        writer = last_writer(new) if new else "deleted"
        if writer not in CLUSTER_ITSELF:
            found[name] = writer
    return found


def specs(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What people and Nightshift write on nodes: a heartbeat changes the version of a node, and none of this."""
    nodes = {name: item for name, item in found.items() if name.startswith("Node ")}
    wanted = ("labels", "annotations")
    return {
        name: json.dumps([item["spec"], [item["metadata"].get(key) for key in wanted]], sort_keys=True)
        for name, item in nodes.items()
    }


def stamp(world: World) -> None:
    """Note the moment on every node's own disk."""
    for name in world.nodes():
        world.on_node(name, "touch /run/nslab-stamp")


def written_since(world: World) -> dict[str, list[str]]:
    """Files and links of each node that were written or changed since `stamp`."""
    skip = " -o ".join(f"-path {path}" for path in RESTLESS)
    find = f"find / \\( {skip} \\) -prune -o ! -type d -newercm /run/nslab-stamp -print"
    return {name: [line for line in world.on_node(name, find).splitlines() if line] for name in world.nodes()}


def dry_night(world: World) -> dict[str, Any]:
    """A night of which the form says that it only looks."""
    return world.night(dry_run=True)


def readiness(world: World) -> dict[str, Any]:
    """A run of the DAG that looks by day."""
    world.api.wait_for_dag(READINESS, 240)
    world.api.unpause(READINESS)
    run_id = world.api.start(READINESS)
    return world.finish(run_id, dag_id=READINESS)


@pytest.mark.parametrize("look", [dry_night, readiness], ids=["dry night", "readiness"])
def test_a_look_says_the_night_and_changes_nothing(world: World, look: Any) -> None:
    world.fresh()
    wait_until(lambda: not restless(world), "pods that come to rest", 300, pause=10)
    lease, gauge = world.lease(), in_flight(world)
    stamp(world)
    before, pods = objects(world), world.movable_pods()

    run = until_foreseen(partial(look, world))

    after = objects(world)
    assert changed(before, after) == {}
    assert specs(after) == specs(before)
    assert written_since(world) == {name: [] for name in world.nodes()}
    assert (world.lease(), in_flight(world)) == (lease, gauge)
    assert run["state"] == "success", run["note"]
    entry = run["ledger"]
    assert entry["answer"] == "dry_run", run["note"]
    assert {gate["gate"] for gate in entry["gates"]} == {*GATES, plan.GATE}
    assert entry["target"]["version"] == "1.35.4"
    assert_says_the_night(world, run, pods)


def assert_says_the_night(world: World, run: dict[str, Any], pods: dict[str, set[str]]) -> None:
    """Order, waves, drains, bytes, time and outage, for the person who has to decide about it."""
    said = read_preview(world.api.task_log(run["dag_run_id"], "decide", run["dag_id"]))
    first, *workers = said.nodes
    assert (first.name, first.place, first.command) == ("cp1", "control plane 1", "apply")
    assert [(node.place, node.command) for node in workers] == [("canary", "node"), ("wave 2", "node")]
    assert {node.name for node in workers} == {"w1", "w2"}
    assert said.order == tuple(node.name for node in said.nodes)
    assert {node.name: node.pods for node in said.nodes} == pods
    assert all(node.mebibytes > 0 and node.seconds > 0 for node in said.nodes), said
    # One node after the other; each is said in whole minutes, and so is their sum.
    assert abs(said.seconds - sum(node.seconds for node in said.nodes)) <= 30 * (len(said.nodes) + 1)
    assert said.outage_seconds > 0, "cp1 is the only one that serves the API"
    assert said.uploads == (), "nothing runs here that kubeadm-config does not know"
    for words in (
        f"would upgrade {', '.join(said.order)} to 1.35.4 in about",
        "The API would be away for up to",
    ):
        assert words in run["note"]


def in_flight(world: World) -> float:
    """The gauge of a run at the cluster; the sweeper says 0 for the first time within a minute of a fresh lab."""
    return world.gauge("k8s_upgrade_in_flight") or 0.0


def restless(world: World) -> list[str]:
    """Pods that are not running yet, or are on their way out."""
    pods = json.loads(world.kubectl("get", "pods", "-A", "-o", "json"))["items"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"].get("deletionTimestamp")
        or pod["status"].get("phase") not in ("Running", "Succeeded")
    ]
