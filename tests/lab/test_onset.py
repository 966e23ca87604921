"""etcd becomes slow between two control-plane nodes: the next one waits, goes on by itself, or stays for tomorrow."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import datetime
from functools import partial

import pytest
from tests.lab.test_night import TARGET, assert_clean, assert_on_target
from tests.lab.world import ENDED, CordonWatch, World, wait_until

from nsdemo.api import patiently

VERDICT_SECONDS = 90
GATES = {number: f"control_plane.slot_{number:02d}.check_etcd" for number in (2, 3)}
DELAY = "300"  # milliseconds of each sync: above the gate's limit, and the API stays usable


class Cordons:
    """Nodes that were cordoned after a moment."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, frozenset[str]]] = []

    def take(self, nodes: frozenset[str]) -> None:
        """One moment."""
        self._seen.append((time.time(), nodes))

    def since(self, moment: float) -> set[str]:
        """Every node that was cordoned at some time since then."""
        return {node for at, nodes in self._seen if at >= moment for node in nodes}


def inflict_after_slot(world: World, run_id: str, number: int) -> float:
    """Make every etcd slow once a control-plane node was given back; returns when."""
    done = f"control_plane.slot_{number:02d}.uncordon_node"
    ends = (*ENDED, "upstream_failed", "skipped")
    state = wait_until(lambda: (s := world.states(run_id).get(done)) in ends and s, done, 2400, pause=0.5)
    assert state == "success", f"{done}: {state}"
    world.lab("break", "etcd-slow", DELAY)
    return time.time()


def refusals(world: World, run_id: str, task_id: str) -> list[float]:
    """When tries of a gate ended without letting anything pass, epoch seconds, the first one first."""
    tries = [
        t
        for t in patiently(lambda: world.api.tries(run_id))
        if t["task_id"] == task_id and t["state"] in ("failed", "up_for_retry")
    ]
    return sorted(datetime.fromisoformat(t["end_date"]).timestamp() for t in tries if t["end_date"])


def firing(world: World) -> set[str]:
    """Names of the alerts that Prometheus fires."""
    with urllib.request.urlopen(f"{world.facts['NSLAB_PROMETHEUS_URL']}/api/v1/alerts", timeout=5) as answer:
        alerts = json.load(answer)["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@pytest.mark.timeout(7200)
def test_a_slow_etcd_between_control_planes_waits_goes_on_and_at_last_stays_for_tomorrow(
    world: World,
) -> None:
    world.fresh("ha")
    world.used = True
    cordons = Cordons()
    with CordonWatch(world.kubectl_command(), cordons.take):
        run_id = world.upgrade_until_running("control_plane.slot_01.upgrade_node")

        onset = inflict_after_slot(world, run_id, 1)
        (first, *_) = wait_until(partial(refusals, world, run_id, GATES[2]), "a verdict", 300)
        assert first - onset <= VERDICT_SECONDS
        assert cordons.since(onset) == set()
        world.lab("heal", "etcd-slow")

        onset = inflict_after_slot(world, run_id, 2)  # the night went on by itself
        run = world.finish(run_id)
        assert cordons.since(onset) == set()
    assert refusals(world, run_id, GATES[3])[0] - onset <= VERDICT_SECONDS
    assert run["state"] == "failed"
    assert "ETCD_SLOW" in json.dumps(run["ledger"]), run["note"]
    # Which one comes last is the plan's: etcd's leader of this evening.
    (late,) = next(gate["nodes"] for gate in run["ledger"]["node_gates"] if gate["task"] == GATES[3])
    upgraded = {name for name, version in world.kubelet_versions().items() if version == TARGET}
    assert upgraded == {"cp1", "cp2", "cp3"} - {late}
    assert_clean(world)
    wait_until(lambda: "NightshiftFailed" in firing(world), "the alert", 60)
    world.lab("heal", "etcd-slow")

    run = world.upgrade_on_a_quiet_disk()

    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    assert_clean(world)
    wait_until(lambda: "NightshiftFailed" not in firing(world), "the alert ends", 60)
