"""The DAG-level failure callback: the second of three ways to the one recovery.

The teardown `release` is the first, the sweeper `recover_<cluster>` the third and the one that always comes.
There is no recovering task-level callback: Airflow does not call it when a process is killed or a task is
marked failed, calls it twice when a supervisor dies, and ends it 20 s after its task (docs/adr/0004).

Airflow runs this in the DAG processor, under the time limit of one DAG file, without `xcom_push` (it would
hang), and shows its log in that process's files only. Hence: no waiting, and nothing that raises.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nightshift.domain.errors import NightshiftError
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration.runtime import import_step, open_session

if TYPE_CHECKING:
    from airflow.sdk import Context

_LOG = logging.getLogger(__name__)


def recover_failed_run(context: Context, *, policy: ClusterPolicy) -> None:
    """Take back what the failed run left, as far as that is possible at once."""
    run_id = context["run_id"]
    reason = f"run {run_id} failed ({context.get('reason', 'unknown reason')})"
    ended = getattr(context.get("dag_run"), "end_date", None)
    if ended is None:  # a run that no failed task ended: Airflow gives its callback no more than its name
        _LOG.warning("When %s ended is not known: its recovery is left to the sweeper", run_id)
        return
    try:
        with open_session(policy, run_id, _LOG.info) as session:
            # The DAG processor may have hung: by now a person may have cleared a task, and the run be at work again.
            result = import_step("recover")(
                session, own_run_id=run_id, reason=reason, run_ended=ended.timestamp()
            )
    except NightshiftError as error:
        _LOG.warning("Recovery of %s is left to the sweeper: %s", run_id, error)
    else:
        _LOG.info("Recovery of %s: %s", run_id, result["sentence"])
