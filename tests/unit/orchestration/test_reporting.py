from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from nightshift.orchestration.reporting import NightShape, PlaceTasks, find_failure, gather_facts, show_note

SHAPE = NightShape(
    phases={"gates": ["decide"], "workers": ["w.drain_node", "w.uncordon_node"], "closing": ["release"]},
    places=[PlaceTasks("w.check_etcd", {"drain": "w.drain_node", "uncordon": "w.uncordon_node"})],
)
ERROR = {
    "task": "w.drain_node",
    "code": "JOB_FAILED",
    "message": "kubeadm ended with 1.",
    "cause": "c",
    "next_step": "n",
    "is_blind": False,
}


@pytest.mark.parametrize(
    ("states", "xcoms", "said"),
    [
        ({"decide": "success"}, {}, None),
        (
            {"w.drain_node_0": "failed"},
            {("w.drain_node", "failure"): ERROR},
            "w.drain_node failed (JOB_FAILED)",
        ),
        ({"w.drain_node_1": "failed"}, {}, "w.drain_node failed: It left no word: its process was killed"),
        ({"w.drain_node": "upstream_failed"}, {}, None),
        ({"decide": "failed", "w.drain_node": "upstream_failed"}, {}, "decide failed: It left no word"),
        (
            {"release": "failed", "w.drain_node_0": "failed"},
            {("w.drain_node", "failure"): ERROR, ("release", "failure"): {**ERROR, "code": "X"}},
            "w.drain_node failed (JOB_FAILED)",
        ),
    ],
)
def test_the_first_failure_of_the_night_is_told(
    context: Any, states: dict[str, str], xcoms: dict[tuple[str, str], Any], said: str | None
) -> None:
    context["ti"].states, context["ti"].xcoms = states, xcoms
    found = find_failure(context, SHAPE)
    assert found is None if said is None else found.sentence.startswith(said)


@pytest.mark.parametrize(("task", "answer"), [("decide", "blind"), ("w.drain_node", "failed")])
def test_what_could_not_be_known_is_blind_only_while_the_night_looks(
    context: Any, task: str, answer: str
) -> None:
    context["ti"].states = {task: "failed"}
    context["ti"].xcoms = {(task, "failure"): {**ERROR, "is_blind": True}}
    found = find_failure(context, SHAPE)
    assert (found.task, found.answer) == (task, answer)


def test_a_blind_decision_is_an_answer_and_no_failure(context: Any) -> None:
    context["ti"].states = {"decide": "failed"}
    context["ti"].xcoms = {
        ("decide", "return_value"): {"answer": "blind", "sentence": "w2 is away.", "plan": None}
    }
    context["dag_run"] = SimpleNamespace(start_date=datetime(2026, 11, 23, tzinfo=UTC))
    assert gather_facts(context, SHAPE)["failure"] is None


def test_a_gate_that_was_killed_is_part_of_the_blind_answer(context: Any) -> None:
    """`failed` would say that something was taken and given back."""
    shape = NightShape({"gates": ["gates.disk_usage", "decide"], "preparation": ["claim"]}, [])
    context["ti"].states = {"gates.disk_usage": "failed", "decide": "failed", "claim": "upstream_failed"}
    said = {
        "answer": "blind",
        "code": "GATE_SILENT",
        "sentence": "Gate disk_usage gave no verdict.",
        "plan": None,
    }
    context["ti"].xcoms = {("decide", "return_value"): said}
    context["dag_run"] = SimpleNamespace(start_date=None)
    assert gather_facts(context, shape)["failure"] is None


def test_times_of_nodes_and_phases(context: Any) -> None:
    context["dag_run"] = SimpleNamespace(start_date=None)
    drained = {"node": "w1", "began": 100.0, "ended": 104.0}
    freed = {"node": "w1", "began": 110.0, "ended": 112.5}
    said = {"outcome": "pass", "nodes": ["w1"], "began": 90.0, "ended": 99.0}
    context["ti"].xcoms = {
        ("w.drain_node", "return_value"): drained,
        ("w.uncordon_node", "return_value"): freed,
        ("w.check_etcd", "verdict"): said,
    }
    facts = gather_facts(context, SHAPE)
    assert facts["node_steps"] == {"w1": {"drain": drained, "uncordon": freed}}
    assert facts["node_gates"] == [{"task": "w.check_etcd", **said}]
    assert facts["phase_seconds"] == {"workers": 12.5}
    assert facts["decision"] is None


def test_who_was_set_aside_is_collected_from_each_wave_that_may(context: Any) -> None:
    steps = {"drain": "w.drain_node"}
    places = [PlaceTasks("c.check_etcd", steps), PlaceTasks("w.check_etcd", steps, "w.quarantine_node")]
    shape = NightShape({"workers": ["w.drain_node", "w.quarantine_node"], "gates": ["decide"]}, places)
    context["dag_run"] = SimpleNamespace(start_date=None)
    context["ti"].xcoms = {("w.quarantine_node", "return_value"): {"node": "w2"}}
    assert gather_facts(context, shape)["quarantined"] == ["w2"]


def test_without_its_connection_a_note_says_who_writes_that(context: Any) -> None:
    """`enrol` writes the cluster's two, and never this one."""
    lines: list[str] = []
    task = SimpleNamespace(log=SimpleNamespace(warning=lambda text, *about: lines.append(text % about)))
    show_note(task, context, "All is well.")
    assert "CONNECTION_MISSING" in lines[0]
    assert "make_env.py" in lines[0]
    assert "docs/operations.md" in lines[0]
    assert "enrol" not in lines[0]
