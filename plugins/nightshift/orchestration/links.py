"""Links from Airflow's UI to incident reports (nightshift/ui/reports.py shows them)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

REPORTS = "incident_reports"  # attribute of a task whose step failed: names of its incidents, "<run's folder>/<incident's>"


class ReportLink(BaseOperatorLink):
    """The button on a failed task. Airflow asks for it in the task's process when the task has ended, however it did."""

    name: ClassVar[str] = "Incident report"  # a property there, a plain text is enough

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The report; the run's list when there are several; "" (no button) when there is none."""
        reports: Sequence[str] = getattr(operator, REPORTS, ())
        if not reports:
            return ""
        at = reports_of(operator.dag_id, ti_key.run_id)
        return f"{at}/{reports[0].rpartition('/')[2]}/report.html" if len(reports) == 1 else f"{at}/"


def known_reports(task: BaseOperator, context: Context) -> tuple[str, ...]:
    """What this run has of the task's node (of a task without one: of all), for an error that names none.

    The last try of a task often fails with another error than the one that left the evidence.
    """
    from airflow.sdk import ObjectStoragePath

    from nightshift.clients.stores import Store
    from nightshift.domain.redaction import redact
    from nightshift.domain.store_paths import path_safe
    from nightshift.steps.evidence import EVIDENCE, incidents_of_run

    policy, node = getattr(task, "policy", None), context.get("node_name")
    if policy is None:
        return ()
    run = path_safe(str(context["run_id"]))
    try:
        found = incidents_of_run(Store(ObjectStoragePath(policy.store), policy.name), f"{EVIDENCE}/{run}")
    except Exception as problem:  # noqa: BLE001 - a button is no reason to hide the task's error
        task.log.warning("Whether there is an incident report could not be read: %s", redact(str(problem)))
        return ()
    return tuple(f"{run}/{i.name}" for i in found if node in (None, i.node))


def reports_of(dag_id: str, run_id: str) -> str:
    """Where the UI shows the incident reports of a run."""
    from airflow.configuration import conf

    from nightshift.clients.airflow_api import reports_path
    from nightshift.domain.store_paths import path_safe

    return reports_path(conf.get("api", "base_url", fallback="") or "", dag_id, path_safe(run_id))
