"""The shape of the DAGs, and the rules every task follows."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseSensorOperator, WeightRule

from nightshift.domain.gates import GATES
from nightshift.domain.limits import task_seconds
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment
from nightshift.orchestration.operators import AskOperator, DecideOperator, StepOperator
from nightshift.orchestration.retries import RETRY_POLICY


def _line(task: Any) -> str:
    kind = "setup " if task.is_setup else "teardown " if task.is_teardown else ""
    mapped = "[mapped] " if task.is_mapped or _in_mapped_group(task) else ""
    return f"{task.task_id}  {kind}{mapped}{task.trigger_rule.value} <- {', '.join(sorted(task.upstream_task_ids))}"


def _in_mapped_group(task: Any) -> bool:
    return next(task.iter_mapped_task_groups(), None) is not None


def test_the_night_has_this_shape(upgrade_dag: DAG, golden: Callable[[str, str], None]) -> None:
    golden("upgrade_small.txt", "\n".join(map(_line, upgrade_dag.topological_sort())) + "\n")


def test_every_gate_has_its_place_in_the_grid(upgrade_dag: DAG) -> None:
    """Two wait for themselves; the others are asked by one task, each with a mark behind it that says what it looks at."""
    asked = upgrade_dag.get_task("gates.ask")
    marks = {task.task_id for task in upgrade_dag.tasks if isinstance(task, EmptyOperator)}
    assert asked.downstream_task_ids == marks == {f"gates.{name}" for name in asked.gates}
    at_night = {gate.name for gate in GATES.values() if Moment.NIGHT in gate.moments}
    assert {"etcd_latency", "disk_usage", *asked.gates} == at_night
    for name in at_night:
        assert upgrade_dag.get_task(f"gates.{name}").doc_md == GATES[name].doc


@pytest.mark.parametrize("name", ["broken", "torn"])
def test_a_file_that_breaks_takes_no_task_from_a_run_under_way(
    dag_bag: DagBag, upgrade_dag: DAG, name: str
) -> None:
    """Airflow kills the tasks of a live run that are not in its DAG any more, `release` included."""
    closed = dag_bag.dags[f"upgrade_{name}"]
    assert list(map(_line, closed.topological_sort())) == list(map(_line, upgrade_dag.topological_sort()))
    assert closed.on_failure_callback
    assert dag_bag.dags[f"recover_{name}"].task_ids == ["recover"]


def test_while_a_file_is_broken_the_cluster_is_given_back_and_nothing_else(dag_bag: DagBag) -> None:
    tasks = dag_bag.dags["upgrade_broken"].tasks
    willing = [t for t in tasks if isinstance(t, StepOperator) and t.refusal is None]
    assert {t.task_id for t in willing if not isinstance(t, (AskOperator, DecideOperator))} == {
        "release",
        "report",
    }
    assert "invalid" in dag_bag.dags["upgrade_broken"].tags
    assert dag_bag.dags["recover_broken"].get_task("recover").refusal is None


def test_the_watcher_is_the_only_leaf_that_colours_the_run(upgrade_dag: DAG) -> None:
    leaves = [t.task_id for t in upgrade_dag.leaves if not (t.is_teardown and not t.on_failure_fail_dagrun)]
    assert leaves == ["watcher"]


def test_no_teardown_hides_a_failure(upgrade_dag: DAG) -> None:
    teardowns = [t for t in upgrade_dag.tasks if t.is_teardown]
    assert {t.task_id for t in teardowns} == {"release", "report"}
    assert not any(t.on_failure_fail_dagrun for t in teardowns)


def test_a_failed_run_is_recovered_from_outside_its_tasks_too(upgrade_dag: DAG) -> None:
    """The teardown cannot run when Airflow's scheduler gives the run up; no task has a callback of its own."""
    from nightshift.orchestration.callbacks import recover_failed_run

    assert upgrade_dag.on_failure_callback.func is recover_failed_run
    assert upgrade_dag.on_failure_callback.keywords["policy"].name == "small"
    assert not [t.task_id for t in upgrade_dag.tasks if t.on_failure_callback]


def test_one_run_at_a_time_and_no_catching_up(dag_bag: DagBag) -> None:
    for dag in dag_bag.dags.values():
        assert (dag.catchup, dag.dagrun_timeout) == (False, None)
    assert dag_bag.dags["upgrade_small"].max_active_runs == 1
    assert dag_bag.dags["recover_small"].max_active_runs == 1


def test_the_sweeper_works_from_the_first_minute(dag_bag: DagBag) -> None:
    sweeper = dag_bag.dags["recover_small"]
    assert sweeper.is_paused_upon_creation is False
    assert sweeper.schedule == "* * * * *"
    assert sweeper.get_task("recover").step == "recover:sweep"


def test_the_look_by_day_needs_no_click(dag_bag: DagBag) -> None:
    """It changes nothing, and the pages say that it runs daily."""
    for name in ("small", "broken"):
        assert dag_bag.dags[f"readiness_{name}"].is_paused_upon_creation is False
    assert dag_bag.dags["upgrade_small"].is_paused_upon_creation is not False


def test_the_sweeper_gets_the_next_free_slot(dag_bag: DagBag, upgrade_dag: DAG) -> None:
    sweeper = dag_bag.dags["recover_small"].get_task("recover")
    assert sweeper.weight_rule == WeightRule.ABSOLUTE
    assert sweeper.priority_weight > sum(t.priority_weight for t in upgrade_dag.tasks)


def test_unpausing_starts_no_missed_night(upgrade_dag: DAG) -> None:
    assert upgrade_dag.start_date is None
    assert upgrade_dag.timetable.run_immediately == timedelta(0)


def test_steps_with_a_job_know_their_node_without_the_api(upgrade_dag: DAG) -> None:
    """And only those: what else is handed on would be asked of nobody."""
    told = {
        t.task_id.rpartition(".")[2]
        for t in upgrade_dag.tasks
        if isinstance(t, StepOperator) and "addresses" in t.inputs
    }
    assert told == {"upgrade_node", "upgrade_kubelet"}


def test_every_task_is_documented(dag_bag: DagBag) -> None:
    undocumented = [f"{d.dag_id}.{t.task_id}" for d in dag_bag.dags.values() for t in d.tasks if not t.doc_md]
    assert undocumented == []
    assert all(dag.doc_md for dag in dag_bag.dags.values())


def test_every_task_has_a_time_limit(upgrade_dag: DAG) -> None:
    """One while it runs, and sensors another while they wait: neither counts for the other."""
    for task in upgrade_dag.tasks:
        if task.task_id in ("watcher", "postflight.list_nodes"):
            continue  # one line of Python
        if isinstance(task, EmptyOperator):
            continue  # a mark: it is never executed
        assert task.execution_timeout, task.task_id
        if _is_sensor(task):
            assert 0 < task.timeout < timedelta(hours=1).total_seconds(), task.task_id


def test_limits_are_those_of_the_policy(upgrade_dag: DAG) -> None:
    limits = task_seconds(ClusterPolicy("small", "k", "s", "file:///s", control_plane_slots=2))
    tasks = ("upgrade_node", "check_etcd")
    for name in ("stage", "snapshot", "release", *(f"control_plane.slot_01.{task}" for task in tasks)):
        expected = limits[name.rpartition(".")[2]]
        assert upgrade_dag.get_task(name).execution_timeout == timedelta(seconds=expected), name


def _is_sensor(task: Any) -> bool:
    return issubclass(getattr(task, "operator_class", type(task)), BaseSensorOperator)


def test_retries_are_few_and_decided_by_the_kind_of_error(upgrade_dag: DAG) -> None:
    for task in upgrade_dag.tasks:
        assert task.retries <= 3, task.task_id
        if task.retries:
            assert task.retry_policy is RETRY_POLICY, task.task_id
            assert task.max_retry_delay == timedelta(minutes=1), task.task_id


def test_places_tell_their_nodes_name(upgrade_dag: DAG) -> None:
    for task in upgrade_dag.tasks:
        if "slot_" in task.task_id or "wave_" in task.task_id or task.task_id.endswith("probe_pod"):
            assert "node_name" in (task.map_index_template or ""), task.task_id


@pytest.mark.parametrize("name", ["target_version", "reason"])
def test_the_form_explains_its_fields_and_has_defaults(upgrade_dag: DAG, name: str) -> None:
    param = upgrade_dag.params.get_param(name)
    assert param.schema["title"]
    assert len(param.description) > 20
    param.resolve()


def test_the_forms_can_be_sent_as_they_come(dag_bag: DagBag) -> None:
    """In Airflow's form a text field that may not be null must not be empty: its Trigger button stays grey."""
    for dag in dag_bag.dags.values():
        for name in dag.params:
            param = dag.params.get_param(name)
            types = param.schema["type"]
            assert "null" in types or param.value not in (None, ""), f"{dag.dag_id}: {name}"


@pytest.mark.parametrize("value", ["1.35", "latest", "1.35.4; rm -rf /", "v1.35.4-beta"])
def test_the_form_refuses_what_is_no_version(upgrade_dag: DAG, value: str) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        upgrade_dag.params.get_param("target_version").resolve(value)


def test_dags_survive_serialisation(dag_bag: DagBag) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in dag_bag.dags.values():
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert {t.task_id for t in again.tasks} == set(dag.task_ids)


def test_the_sweepers_own_runs_are_never_dry(dag_bag: DagBag) -> None:
    sweeper = dag_bag.dags["recover_small"]
    assert sweeper.params["dry_run"] is False
    dry_run = sweeper.get_task("recover").inputs["dry_run"]
    assert [dry_run({"params": {"dry_run": asked}}) for asked in (True, False)] == [True, False]


def test_the_brake_is_ready_to_be_pressed_and_goes_first(dag_bag: DagBag) -> None:
    for name in ("small", "broken", "torn"):
        button = dag_bag.dags[f"brake_{name}"]
        assert (button.schedule, button.is_paused_upon_creation, button.max_active_runs) == (None, False, 1)
        sweeper = dag_bag.dags[f"recover_{name}"].get_task("recover")
        assert button.get_task("set_brake").priority_weight > sweeper.priority_weight
        assert button.get_task("set_brake").refusal is None


@pytest.mark.parametrize("value", ["2027-01-15T06:00:00+00:00", "2027-01-15T06:00:00Z", None])
def test_the_brakes_form_takes_a_moment_or_none(dag_bag: DagBag, value: str | None) -> None:
    dag_bag.dags["brake_small"].params.get_param("until").resolve(value)


def test_the_brakes_form_refuses_what_it_cannot_do(dag_bag: DagBag) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag_bag.dags["brake_small"].params.get_param("action").resolve("jump")
