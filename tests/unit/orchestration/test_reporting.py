from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from nightshift.orchestration.reporting import NightShape, find_failure, gather_facts

SHAPE = NightShape(
    phases={"gates": ["decide"], "workers": ["w.drain_node", "w.uncordon_node"], "closing": ["release"]},
    node_tasks=[("w.drain_node", "w.uncordon_node")],
)
ERROR = {"code": "JOB_FAILED", "message": "kubeadm ended with 1."}


@pytest.mark.parametrize(
    ("states", "xcoms", "said"),
    [
        ({"decide": "success"}, {}, None),
        (
            {"w.drain_node_0": "failed"},
            {("w.drain_node", "failure"): ERROR},
            "w.drain_node failed (JOB_FAILED)",
        ),
        ({"w.drain_node_1": "failed"}, {}, "w.drain_node failed without a word: its process was killed"),
        ({"w.drain_node": "upstream_failed"}, {}, None),
        ({"decide": "failed", "w.drain_node": "upstream_failed"}, {}, "decide failed without a word"),
        (
            {"release": "failed", "w.drain_node_0": "failed"},
            {("w.drain_node", "failure"): ERROR, ("release", "failure"): {"code": "X", "message": "y"}},
            "w.drain_node failed (JOB_FAILED)",
        ),
    ],
)
def test_the_first_failure_of_the_night_is_told(
    context: Any, states: dict[str, str], xcoms: dict[tuple[str, str], Any], said: str | None
) -> None:
    context["ti"].states, context["ti"].xcoms = states, xcoms
    found = find_failure(context, SHAPE.tasks)
    assert found is None if said is None else str(found).startswith(said)


def test_a_blind_decision_is_an_answer_and_no_failure(context: Any) -> None:
    context["ti"].states = {"decide": "failed"}
    context["ti"].xcoms = {
        ("decide", "return_value"): {"answer": "blind", "sentence": "w2 is away.", "plan": None}
    }
    context["dag_run"] = SimpleNamespace(start_date=datetime(2026, 11, 23, tzinfo=UTC))
    assert gather_facts(context, SHAPE)["failure"] is None


NIGHT = NightShape(
    phases={"opening": ["open_night", "detect_target"], "gates": ["decide"], "preparation": ["claim"]},
    node_tasks=[],
)


def test_what_fails_before_the_claim_is_part_of_a_blind_answer(context: Any) -> None:
    """`failed` would say that the cluster was given back, and nobody had taken it."""
    context["ti"].states = {
        "open_night": "failed",
        "detect_target": "upstream_failed",
        "decide": "failed",
        "claim": "upstream_failed",
    }
    context["ti"].xcoms = {
        ("open_night", "failure"): {"code": "API_UNREACHABLE", "message": "The API does not answer."},
        ("decide", "return_value"): {"answer": "blind", "sentence": "A step failed.", "plan": None},
    }
    context["dag_run"] = SimpleNamespace(start_date=None)
    facts = gather_facts(context, NIGHT)
    assert facts["failure"] is None
    said = "A step failed. open_night failed (API_UNREACHABLE): The API does not answer."
    assert facts["decision"]["sentence"] == said


def test_times_of_nodes_and_phases(context: Any) -> None:
    context["dag_run"] = SimpleNamespace(start_date=None)
    context["ti"].xcoms = {
        ("w.drain_node", "return_value"): {"node": "w1", "began": 100.0, "ended": 104.0},
        ("w.uncordon_node", "return_value"): {"node": "w1", "began": 110.0, "ended": 112.5},
    }
    facts = gather_facts(context, SHAPE)
    assert facts["node_seconds"] == {"w1": 12.5}
    assert facts["phase_seconds"] == {"workers": 12.5}
    assert facts["decision"] is None
