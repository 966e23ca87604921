"""The last task: collects what the run left in XCom, lets the step write the ledger, shows it in the UI."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from nightshift.domain.errors import ConfigError, NightshiftError
from nightshift.domain.ledger import Failure, two_sentences
from nightshift.domain.verdicts import Answer
from nightshift.orchestration.links import reports_of
from nightshift.orchestration.operators import (
    FAILURE_KEY,
    VERDICT_KEY,
    StepOperator,
    night_ends,
    plan_begun,
    remembered,
)
from nightshift.orchestration.runtime import connection_named

if TYPE_CHECKING:
    from airflow.sdk import Context

NOTE_CONNECTION = "nightshift_airflow_api"
_NOTE_ORIGIN = (
    "include/airflow/make_env.py writes it for Compose, for another Airflow it is written by hand: "
    'docs/operations.md, "Settings Airflow needs". The note\'s text is in the log of this task.'
)
_LOOKING = ("opening", "gates")  # phases


@dataclass(frozen=True)
class PlaceTasks:
    """Ids of the tasks of one slot or wave.

    Args:
        gate: the gate in front of it.
        steps: step (drain, kubeadm, kubelet, verify, uncordon) -> its task, in order.
        quarantine: the task that sets a failed node aside; None where a failure ends the night.
    """

    gate: str
    steps: Mapping[str, str]
    quarantine: str | None = None


@dataclass(frozen=True)
class NightShape:
    """Where the report finds things: ids of the run's tasks, in the order of the night.

    Args:
        phases: phase -> ids of its tasks.
        places: each slot and wave.
    """

    phases: Mapping[str, Sequence[str]]
    places: Sequence[PlaceTasks]

    @property
    def tasks(self) -> list[str]:
        """All task ids, in order."""
        return [task for ids in self.phases.values() for task in ids]

    @property
    def looks(self) -> set[str]:
        """The tasks before `claim`, which change nothing."""
        return {task for phase in _LOOKING for task in self.phases.get(phase, ())}


class ReportOperator(StepOperator):
    """Writes the ledger entry and the run note. It never changes the cluster, so clearing it is always safe.

    Args:
        shape: see `NightShape`.
    """

    needs_api = False

    def __init__(self, *, shape: NightShape, **kwargs: Any) -> None:
        super().__init__(step="report", **kwargs)
        self.shape = shape

    def execute(self, context: Context) -> Any:
        """Return note and ledger path.

        Raises:
            NightshiftError: STORE_UNAVAILABLE, after the note was set.
        """
        self.inputs = {"facts": gather_facts(context, self.shape)}
        result = super().execute(context)
        show_note(self, context, result["note"])
        if result["unsaved"] is not None:
            with remembered(self, context):
                raise result["unsaved"]
        return {name: result[name] for name in ("note", "path", "answer", "began", "ended")}


class InvalidFileOperator(BaseOperator):
    """The only task of a file whose name is no cluster's: says what is wrong with it, as error and as run note.

    There is no ledger entry: there is no cluster it could belong to.

    Args:
        error: what the file's reader said.
    """

    shallow_copy_attrs: Sequence[str] = ("error",)  # errors want their keywords, which copying does not give

    def __init__(self, *, error: ConfigError, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def execute(self, context: Context) -> None:
        """Fail with the file's error.

        Raises:
            ConfigError: CONFIG_INVALID.
        """
        failure = Failure(self.task_id, self.error.message, self.error.code, self.error.cause)
        show_note(self, context, two_sentences(failure.sentence, self.error.next_step))
        with remembered(self, context):
            raise self.error


def show_note(task: BaseOperator, context: Context, note: str) -> None:
    """Put the note onto the run. A note that cannot be shown is said here; the ledger has it anyway."""
    from nightshift.clients.airflow_api import set_run_note

    try:
        connection = connection_named(
            NOTE_CONNECTION, "Airflow's own REST API, type http, for the notes of runs", _NOTE_ORIGIN
        )
        base_url = f"{connection.schema or 'http'}://{connection.host}:{connection.port or 8080}"
        set_run_note(
            base_url,
            (connection.login or "", connection.password or ""),
            context["dag_run"].dag_id,
            context["run_id"],
            note,
        )
    except NightshiftError as error:
        task.log.warning("The run's note was not set: %s", error)


def gather_facts(context: Context, shape: NightShape) -> dict[str, Any]:
    """Collect what `steps.report` wants to know from this run's XComs and task states."""
    answers = {task: _pull(context, task) for task in shape.tasks}
    decision = _one(answers, "decide")
    is_blind = bool(decision) and decision["answer"] == Answer.BLIND
    started = context["dag_run"].start_date
    return {
        "reports_at": reports_of(context["ti"].dag_id, context["run_id"]),
        "open_night": _one(answers, "open_night"),
        "choice": _one(answers, "detect_target"),
        "decision": decision,
        "plan": plan_begun(shape.tasks)(context),
        "ended": next(iter(night_ends(context, shape.tasks)), None),
        "snapshot": _one(answers, "snapshot"),
        "rehearsal": _one(answers, "rehearse"),
        "quiesce": _one(answers, "control_plane.quiesce"),
        "restore": _one(answers, "control_plane.restore"),
        "postflight": _one(answers, "postflight.verify_cluster"),
        "recovery": _one(answers, "release"),
        # A blind decision is red, and yet an answer: what it could not know, also from a gate that was killed, is in
        # its own words.
        "failure": find_failure(context, shape, ignored=shape.looks if is_blind else ()),
        "started": started.timestamp() if started else None,
        "finished": time.time(),
        "quarantined": [
            said["node"] for place in shape.places if place.quarantine for said in answers[place.quarantine]
        ],
        "node_gates": _node_gates(context, shape),
        "node_steps": _node_steps(answers, shape),
        "phase_seconds": _phase_seconds(answers, shape),
    }


def find_failure(context: Context, shape: NightShape, ignored: Collection[str] = ()) -> Failure | None:
    """Return what failed first (in the order of the night); None when nothing did."""
    run_id = context["run_id"]
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id]).get(run_id, {})
    # Keys of mapped tasks are "<task id>_<map index>"; what waited for a failed task failed because of it.
    failed = [
        t
        for t in shape.tasks
        if t not in ignored
        and any(k == t or k.startswith(f"{t}_") for k, s in states.items() if s == "failed")
    ]
    for task in failed:
        for told in _pull(context, task, FAILURE_KEY):
            return Failure(**{**told, "task": task}, before_claim=task in shape.looks)
    if failed:
        silence = (
            "It left no word: its process was killed, a person marked it as failed, or its log tells an error of "
            "Airflow's own."
        )
        return Failure(failed[0], silence)
    return None


def _pull(context: Context, task_id: str, key: str = "return_value") -> list[Any]:
    """Return what all instances of a task left under `key` (one, unless it is mapped)."""
    found = context["ti"].xcom_pull(task_ids=[task_id], key=key)
    return [value for value in found or [] if value is not None]


def _one(answers: Mapping[str, list[Any]], task: str) -> Any:
    found = answers.get(task) or [None]
    return found[0]


def _node_gates(context: Context, shape: NightShape) -> list[dict[str, Any]]:
    """What the gates in front of nodes said, and when."""
    return [
        {"task": place.gate, **said}
        for place in shape.places
        for said in _pull(context, place.gate, VERDICT_KEY)
        if said.get("began") is not None
    ]


def _node_steps(answers: Mapping[str, list[Any]], shape: NightShape) -> dict[str, dict[str, Any]]:
    """Node -> step -> what its task answered; a step that did not come to its end is absent."""
    found: dict[str, dict[str, Any]] = {}
    for place in shape.places:
        for step, task in place.steps.items():
            for answer in answers[task]:
                found.setdefault(answer["node"], {})[step] = answer
    return found


def _phase_seconds(answers: Mapping[str, list[Any]], shape: NightShape) -> dict[str, float]:
    """From the first to the last sign of each phase."""
    seconds = {}
    for phase, tasks in shape.phases.items():
        timed = [a for t in tasks for a in answers[t] if isinstance(a, Mapping) and "began" in a]
        if timed:
            seconds[phase] = round(max(a["ended"] for a in timed) - min(a["began"] for a in timed), 1)
    return seconds
