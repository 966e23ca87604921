from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, chain
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout, DownstreamTasksSkipped

from nightshift.domain.errors import BlindError, ConfigError, HeldError, UnreachableError, VerificationError
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration import reporting
from nightshift.orchestration.brake_dag import BrakeOperator, who_asks
from nightshift.orchestration.callbacks import recover_failed_run
from nightshift.orchestration.operators import (
    AskOperator,
    DecideOperator,
    OpenNightOperator,
    QuarantineOperator,
    RecoverOperator,
    StepOperator,
    own_run_id,
    param,
    planned_addresses,
    pull,
    unless_ended,
)

ERROR = UnreachableError("NODE_UNREACHABLE", "w1 is away.", cause="power", next_step="Start it.")


def operator(kind: type[StepOperator], policy: ClusterPolicy, **arguments: Any) -> Any:
    return kind(task_id="me", policy=policy, step="a_step", **arguments)


def test_a_step_is_given_what_earlier_tasks_left(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    context["ti"].xcoms[("detect_target", "return_value")] = {"answer": "go", "target": {"version": "1.35.4"}}
    steps.answers["a_step"] = {"sentence": "Done."}
    inputs = {"a": pull("detect_target", "target"), "b": param("target_version"), "c": own_run_id, "d": 4}
    result = operator(StepOperator, policy, inputs=inputs, node="w1").execute(context)
    expected = {"a": {"version": "1.35.4"}, "b": "1.35.4", "c": "run-1", "d": 4, "node_name": "w1"}
    assert steps.calls == [("a_step", expected)]
    assert context["node_name"] == "w1"
    assert result["ended"] >= result["began"] > 0


@pytest.mark.parametrize(
    ("decision", "addresses"),
    [
        ({"plan": {"addresses": {"w1": "10.0.0.1"}}}, {"w1": "10.0.0.1"}),
        ({"plan": {"waves": [["w1"]]}}, {}),
        ({"plan": None}, {}),
        (None, {}),
    ],
    ids=["as it is", "of an older release", "no plan", "no decision"],
)
def test_addresses_come_from_the_plan(
    context: Any, decision: dict[str, Any] | None, addresses: dict[str, str]
) -> None:
    context["ti"].xcoms[("decide", "return_value")] = decision
    assert planned_addresses(context) == addresses


def test_a_known_error_is_left_for_the_report_and_said_plainly(
    steps: Any, context: Any, policy: ClusterPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.answers["a_step"] = ERROR
    with pytest.raises(UnreachableError):
        operator(StepOperator, policy).execute(context)
    assert context["ti"].xcoms[("me", "failure")]["next_step"] == "Start it."
    assert "docs/runbooks/NODE_UNREACHABLE.md" in capsys.readouterr().out


def test_a_step_is_told_when_its_try_began_not_when_its_process_came_round(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    steps.answers["a_step"] = {}
    operator(StepOperator, policy).execute(context)
    assert [s["began"] for s in steps.sessions] == [context["ti"].start_date.timestamp()]


@pytest.mark.parametrize("answer", ["held", "blocked", "nothing", "blind"])
def test_a_task_skips_itself_when_an_earlier_one_did_not_say_go(
    steps: Any, context: Any, policy: ClusterPolicy, answer: str
) -> None:
    context["ti"].xcoms[("open_night", "return_value")] = {"answer": answer, "sentence": "The brake is on."}
    with pytest.raises(AirflowSkipException, match="brake"):
        operator(StepOperator, policy, proceed_if=[pull("open_night")]).execute(context)


def test_a_task_skips_itself_when_the_night_ended_in_the_one_before_it(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    """That one is skipped for other reasons, too, and those keep nobody back."""
    steps.answers["a_step"] = {}
    behind = operator(StepOperator, policy, proceed_if=[unless_ended(["quiesce"])])
    behind.execute(context)
    context["ti"].xcoms[("quiesce", "ended")] = {"sentence": "The brake is on: anna."}
    with pytest.raises(AirflowSkipException, match="Not tonight: The brake is on: anna"):
        behind.execute(context)
    assert len(steps.calls) == 1


def test_the_first_refusal_is_the_decision(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    context["ti"].xcoms[("open_night", "return_value")] = {"answer": "held", "sentence": "The brake is on."}
    decide = operator(DecideOperator, policy, proceed_if=[pull("open_night"), pull("detect_target")])
    assert decide.execute(context)["answer"] == "held"
    assert steps.calls == []


@pytest.mark.parametrize("answer", ["go", "nothing", "held", "blocked"])
def test_every_answer_but_blind_is_green(
    steps: Any, context: Any, policy: ClusterPolicy, answer: str
) -> None:
    steps.answers["a_step"] = {"answer": answer, "sentence": "s", "verdicts": [], "plan": None}
    assert operator(DecideOperator, policy).execute(context)["answer"] == answer


def test_blind_gates_are_red_and_the_answer_is_kept_for_the_report(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    steps.answers["a_step"] = {"answer": "blind", "sentence": "w2 is away.", "verdicts": [], "plan": None}
    with pytest.raises(BlindError, match=r"NIGHT_BLIND.*w2 is away"):
        operator(DecideOperator, policy).execute(context)
    assert context["ti"].xcoms[("me", "return_value")]["answer"] == "blind"


def test_a_step_that_left_nothing_is_blind(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    with pytest.raises(BlindError, match="earlier step of this night failed"):
        operator(DecideOperator, policy, proceed_if=[pull("open_night")]).execute(context)
    assert context["ti"].xcoms[("me", "return_value")]["answer"] == "blind"


def test_after_a_failed_step_there_is_nothing_to_decide_and_no_second_error(
    steps: Any, context: Any, policy: ClusterPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    context["ti"].states = {"open_night": "success", "detect_target": "failed"}
    decide = operator(DecideOperator, policy, earlier=["open_night", "detect_target"])
    with pytest.raises(RuntimeError, match="detect_target failed"):
        decide.execute(context)
    assert context["ti"].xcoms == {}
    assert "Next step" not in capsys.readouterr().out


def test_a_blind_decision_says_what_its_verdicts_know(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    said = {
        "answer": "blind",
        "sentence": "w1?",
        "code": "DISK_UNKNOWN",
        "cause": "away",
        "next_step": "Look.",
        "look_again": "Look again at noon.",
    }
    steps.answers["a_step"] = said
    with pytest.raises(
        BlindError, match=r"^\[DISK_UNKNOWN\] w1\? Cause: away Next step: Look\. Look again at noon\.$"
    ):
        operator(DecideOperator, policy).execute(context)


def run_of(kind: str, late: timedelta) -> SimpleNamespace:
    return SimpleNamespace(run_type=kind, run_after=datetime.now(UTC) - late)


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (run_of("scheduled", timedelta(minutes=1)), "go"),
        (run_of("scheduled", timedelta(hours=10)), "held"),
        (run_of("manual", timedelta(hours=10)), "go"),
    ],
)
def test_only_a_missed_scheduled_night_is_held(
    steps: Any, context: Any, policy: ClusterPolicy, run: SimpleNamespace, answer: str
) -> None:
    steps.answers["a_step"] = {"answer": "go", "sentence": "The night is open."}
    context["dag_run"] = run
    assert operator(OpenNightOperator, policy).execute(context)["answer"] == answer


def test_what_is_still_owed_makes_the_task_red(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    steps.answers["a_step"] = {"answer": "partial", "remaining": ["w1 cordoned"], "sentence": "w1 is away."}
    with pytest.raises(VerificationError, match=r"RECOVERY_INCOMPLETE.*w1 cordoned"):
        operator(RecoverOperator, policy).execute(context)


def test_a_task_that_hits_its_limit_says_so(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    steps.answers["a_step"] = AirflowTaskTimeout()
    with pytest.raises(AirflowTaskTimeout):
        operator(StepOperator, policy, execution_timeout=timedelta(minutes=2)).execute(context)
    told = context["ti"].xcoms[("me", "failure")]
    assert (told["code"], told["message"]) == ("TASK_TIMED_OUT", "me timed out after 120 s.")


NOT_ENROLLED = ConfigError(
    "CONNECTION_MISSING", "Airflow has no connection 'kube'.", cause="c", next_step="n"
)


def test_the_sweeper_of_a_cluster_that_is_not_enrolled_skips_itself(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    steps.answers["a_step"] = NOT_ENROLLED
    with pytest.raises(AirflowSkipException, match="Airflow has no connection 'kube'"):
        operator(RecoverOperator, policy, inputs={"own_run_id": param("run_id")}).execute(context)


@pytest.mark.parametrize(
    ("error", "run_id"),
    [(NOT_ENROLLED, "run-1"), (ConfigError("CONFIG_INVALID", "m", cause="c", next_step="n"), None)],
)
def test_a_recovery_that_cannot_reach_the_cluster_is_red(
    steps: Any, context: Any, policy: ClusterPolicy, error: ConfigError, run_id: str | None
) -> None:
    steps.answers["a_step"] = error
    with pytest.raises(ConfigError):
        operator(RecoverOperator, policy, inputs={"own_run_id": run_id}).execute(context)


HELD = HeldError("BRAKE_ON", "The brake is on: anna.", cause="c", next_step="n")


@pytest.mark.parametrize(("node", "nodes"), [("w1", {"nodes": ["w1"]}), (None, {})])
def test_a_step_that_the_owner_kept_from_beginning_is_skipped_and_leaves_where_the_night_ended(
    steps: Any,
    context: Any,
    policy: ClusterPolicy,
    capsys: pytest.CaptureFixture[str],
    node: str | None,
    nodes: dict[str, Any],
) -> None:
    steps.answers["a_step"] = HELD
    with pytest.raises(AirflowSkipException, match="on the next night: The brake is on: anna"):
        operator(StepOperator, policy, node=node, place=("waves", 2)).execute(context)
    ended = {"code": "BRAKE_ON", "sentence": "The brake is on: anna.", "place": "waves", "index": 2, **nodes}
    assert context["ti"].xcoms == {("me", "ended"): ended}
    assert "Next step" not in capsys.readouterr().out


@pytest.mark.parametrize(("who", "by"), [("anna", "anna"), (None, "")])
def test_the_brakes_run_tells_what_comes_of_it_and_who_asked(
    steps: Any, context: Any, policy: ClusterPolicy, monkeypatch: pytest.MonkeyPatch, who: str | None, by: str
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(reporting, "show_note", lambda task, context, note: notes.append(note))
    context["dag_run"] = SimpleNamespace(triggering_user_name=who)
    steps.answers["a_step"] = {"answer": "on", "sentence": "w1 is carried to its end."}
    operator(BrakeOperator, policy, inputs={"by": who_asks}).execute(context)
    assert (steps.calls, notes) == ([("a_step", {"by": by})], ["w1 is carried to its end."])


def test_a_dry_run_is_told_to_whoever_asked_and_every_other_recovery_to_nobody(
    steps: Any, context: Any, policy: ClusterPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(reporting, "show_note", lambda task, context, note: notes.append(note))
    context["params"] = {"dry_run": True}
    steps.answers["a_step"] = [
        {"answer": answer, "sentence": answer, "remaining": []} for answer in ("recovered", "dry_run")
    ]
    sweeper = operator(RecoverOperator, policy, inputs={"dry_run": param("dry_run")})
    assert [sweeper.execute(context)["answer"] for _ in range(2)] == ["recovered", "dry_run"]
    assert notes == ["dry_run"]
    assert steps.calls[0] == ("a_step", {"dry_run": True})


@pytest.mark.parametrize("answer", ["recovered", "nothing", "live", "waiting", "away"])
def test_every_other_answer_of_a_recovery_is_green(
    steps: Any, context: Any, policy: ClusterPolicy, answer: str
) -> None:
    steps.answers["a_step"] = {"answer": answer, "remaining": [], "sentence": "So it is."}
    assert operator(RecoverOperator, policy).execute(context)["answer"] == answer


def test_a_restart_under_a_live_task_is_said(
    steps: Any, context: Any, policy: ClusterPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    context["ti"].try_number, context["ti"].max_tries = 2, 0
    steps.answers["a_step"] = {}
    operator(StepOperator, policy).execute(context)
    assert "attaching" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [{"sentence": "w1 uncordoned."}, ERROR])
def test_the_failure_callback_never_raises(steps: Any, policy: ClusterPolicy, answer: Any) -> None:
    steps.answers["recover"] = answer
    run = SimpleNamespace(end_date=datetime(2026, 11, 28, tzinfo=UTC))
    recover_failed_run({"run_id": "run-1", "reason": "task_failure", "dag_run": run}, policy=policy)
    path, inputs = steps.calls[0]
    assert (path, inputs["own_run_id"]) == ("recover", "run-1")
    assert inputs["run_ended"] == run.end_date.timestamp()
    assert "task_failure" in inputs["reason"]


@pytest.mark.parametrize("context", [{}, {"dag_run": SimpleNamespace(end_date=None)}])
def test_a_callback_that_is_not_told_when_its_run_ended_takes_nothing_from_it(
    steps: Any, policy: ClusterPolicy, context: dict[str, Any]
) -> None:
    recover_failed_run({"run_id": "run-1", **context}, policy=policy)
    assert steps.calls == []


def test_config_errors_are_told_like_all_others(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    steps.answers["a_step"] = ConfigError("CONNECTION_MISSING", "m", cause="c", next_step="n")
    with pytest.raises(ConfigError):
        operator(StepOperator, policy).execute(context)


STEPS = {"drain": "wave.drain_node", "verify": "wave.verify_node"}


@pytest.mark.parametrize(
    ("xcoms", "failure"),
    [
        (
            {("wave.verify_node", "failure"): {"code": "VERIFY_FAILED"}},
            {"step": "verify", "code": "VERIFY_FAILED"},
        ),
        ({}, None),
    ],
)
def test_a_failed_node_is_set_aside_with_what_its_own_tasks_told(
    steps: Any, context: Any, policy: ClusterPolicy, xcoms: dict[Any, Any], failure: Any
) -> None:
    asked: list[Any] = []
    ti = context["ti"]
    ti.map_index, ti.xcoms, pulled = 3, xcoms, ti.xcom_pull

    def pull_of_instance(task_ids: Any, key: str = "return_value", map_indexes: Any = None) -> Any:
        asked.append(map_indexes)
        return pulled(task_ids, key)

    ti.xcom_pull = pull_of_instance
    steps.answers["a_step"] = {"answer": "quarantined", "node": "w2", "sentence": "s"}
    said = operator(QuarantineOperator, policy, steps=STEPS, node="w2").execute(context)
    assert said["answer"] == "quarantined"
    assert steps.calls == [("a_step", {"failure": failure, "node_name": "w2"})]
    assert set(asked) == {3}, "the other nodes of its wave have errors of their own"


def test_a_node_that_is_not_set_aside_stops_the_night_with_no_error_of_its_own(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].map_index = 0
    steps.answers["a_step"] = {"answer": "stop", "node": "w2", "sentence": "the policy says stop."}
    with pytest.raises(RuntimeError, match=r"The night stops here: the policy says stop"):
        operator(QuarantineOperator, policy, steps=STEPS, node="w2").execute(context)
    assert ("me", "failure") not in context["ti"].xcoms


def verdict_of(gate: str, outcome: str) -> dict[str, Any]:
    return {"gate": gate, "outcome": outcome, "code": "X", "message": "It is so."}


def ask_with(policy: ClusterPolicy, *gates: str) -> AskOperator:
    """The asking task in a DAG, with a mark for each gate behind it."""
    with DAG("upgrade_lab", schedule=None), TaskGroup("gates"):
        asking = AskOperator(task_id="ask", policy=policy, step="gates:ask_night", gates=gates)
        chain(asking, [EmptyOperator(task_id=gate) for gate in gates])
    return asking


def test_the_marks_of_the_gates_that_are_shut_are_skipped(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    outcomes = {"a": "pass", "b": "warn", "c": "hold", "d": "block", "e": "blind"}
    steps.answers["gates:ask_night"] = {"verdicts": [verdict_of(g, o) for g, o in outcomes.items()]}
    context["ti"].map_index = -1
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        ask_with(policy, *outcomes).execute(context)
    assert sorted(skipped.value.tasks) == ["gates.c", "gates.d", "gates.e"]
    assert [v["gate"] for v in context["ti"].xcoms[("me", "return_value")]["verdicts"]] == list("abcde")
    assert steps.calls == [("gates:ask_night", {"gates": list("abcde")})]


def test_when_all_gates_are_open_no_mark_is_skipped(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    steps.answers["gates:ask_night"] = {"verdicts": [verdict_of("a", "pass")]}
    answer = ask_with(policy, "a").execute(context)
    assert answer["ended"] >= answer["began"] > 0
    assert context["ti"].xcoms[("me", "return_value")] == answer
