"""The last task: collects what the run left in XCom, lets the step write the ledger, shows it in the UI."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from nightshift.domain.errors import NightshiftError
from nightshift.domain.verdicts import Answer
from nightshift.orchestration.operators import FAILURE_KEY, StepOperator, night_end, plan_begun
from nightshift.orchestration.runtime import connection_named

if TYPE_CHECKING:
    from airflow.sdk import Context

NOTE_CONNECTION = "nightshift_airflow_api"


@dataclass(frozen=True)
class NightShape:
    """Where the report finds things: ids of the run's tasks, in the order of the night.

    Args:
        phases: phase -> ids of its tasks.
        node_tasks: (drain, uncordon) ids of each slot and wave.
    """

    phases: Mapping[str, Sequence[str]]
    node_tasks: Sequence[tuple[str, str]]

    @property
    def tasks(self) -> list[str]:
        """All task ids, in order."""
        return [task for ids in self.phases.values() for task in ids]


class ReportOperator(StepOperator):
    """Writes the ledger entry and the run note. It never changes the cluster, so clearing it is always safe.

    Args:
        shape: see `NightShape`.
    """

    def __init__(self, *, shape: NightShape, **kwargs: Any) -> None:
        super().__init__(step="report", **kwargs)
        self.shape = shape

    def execute(self, context: Context) -> Any:
        """Return note and ledger path."""
        self.inputs = {"facts": gather_facts(context, self.shape)}
        result = super().execute(context)
        self._show(context, result["note"])
        return {name: result[name] for name in ("note", "path", "answer", "began", "ended")}

    def _show(self, context: Context, note: str) -> None:
        """Put the note onto the run. A note that cannot be shown is said here; the ledger has it anyway."""
        from nightshift.clients.airflow_api import set_run_note

        try:
            connection = connection_named(NOTE_CONNECTION, "Airflow's own REST API, type http")
            base_url = f"{connection.schema or 'http'}://{connection.host}:{connection.port or 8080}"
            set_run_note(
                base_url,
                (connection.login or "", connection.password or ""),
                context["dag_run"].dag_id,
                context["run_id"],
                note,
            )
        except NightshiftError as error:
            self.log.warning("The run's note was not set: %s", error)


def gather_facts(context: Context, shape: NightShape) -> dict[str, Any]:
    """Collect what `steps.report` wants to know from this run's XComs and task states."""
    answers = {task: _pull(context, task) for task in shape.tasks}
    decision = _one(answers, "decide")
    looking = list(takewhile(lambda task: task != "claim", shape.tasks))
    is_blind = bool(decision) and decision["answer"] == Answer.BLIND
    if is_blind and (reason := find_failure(context, [task for task in looking if task != "decide"])):
        decision = {**decision, "sentence": f"{decision['sentence']} {reason}"}
    started = context["dag_run"].start_date
    return {
        "open_night": _one(answers, "open_night"),
        "choice": _one(answers, "detect_target"),
        "decision": decision,
        "plan": plan_begun(shape.tasks)(context),
        "ended": night_end(context, shape.tasks),
        "snapshot": _one(answers, "snapshot"),
        "postflight": _one(answers, "postflight.verify_cluster"),
        "recovery": _one(answers, "release"),
        # A blind decision is red, and yet an answer: what failed before the cluster was claimed is part of it.
        "failure": find_failure(context, shape.tasks, ignored=looking if is_blind else ()),
        "started": started.timestamp() if started else None,
        "finished": time.time(),
        "node_seconds": _node_seconds(answers, shape),
        "phase_seconds": _phase_seconds(answers, shape),
    }


def find_failure(context: Context, tasks: Sequence[str], ignored: Sequence[str] = ()) -> str | None:
    """Return in one sentence what failed first (in the order of the night); None when nothing did."""
    run_id = context["run_id"]
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id]).get(run_id, {})
    # Keys of mapped tasks are "<task id>_<map index>"; what waited for a failed task failed because of it.
    failed = [
        t
        for t in tasks
        if t not in ignored
        and any(k == t or k.startswith(f"{t}_") for k, s in states.items() if s == "failed")
    ]
    for task in failed:
        for error in _pull(context, task, FAILURE_KEY):
            return f"{task} failed ({error['code']}): {error['message']}"
    if failed:
        return f"{failed[0]} failed without a word: its process was killed, or a person marked it as failed."
    return None


def _pull(context: Context, task_id: str, key: str = "return_value") -> list[Any]:
    """Return what all instances of a task left under `key` (one, unless it is mapped)."""
    found = context["ti"].xcom_pull(task_ids=[task_id], key=key)
    return [value for value in found or [] if value is not None]


def _one(answers: Mapping[str, list[Any]], task: str) -> Any:
    found = answers.get(task) or [None]
    return found[0]


def _node_seconds(answers: Mapping[str, list[Any]], shape: NightShape) -> dict[str, float]:
    """From the cordon to the uncordon, per node."""
    seconds = {}
    for drain, uncordon in shape.node_tasks:
        began = {a["node"]: a["began"] for a in answers[drain]}
        for answer in answers[uncordon]:
            if answer["node"] in began:
                seconds[answer["node"]] = round(answer["ended"] - began[answer["node"]], 1)
    return seconds


def _phase_seconds(answers: Mapping[str, list[Any]], shape: NightShape) -> dict[str, float]:
    """From the first to the last sign of each phase."""
    seconds = {}
    for phase, tasks in shape.phases.items():
        timed = [a for t in tasks for a in answers[t] if isinstance(a, Mapping) and "began" in a]
        if timed:
            seconds[phase] = round(max(a["ended"] for a in timed) - min(a["began"] for a in timed), 1)
    return seconds
