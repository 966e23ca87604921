"""Airflow's own REST API, for the one thing tasks cannot do otherwise: write the note of their run; and links into its UI."""

from __future__ import annotations

import time
from urllib.parse import quote, urlsplit

import httpx

from nightshift.domain.errors import UnreachableError

_TIMEOUT_SECONDS = 10.0
_TRIES = 3
_PAUSE_SECONDS = 2.0  # between two of them


def reports_path(base_url: str, dag_id: str, run: str) -> str:
    """Where the UI shows a run's incident reports: a path, so that it works however the UI was reached.

    Args:
        base_url: of the UI as Airflow is configured (`[api] base_url`); only its path counts.
        dag_id: the run's DAG.
        run: the run's folder in the store.
    """
    prefix = urlsplit(base_url).path.rstrip("/")
    return f"{prefix}/nightshift/reports/{quote(dag_id, safe='')}/{quote(run, safe='')}"


def set_run_note(base_url: str, login: tuple[str, str], dag_id: str, run_id: str, note: str) -> None:
    """Replace the note people see beside a run.

    Args:
        base_url: scheme, host and port of the API server.
        login: user name and password of a user who may edit runs (role `op` or above).
        dag_id: the run's DAG.
        run_id: the run.
        note: Markdown, at most 1,000 characters (`domain/ledger.py` makes it fit; the rest would be cut).

    Asked again when Airflow has trouble of its own (its database was busy): to set the same note twice is to set it once.

    Raises:
        UnreachableError: AIRFLOW_API_REFUSED.
    """
    path = f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
    try:
        with httpx.Client(base_url=base_url, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            user, password = login
            token = client.post("/auth/token", json={"username": user, "password": password})
            token.raise_for_status()
            headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
            body = {"note": note[:1000]}
            for left in reversed(range(_TRIES)):
                answer = client.patch(path, params={"update_mask": "note"}, json=body, headers=headers)
                if not (answer.is_server_error and left):
                    break
                time.sleep(_PAUSE_SECONDS)
            answer.raise_for_status()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise UnreachableError(
            "AIRFLOW_API_REFUSED",
            f"Airflow's API at {base_url} did not take the note of run {run_id}.",
            cause=f"{type(error).__name__}: {error}.",
            next_step="Check host, port, login and password of the connection `nightshift_airflow_api`; "
            "the note's text is in the log of the report task and in the ledger.",
        ) from error
