"""A dry run and the daily look: they ask what a night asks, say what it would do, and change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import DAG
from tests.airflow.conftest import Night
from tests.airflow.test_nights import _run

from nightshift.domain.facts import ScratchEntry


def _world(night: Night) -> Any:
    """Everything a run could change."""
    cluster = night.cluster
    scratch = {name: tuple(fake.scratch) for name, fake in cluster.fakes.items()}
    return (
        dict(cluster.nodes),
        cluster.lease,
        dict(cluster.marks),
        dict(cluster.debts),
        scratch,
        dict(night.gauges.values),
    )


def _dry(night: Night, dag_bag: Any, name: str) -> tuple[str, dict[str, str]]:
    conf = {"dry_run": True} if name.startswith("upgrade") else {}
    return _run(dag_bag.dags[name], **conf)


@pytest.mark.parametrize("name", ["upgrade_small", "readiness_small"])
def test_it_says_the_night_and_changes_nothing(night: Night, dag_bag: Any, name: str) -> None:
    old = ScratchEntry("kubeadm-backup-etcd-2026-01-01-00-00-00", 0.0, 5, True)
    night.cluster.fakes["cp1"].scratch = (old,)
    before = _world(night)
    state, tasks = _dry(night, dag_bag, name)
    assert state == "success"
    assert _world(night) == before
    assert not any(fake.jobs for fake in night.cluster.fakes.values())
    assert tasks.get("claim", "skipped") == "skipped"
    assert night.notes[0].startswith(
        "Dry run, nothing was changed; The night would upgrade cp1, w1, w2 to 1.35.4 in about"
    )


def test_what_shuts_the_night_is_its_first_word(night: Night, dag_bag: Any) -> None:
    night.cluster.nodes["w1"] = replace(night.cluster.nodes["w1"], is_ready=False)
    state, tasks = _dry(night, dag_bag, "readiness_small")
    assert (state, tasks["gates.node_health"], tasks["gates.version_skew"]) == (
        "success",
        "skipped",
        "success",
    )
    assert "The night would not begin: node_health: w1 is not Ready" in night.notes[0]


def test_a_look_leaves_no_night_in_the_ledger_and_no_gauge(night: Night, dag_bag: Any) -> None:
    _dry(night, dag_bag, "readiness_small")
    folders = {path.parent.name for path in night.store.rglob("*.json")}
    assert "readiness" in folders
    assert "ledger" not in folders


def test_a_brake_is_said_and_stops_no_look(night: Night, upgrade_dag: DAG) -> None:
    night.cluster.paused = "disk is being changed"
    state, tasks = _run(upgrade_dag, dry_run=True)
    assert (state, tasks["gates.ask"]) == ("success", "success")
