"""Operators that run one step of the night each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

from nightshift.domain.errors import BlindError, ConfigError, HeldError, NightshiftError, VerificationError
from nightshift.domain.plan import end_plan
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.verdicts import BLIND_CAUSE, BLIND_NEXT_STEP, Answer, Outcome
from nightshift.domain.window import check_late_start
from nightshift.orchestration.links import REPORTS, ReportLink, known_reports
from nightshift.orchestration.runtime import import_step, open_session

if TYPE_CHECKING:
    from airflow.sdk import Context

# What a step is given: a plain value, or a function that finds it when the task runs. Pulling instead of
# passing XComArgs keeps the graph readable: otherwise every task would hang on detect_target by an edge.
# (Airflow itself calls functions it finds in template fields, with `jinja_env` as well.)
Input = Callable[..., Any]

FAILURE_KEY = "failure"  # XCom: the error of a failed task, for the report
ENDED_KEY = "ended"  # XCom: why a slot or wave was not begun any more, and which one
OPEN = (Outcome.PASS, Outcome.WARN)  # what lets the night go on
VERDICT_KEY = "verdict"  # XCom: what the gate of a slot or wave said, with `nodes`, `began` and `ended`


def pull(task_id: str, field: str | None = None) -> Input:
    """Return an input that reads what another task of this run answered (None when it did not)."""

    def read(context: Context, jinja_env: object = None) -> Any:
        value = context["ti"].xcom_pull(task_ids=task_id, map_indexes=-1)
        return value.get(field) if field and isinstance(value, Mapping) else value

    return read


def param(name: str) -> Input:
    """Return an input that reads a field of the trigger form."""
    return lambda context: context["params"].get(name)


def night_ends(context: Context, tasks: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return where and why the night ended early ({"sentence", "place", "index", …}), as these tasks left it."""
    found = context["ti"].xcom_pull(task_ids=list(tasks), key=ENDED_KEY) if tasks else None
    return [ended for ended in found or () if ended]


def unless_ended(tasks: Sequence[str]) -> Input:
    """Return the input that says whether the night goes on, as far as these tasks have a say in it."""

    def read(context: Context, jinja_env: object = None) -> Any:
        for ended in night_ends(context, tasks):
            return {"answer": Answer.HELD.value, "sentence": ended["sentence"]}
        return {"answer": Answer.GO.value}

    return read


def planned_addresses(context: Context, jinja_env: object = None) -> Mapping[str, str]:
    """The input with the planned nodes' addresses by name; none are known to the plan of an older release."""
    plan: Mapping[str, Any] = pull("decide", "plan")(context) or {}
    return plan.get("addresses") or {}


def plan_begun(tasks: Sequence[str]) -> Input:
    """Return the input that is the night's plan, without what a brake or a closed window left for tomorrow."""

    def read(context: Context, jinja_env: object = None) -> Any:
        plan, ends = pull("decide", "plan")(context), night_ends(context, tasks)
        return end_plan(plan, ends) if plan and ends else plan

    return read


def own_run_id(context: Context) -> str:
    """The input that is this run's own name."""
    return str(context["run_id"])


def resolve(value: Any, context: Context) -> Any:
    """Find an input's value."""
    return value(context) if callable(value) else value


class StepOperator(BaseOperator):
    """Runs one function of `nightshift.steps`; answers what it answers, with `began` and `ended` (epoch seconds).

    Args:
        policy: the cluster's policy.
        step: "module" or "module:function" below `nightshift.steps`.
        inputs: keyword arguments of the step; functions are called with the task's context.
        node: name of the node (or an input that finds it); handed to the step as `node_name`, shown as the label.
        proceed_if: answers of earlier steps; unless all of them are "go" this task skips itself.
        place: "control_plane" or "waves", and the index from 0: where the night ends when brake or window keep this
            step from beginning. It skips itself then, and so does everything behind it.
        refusal: why this task fails instead of running its step: the cluster's file cannot be read.
    """

    shallow_copy_attrs: Sequence[str] = ("refusal",)  # copying an error loses its keywords
    operator_extra_links = (ReportLink(),)
    template_fields: Sequence[str] = ("node",)  # inside a mapped group the node is known to Airflow only
    ui_color = "#e8f0fe"
    needs_api = True  # False: the step has something to say even when there is no way to the API

    def __init__(
        self,
        *,
        policy: ClusterPolicy,
        step: str,
        inputs: Mapping[str, Any] | None = None,
        node: Any = None,
        proceed_if: Sequence[Input] = (),
        place: tuple[str, int] = ("control_plane", 0),
        refusal: ConfigError | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.place = place
        self.step = step
        self.inputs = inputs or {}
        self.node = node
        self.proceed_if = proceed_if
        self.refusal = refusal

    def execute(self, context: Context) -> Any:
        """Run the step."""
        began = time.time()
        return {**self.run_step(context), "began": began, "ended": time.time()}

    def run_step(self, context: Context) -> Any:
        """Run the step; returns its plain answer."""
        with remembered(self, context):
            if self.refusal is not None:
                raise self.refusal
        skip_unless_go(context, self.proceed_if)
        note_orphan(self, context)
        inputs = {name: resolve(value, context) for name, value in self.inputs.items()}
        if self.node is not None:
            inputs["node_name"] = label(context, resolve(self.node, context))
        try:
            with (
                remembered(self, context),
                open_session(
                    self.policy,
                    context["run_id"],
                    self.log.info,
                    began=_began(context),
                    needs_api=self.needs_api,
                ) as session,
            ):
                return import_step(self.step)(session, **inputs)
        except HeldError as error:
            self._end_night(context, error, inputs.get("node_name"))

    def _end_night(self, context: Context, error: HeldError, node: str | None) -> NoReturn:
        """Leave where the night ended, and skip this task and everything behind it."""
        place, index = self.place
        ended = {"code": error.code, "sentence": error.message, "place": place, "index": index}
        if node is not None:
            ended["nodes"] = [node]
        context["ti"].xcom_push(key=ENDED_KEY, value=ended)
        raise AirflowSkipException(f"Continues on the next night: {error.message}") from error


def _began(context: Context) -> float:
    """When this try began: set by Airflow before the process loads anything, and anew for each try."""
    return context["ti"].start_date.timestamp()


class OpenNightOperator(StepOperator):
    """Holds a scheduled run that comes hours too late; everything else is asked by the step."""

    def run_step(self, context: Context) -> Any:
        """Return the step's answer, or "held"."""
        run = context["dag_run"]
        planned = run.run_after if run.run_type == "scheduled" else None
        verdict = check_late_start(planned, datetime.now(UTC))
        if verdict.outcome is Outcome.PASS or self.refusal is not None:
            return super().run_step(context)
        sentence = f"{verdict.message} {verdict.resolution}"
        self.log.info("%s %s", sentence, verdict.cause)
        return {"answer": Answer.HELD.value, "code": verdict.code, "sentence": sentence, "recovered": None}


class AskOperator(StepOperator, SkipMixin):
    """Asks all gates that answer at once, in one round; a verdict is an answer, and `decide` folds it.

    A branch: behind it stands one mark per gate, called like it. The marks of gates that are shut are skipped, so that
    the grid shows gate by gate what keeps the night from beginning.

    Args:
        gates: names of the gates, in the order in which they are asked.
    """

    ui_color = "#e6f4ea"

    def __init__(self, *, gates: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gates = tuple(gates)
        self.inputs = {**self.inputs, "gates": list(gates)}

    def execute(self, context: Context) -> Any:
        """Leave {"verdicts": […]} and skip the marks of the gates that are shut."""
        answer = super().execute(context)
        # Skipping ends this method with an exception of Airflow's: the answer is left before.
        context["ti"].xcom_push(key="return_value", value=answer)
        shut = {v["gate"] for v in answer["verdicts"] if Outcome(v["outcome"]) not in OPEN}
        marks = [task for task in self.downstream_list if task.task_id.rpartition(".")[2] in shut]
        self.skip(context["ti"], marks)
        return answer


class DecideOperator(StepOperator):
    """Folds what came before into the night's answer; a blind night ends here, in red.

    Every other refusal is an answer, not a failure: the task succeeds and everything behind it is skipped.

    Args:
        earlier: ids of the tasks without which there is nothing to decide.
    """

    def __init__(self, *, earlier: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.earlier = earlier

    def execute(self, context: Context) -> Any:
        """Return the decision.

        Raises:
            BlindError: with the code of what could not be known.
        """
        self._stop_after_failure(context)
        ended = next((a for a in _answers(context, self.proceed_if) if a["answer"] != Answer.GO), None)
        decision = {"verdicts": [], "plan": None, **ended} if ended else self._fold(context)
        if decision["answer"] == Answer.BLIND:
            context["ti"].xcom_push(key="return_value", value=decision)
            remedy = decision.get("next_step") or BLIND_NEXT_STEP
            with remembered(self, context):
                raise BlindError(
                    decision.get("code") or "NIGHT_BLIND",
                    decision["sentence"],
                    cause=decision.get("cause") or BLIND_CAUSE,
                    next_step=f"{remedy} {decision.get('look_again', '')}".rstrip(),
                )
        self.log.info("The night's answer is %s. %s", decision["answer"], decision["sentence"])
        return decision

    def _stop_after_failure(self, context: Context) -> None:
        """End red, so that nothing follows, but with no error of our own: the failed task has told its one."""
        ti = context["ti"]
        states = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=list(self.earlier), run_ids=[context["run_id"]]
        )
        failed = [t for t in self.earlier if states.get(context["run_id"], {}).get(t) == "failed"]
        if failed:
            raise RuntimeError(f"Nothing to decide: {failed[0]} failed, and its log says why.")

    def _fold(self, context: Context) -> dict[str, Any]:
        """All earlier steps said "go": let the gates' verdicts decide."""
        folded: dict[str, Any] = super().execute(context)
        return folded


class QuarantineOperator(StepOperator):
    """Sets a failed worker aside, or ends red, so that nothing follows; the failed task has told the error.

    Args:
        steps: step -> id of its task, in order; the failure is looked for in this node's own instances of them.
    """

    ui_color = "#fef3e8"

    def __init__(self, *, steps: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps

    def execute(self, context: Context) -> Any:
        """Return what was set aside and why."""
        self.inputs = {"failure": self._failure(context)}
        result = super().execute(context)
        if result["answer"] == "stop":
            raise RuntimeError(f"The night stops here: {result['sentence']}")
        return result

    def _failure(self, context: Context) -> dict[str, Any] | None:
        """The failed step's word."""
        ti = context["ti"]
        for step, task_id in self.steps.items():
            told = ti.xcom_pull(task_ids=task_id, key=FAILURE_KEY, map_indexes=ti.map_index)
            if told:
                return {"step": step, "code": told["code"]}
        return None


class RecoverOperator(StepOperator):
    """Runs the one recovery; red when something is still owed, so that a person looks."""

    ui_color = "#fef3e8"

    def execute(self, context: Context) -> Any:
        """Return what was repaid.

        The sweeper skips itself while Airflow has no connection to the cluster: it is not enrolled yet, and red every
        minute would tell nobody anything. Where a certain run is to be ended, that is red.

        Raises:
            VerificationError: RECOVERY_INCOMPLETE.
        """
        try:
            result = super().execute(context)
        except ConfigError as error:
            if error.code != "CONNECTION_MISSING" or resolve(self.inputs.get("own_run_id"), context):
                raise
            raise AirflowSkipException(f"Nothing was looked at: {error.message}") from error
        if result["answer"] == "dry_run":
            tell(self, context, result["sentence"])
        if result["answer"] == "partial":
            context["ti"].xcom_push(key="return_value", value=result)
            with remembered(self, context):
                raise VerificationError(
                    "RECOVERY_INCOMPLETE",
                    result["sentence"],
                    cause=f"Still owed: {'; '.join(map(str, result['remaining'])) or 'see above'}.",
                    next_step=f"The sweeper recover_{self.policy.name} tries again every minute; "
                    "make the named node or the API reachable.",
                )
        return result


def _answers(context: Context, inputs: Sequence[Input]) -> list[Mapping[str, Any]]:
    """Read earlier steps' answers; a step that left none (it failed) is blind."""
    silent = {"answer": Answer.BLIND.value, "sentence": "An earlier step of this night failed; see its log."}
    return [resolve(item, context) or silent for item in inputs]


def skip_unless_go(context: Context, inputs: Sequence[Input]) -> None:
    """Skip this task when an earlier step said anything but "go"."""
    for answer in _answers(context, inputs):
        if answer["answer"] != Answer.GO:
            raise AirflowSkipException(f"Not tonight: {answer['sentence']}")


def label(context: Context, node: str) -> str:
    """Show the node's name beside the task in the UI; returns it."""
    context["node_name"] = node  # type: ignore[typeddict-unknown-key]  # read by map_index_template
    return node


def note_orphan(task: BaseOperator, context: Context) -> None:
    """Say that a scheduler restart re-runs a live task: its first process may still be there.

    Nothing more is needed: steps attach to what runs on the node, and the Lease's token decides who may write.
    """
    ti = context["ti"]
    if ti.try_number > (ti.max_tries or 0) + 1:
        task.log.warning(
            "Airflow restarted under this task: attaching to what already runs, starting nothing."
        )


def tell(task: BaseOperator, context: Context, note: str) -> None:
    """Put a note onto the run of a button: whoever pressed it reads the answer there."""
    from nightshift.orchestration import reporting  # which imports this module

    reporting.show_note(task, context, note)


@contextmanager
def remembered(task: BaseOperator, context: Context) -> Iterator[None]:
    """Leave a known error where the report finds it, and in plain words at the end of the log.

    Airflow prints the traceback of whatever comes out, with all that it was caused by.
    """
    from nightshift.domain.redaction import without_secrets

    try:
        yield
    except HeldError:  # no failure, and nobody has to do anything
        raise
    except NightshiftError as error:
        _tell(task, context, error)
        without_secrets(error)
        raise
    except AirflowTaskTimeout:  # no Exception: nothing but this handler would say a word
        limit = task.execution_timeout.total_seconds() if task.execution_timeout else 0
        overdue = NightshiftError(
            "TASK_TIMED_OUT",
            f"{task.task_id} timed out after {limit:.0f} s.",
            cause="Something it waited for did not end, although all of it has smaller limits of its own.",
            next_step="Read the last lines before this one; clearing the task attaches to what still runs.",
        )
        _tell(task, context, overdue)
        raise
    except Exception as error:
        told = without_secrets(error)
        if told is error:
            raise
        raise told from told.__cause__  # not what it stands for


def _tell(task: BaseOperator, context: Context, error: NightshiftError) -> None:
    told = {
        "task": task.task_id,
        "code": error.code,
        "message": error.message,
        "cause": error.cause,
        "next_step": error.next_step,
        "is_blind": error.is_blind,
    }
    context["ti"].xcom_push(key=FAILURE_KEY, value=told)
    setattr(task, REPORTS, error.reports or known_reports(task, context))
    task.log.error("[%s] %s", error.code, error.message)
    task.log.error("Cause: %s", error.cause)
    task.log.error("Next step: %s (docs/runbooks/%s.md)", error.next_step, error.code)
