"""What the owner's lab nights build on, without a lab: a window that closes, a budget that is tight and no deadlock, the policy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.lab import owner_world
from tests.lab.owner_world import AS_BEFORE, PATIENT_FILE, QUIESCE, OwnersWorld, closing_window, end_of
from tests.unit.domain.builders import node, round_of

import nsdemo.lab
from nightshift.clients.cluster_config import load_cluster
from nightshift.clients.kube_objects import budget_facts, pod_facts
from nightshift.domain.gates import drainability
from nightshift.domain.policy import ClusterPolicy, WindowPolicy
from nightshift.domain.verdicts import Outcome
from nightshift.domain.window import check_window


@pytest.mark.parametrize("now", ["12:00:00", "12:00:59", "00:00:30", "23:59:01", "05:30:00"])
def test_the_window_is_open_now_and_closed_a_minute_later(now: str) -> None:
    moment = datetime.fromisoformat(f"2026-11-29T{now}+00:00")
    said, closes = closing_window(moment)
    window = WindowPolicy(**said["window"])
    assert timedelta() < closes - moment <= timedelta(minutes=1)
    assert check_window(window, moment).outcome is Outcome.PASS
    assert check_window(window, closes).code == "WINDOW_CLOSED"


def running(template: dict[str, Any], name: str, *, is_ready: bool) -> dict[str, Any]:
    """A pod of this template, as a cluster would have it on w2."""
    owner = {"kind": "ReplicaSet", "name": name, "controller": True}
    about = {"name": f"{name}-1", "namespace": "tight", "uid": name, "ownerReferences": [owner]}
    ready = {"type": "Ready", "status": str(is_ready)}
    return {
        "metadata": {**template["metadata"], **about},
        "spec": {**template["spec"], "nodeName": "w2"},
        "status": {"phase": "Running", "conditions": [ready]},
    }


def test_a_drain_of_the_tight_budgets_pods_would_wait_and_no_gate_shuts() -> None:
    _, keeper, absent, budget = owner_world.tight_objects("w2")
    assert "readinessProbe" in absent["spec"]["template"]["spec"]["containers"][0]
    pods = [
        pod_facts(running(made["spec"]["template"], made["metadata"]["name"], is_ready=made is keeper))
        for made in (keeper, absent)
    ]
    status = {"currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 2, "disruptionsAllowed": 0}
    facts: dict[str, Any] = {
        "nodes": (node("cp1"), node("w1"), node("w2")),
        "pods": tuple(pods),
        "budgets": (budget_facts({**budget, "status": status}),),
        "volumes": {},
    }
    verdict = drainability.check(round_of(**facts), ClusterPolicy("lab", "k", "s", "file:///s"))
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "PDB_TIGHT"), verdict.message
    assert [f["code"] for f in verdict.evidence["findings"]] == ["PDB_TIGHT"], "nothing is pinned"
    assert "tight/keeper-1" in verdict.message


def test_the_owners_policy_can_be_read_and_is_written_anew_as_a_whole(tmp_path: Path) -> None:
    world = OwnersWorld(tmp_path, PATIENT_FILE)
    world.say(QUIESCE, {"window": {"start": "01:00", "end": "02:00"}})
    policy = load_cluster(tmp_path / "lab.yaml")
    assert {name.name for name in policy.quiesce} == set(AS_BEFORE)
    assert (policy.window.end, policy.schedule) == ("02:00", None)
    world.say()
    assert load_cluster(tmp_path / "lab.yaml").window == WindowPolicy()
    assert [path.name for path in tmp_path.iterdir()] == ["lab.yaml"]


def test_settings_are_replicas_or_whether_it_is_suspended() -> None:
    asked: list[tuple[str, ...]] = []

    def kubectl(*arguments: str, **_: Any) -> str:
        asked.append(arguments)
        items = [
            ("Deployment", "batch", {"replicas": 2}),
            ("StatefulSet", "queue", {"replicas": 3}),
            ("CronJob", "nightly", {}),
            ("CronJob", "resting", {"suspend": True}),
        ]
        made = [{"kind": kind, "metadata": {"name": name}, "spec": spec} for kind, name, spec in items]
        return json.dumps({"items": made})

    assert owner_world.settings(SimpleNamespace(kubectl=kubectl)) == AS_BEFORE  # type: ignore[arg-type]
    assert {"deployment/batch", "statefulset/queue", "cronjob/nightly", "cronjob/resting"} <= set(asked[0])


def test_the_shared_worlds_cluster_counts_as_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next case would take what an owner's night left for a fresh cluster."""
    stopped: list[object] = []
    monkeypatch.setattr(owner_world, "rest_airflow", lambda home, dag_id, say: stopped.append(home))
    shared = owner_world.World()
    shared.used = False
    with owner_world.owned(shared, tmp_path, monkeypatch) as mine:
        assert shared.used
        assert tmp_path == nsdemo.lab.CLUSTERS, "enrolment gives the rights that the owner's file names"
    assert stopped == [mine.home, mine.home]


def test_a_node_is_done_when_it_is_uncordoned() -> None:
    nodes = [{"name": "cp1", "began": "2026-11-29T12:00:00.000+00:00", "seconds": 90.5}]
    done = end_of({"ledger": {"nodes": nodes}}, "cp1")
    assert done == datetime(2026, 11, 29, 12, 1, 30, 500_000, UTC)
