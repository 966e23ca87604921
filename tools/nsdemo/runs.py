"""Runs outlive Airflow's processes, and the lab's cluster does not: a fresh cluster must not meet the runs of an old one."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import httpx

from nsdemo.api import AirflowApi, patiently
from nsdemo.processes import running_pid, stop_airflow
from nsdemo.settings import DemoError, Home

_ENDED_SECONDS = 300


def rest_airflow(home: Home, dag_id: str, say: Callable[[str], None]) -> None:
    """Stop Airflow with the DAG paused: started again, it goes on with no run before it was looked at."""
    if running_pid(home, "api-server") is not None:
        try:
            AirflowApi(home).pause(dag_id)
        except httpx.HTTPError as error:
            say(f"{dag_id} could not be paused: {error}")
    stop_airflow(home, say)


def end_earlier_runs(api: AirflowApi, dag_id: str, since: datetime, say: Callable[[str], None]) -> None:
    """End the runs that began before `since`, when the present cluster was enrolled: theirs is gone.

    Raises:
        DemoError: one of them does not end.
    """
    earlier = set(api.active_runs(dag_id, before=since))
    if not earlier:
        return
    for run_id in sorted(earlier):
        say(f"ending {run_id}: it began on a cluster that is gone")
        api.mark_failed(dag_id, run_id)
    api.unpause(dag_id)  # all that is left of them is their teardown
    deadline = time.monotonic() + _ENDED_SECONDS
    while earlier & set(patiently(lambda: api.active_runs(dag_id))):
        if time.monotonic() > deadline:
            raise DemoError(
                f"{', '.join(sorted(earlier))} did not end within {_ENDED_SECONDS} s",
                "look at its tasks in the Airflow UI, then run this again",
            )
        time.sleep(1)
