"""The owner's words on a real night: what is made quiet comes back, the brake ends a night between two nodes, a worker is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.gate_world import CLUSTER_FILE, changed_policy
from tests.lab.test_night import KUBEADM_UNIT, SLOT, assert_clean, assert_on_target
from tests.lab.world import World, wait_until

from nsdemo.processes import stop_airflow

BRAKE = "brake_lab"
MARK = "nightshift.io/quarantined"
WAVE = "workers.wave_02.upgrade_node"
QUIET = [
    {"kind": "Deployment", "namespace": "shop", "name": "batch"},
    {"kind": "CronJob", "namespace": "shop", "name": "nightly"},
]


class OwnersWorld(World):
    """The lab under a policy of its own.

    Args:
        clusters: directory with the cluster's file.
    """

    def __init__(self, clusters: Path) -> None:
        super().__init__()
        self._clusters = clusters

    def airflow_settings(self) -> dict[str, str]:
        """What this Airflow's processes are told."""
        return {**super().airflow_settings(), "NIGHTSHIFT_CLUSTERS": str(self._clusters)}


@pytest.fixture
def owners_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnersWorld]:
    """A fresh lab whose owner has two workloads made quiet; its Airflow is stopped before and after."""
    policy = changed_policy(CLUSTER_FILE.read_text(encoding="utf-8"), {"quiesce": QUIET})
    (tmp_path / "lab.yaml").write_text(policy, encoding="utf-8")
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", str(tmp_path))  # enrolment gives the rights that the file names
    world = OwnersWorld(tmp_path)
    stop_airflow(world.home, print)
    yield world
    stop_airflow(world.home, print)


def start_workloads(world: World) -> None:
    """Two workloads that can be made quiet."""
    image = json.loads(world.kubectl("-n", "shop", "get", "deployment", "web", "-o", "json"))
    name = image["spec"]["template"]["spec"]["containers"][0]["image"]
    world.kubectl("-n", "shop", "create", "deployment", "batch", f"--image={name}", "--replicas=2")
    world.kubectl("-n", "shop", "create", "cronjob", "nightly", f"--image={name}", "--schedule=0 3 1 1 *")
    world.kubectl("-n", "shop", "rollout", "status", "deployment/batch", "--timeout=120s")


def quiet(world: World) -> tuple[int, bool]:
    """Replicas of the deployment, and whether the CronJob is suspended."""
    deployment = json.loads(world.kubectl("-n", "shop", "get", "deployment", "batch", "-o", "json"))
    job = json.loads(world.kubectl("-n", "shop", "get", "cronjob", "nightly", "-o", "json"))
    return deployment["spec"]["replicas"], bool(job["spec"].get("suspend"))


def set_brake(world: World, action: str) -> None:
    """Press or release it, as a person does in the UI."""
    world.api.unpause(BRAKE)
    run_id = world.api.start(BRAKE, action=action, reason="lab test")
    assert world.finish(run_id, dag_id=BRAKE)["state"] == "success"


def test_a_braked_night_gives_back_what_was_quiet_and_the_next_one_goes_on(owners_world: OwnersWorld) -> None:
    world = owners_world
    world.fresh()
    start_workloads(world)
    run_id = world.upgrade_until_job(SLOT, "cp1", KUBEADM_UNIT)
    assert quiet(world) == (0, True)

    set_brake(world, "pause")
    run = world.finish(run_id)

    assert run["state"] == "success", run["note"]
    assert "brake" in run["note"].lower()
    versions = world.kubelet_versions()
    assert (versions["cp1"], versions["w1"], versions["w2"]) == ("v1.35.4", "v1.34.4", "v1.34.4")
    assert quiet(world) == (2, False)
    assert_clean(world)

    held = world.night()
    assert (held["state"], held["ledger"]["answer"]) == ("success", "held")

    set_brake(world, "release")
    run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    assert_clean(world)
    assert quiet(world) == (2, False)


def mark_of(world: World, node: str) -> Any:
    """What says that a node was set aside; None when nothing does."""
    return world.nodes()[node]["metadata"].get("annotations", {}).get(MARK)


def test_a_worker_whose_upgrade_fails_is_set_aside_and_the_next_night_takes_it(world: World) -> None:
    world.fresh()
    run_id = world.upgrade_until_job(WAVE, "w2", KUBEADM_UNIT)
    world.on_node("w2", f"systemctl kill -s KILL {KUBEADM_UNIT}")

    run = world.finish(run_id)

    words = {node["name"]: node["outcome"] for node in run["ledger"]["nodes"]}
    assert words == {"cp1": "upgraded", "w1": "upgraded", "w2": "quarantined"}, run["note"]
    assert "w2" in run["note"]
    assert world.cordoned() == []
    assert mark_of(world, "w2")
    assert world.lease()[0] == ""
    assert world.gauge("k8s_upgrade_in_flight") == 0

    run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    wait_until(lambda: not world.marks(), "no mark is left", 60)
    assert_clean(world)
