"""What Airflow does with a failed try: again only where the world is known to be untouched, or is asked anew.

A task that dies without an exception (SIGKILL, lost worker) never reaches a policy: Airflow retries it as long
as tries are left, and the step attaches to the job that still runs on the node.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowRuntimeError

from nightshift.domain.errors import GateClosedError, LateTryError, TransientError

# Anything unexpected is a bug, and a bug does not get better by repetition: hence FAIL as the default.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(TransientError, RetryAction.DEFAULT, reason="an outside system did not answer"),
        # Airflow's own API server is asked for 8 s (`[workers] execution_api_retries`); a restart may take longer.
        RetryRule(AirflowRuntimeError, RetryAction.DEFAULT, reason="Airflow's API server did not answer"),
        RetryRule(
            LateTryError,
            RetryAction.RETRY,
            timedelta(seconds=5),
            reason="its run was fenced in the meantime; a new try may claim the cluster again",
        ),
        RetryRule(
            GateClosedError,
            RetryAction.RETRY,
            timedelta(seconds=30),
            reason="the gate may open again when the load settles",
        ),
    ],
    default=RetryAction.FAIL,
)


def retry_arguments(count: int = 3) -> dict[str, Any]:
    """Return the operator arguments for `count` further tries, 5 s to 1 min apart."""
    return {
        "retries": count,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=1),
        "retry_policy": RETRY_POLICY,
    }
