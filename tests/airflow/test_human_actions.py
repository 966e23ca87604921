"""What people do to a run in the UI: real DAG, real steps, Airflow's own functions behind its buttons.

A process that lives on after its task was marked is not in here: in this one process a task always comes to its end.
"""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.api.common.mark_tasks import set_dag_run_state_to_failed, set_dag_run_state_to_success
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from tests.airflow.conftest import Night

from nightshift.orchestration import probe


class _Pod:
    def execute_sync(self, context: Any) -> None:
        """Answer well."""


@pytest.fixture(autouse=True)
def _pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_pod_operator", lambda *_: _Pod())


def _states(run: Any) -> dict[str, str]:
    return {
        f"{ti.task_id}[{ti.map_index}]" if ti.map_index >= 0 else ti.task_id: str(ti.state)
        for ti in run.get_task_instances()
    }


def _assert_nothing_owed(night: Night) -> None:
    cluster = night.cluster
    assert not any(n.is_unschedulable or n.annotations for n in cluster.nodes.values())
    assert (cluster.lease.holder, cluster.marks) == ("", {})
    assert not night.gauges.values.get("k8s_upgrade_in_flight")


def _jobs(night: Night, node: str) -> list[str]:
    return [call[0] for call in night.cluster.fakes[node].calls]


@pytest.mark.parametrize(
    ("task", "state", "said", "upgraded"),
    [
        ("snapshot", "failed", "SNAPSHOT_ABSENT", set()),
        ("control_plane.slot_01.check_etcd", "failed", "slot_01.drain_node failed", set()),
        ("control_plane.slot_01.drain_node", "success", "3 of 3 nodes run 1.35.4", {"cp1", "w1", "w2"}),
        ("control_plane.slot_01.upgrade_node", "failed", "KUBELET_TOO_EARLY", set()),
        ("workers.check_etcd_01", "failed", "ended before the upgrade was complete", {"cp1"}),
    ],
)
def test_a_task_that_is_marked_as_success_before_it_was_done_does_no_harm(
    night: Night, upgrade_dag: DAG, task: str, state: str, said: str, upgraded: set[str]
) -> None:
    night.cluster.add_pod("cp1", "web-1")
    run = upgrade_dag.test(mark_success_pattern=task.replace(".", r"\."))
    assert (_states(run)[task], str(run.state)) == ("success", state)
    assert said in night.notes[0]
    assert {n.name for n in night.cluster.nodes.values() if n.kubelet_version == "1.35.4"} == upgraded
    # Without its verdict nothing of the slot is begun; without a snapshot there is nothing to rehearse with.
    is_drained = not task.endswith(("slot_01.check_etcd", "snapshot"))
    assert bool(night.cluster.pods["cp1"]) is not is_drained
    _assert_nothing_owed(night)


@pytest.mark.parametrize("mark", [set_dag_run_state_to_failed, set_dag_run_state_to_success])
def test_a_run_that_is_marked_while_kubeadm_works_gives_the_cluster_back_and_the_ledger_says_so(
    night: Night, upgrade_dag: DAG, mark: Callable[..., Any]
) -> None:
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(upgrade_dag))

    def press(step: str) -> None:
        if step == "kubeadm-upgrade":
            mark(dag=serialized, run_id=night.cluster.lease.holder.split("/")[2], commit=True)

    night.cluster.fakes["cp1"].before_job = press
    states = _states(upgrade_dag.test())
    assert (states["release"], states["report"]) == ("success", "success")
    assert states["workers.check_etcd_01"] == "skipped"
    assert _jobs(night, "w1") == ["stage"]
    assert night.ledger()["answer"] == "failed"
    _assert_nothing_owed(night)
