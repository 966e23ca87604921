"""Builds `brake_<cluster>`: a form that pulls or releases the brake, and says what comes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, WeightRule

from nightshift.domain.brake import RELEASE, BrakeMode
from nightshift.domain.limits import look_seconds
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration.docs import TASKS, brake_doc
from nightshift.orchestration.operators import StepOperator, param, tell

if TYPE_CHECKING:
    from airflow.sdk import Context

_FIRST = 20_000  # a person waits for it: even before the sweeper


class BrakeOperator(StepOperator):
    """Sets the brake and puts what comes of it into the run's note."""

    ui_color = "#fef3e8"

    def execute(self, context: Context) -> Any:
        """Return the step's answer."""
        result = super().execute(context)
        tell(self, context, result["sentence"])
        return result


def who_asks(context: Context) -> str:
    """The input that is whoever pressed the button, as Airflow knows them."""
    return str(getattr(context["dag_run"], "triggering_user_name", None) or "")


def build_brake_dag(policy: ClusterPolicy) -> DAG:
    """Return `brake_<cluster>`; it runs by hand only."""
    with DAG(
        dag_id=f"brake_{policy.name}",
        description=f"Pauses or stops the nights of {policy.name}, or releases them.",
        doc_md=brake_doc(policy),
        schedule=None,
        catchup=False,
        max_active_runs=1,  # what was asked for last is done last
        is_paused_upon_creation=False,
        tags=["nightshift", policy.name],
        params=_form(),
        default_args={"owner": "nightshift"},
    ) as dag:
        BrakeOperator(
            task_id="set_brake",
            policy=policy,
            step="set_brake",
            inputs={
                "action": param("action"),
                "reason": param("reason"),
                "until": param("until"),
                "by": who_asks,
            },
            doc_md=TASKS["set_brake"],
            execution_timeout=timedelta(seconds=look_seconds(policy)),
            retries=0,  # it waits for an API that is away; whoever pressed it reads what came of it
            priority_weight=_FIRST,
            weight_rule=WeightRule.ABSOLUTE,
        )
    return dag


def _form() -> dict[str, Param]:
    return {
        "action": Param(
            BrakeMode.PAUSE.value,
            type="string",
            enum=[*(mode.value for mode in BrakeMode), RELEASE],
            title="What to do",
            description="pause: no node is begun any more, one whose kubeadm was begun is carried to its end. "
            "stop now: the run ends after the job that runs at this moment. release: nights may begin again.",
        ),
        "reason": Param(
            None,
            type=["null", "string"],
            maxLength=200,
            title="Reason",
            description="Why; the note of every night that is held says it.",
        ),
        "until": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Until",
            description="When the brake releases itself. Empty: it stays until somebody releases it.",
        ),
    }
