"""Airflow's REST API, as far as the demo needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from nsdemo.settings import ADMIN, DemoError, Home, ui_url

_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class AirflowApi:
    """Speaks as the administrator of this installation."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client = httpx.Client(base_url=ui_url(), timeout=30, trust_env=False)

    def wait_until_healthy(self, seconds: float) -> None:
        """Wait for all four components: the API answers 200 even when one of them is ill.

        Raises:
            DemoError: they did not become healthy in time.
        """
        deadline = time.monotonic() + seconds
        said: Any = "no answer"
        while time.monotonic() < deadline:
            try:
                said = self._client.get("/api/v2/monitor/health").json()
                if all(said[name]["status"] == "healthy" for name in _COMPONENTS):
                    self._log_in()
                    return
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                pass  # still starting
            time.sleep(0.5)
        raise DemoError(
            f"Airflow did not become healthy within {seconds:.0f} s: {said}", f"read {self._home.logs}"
        )

    def _log_in(self) -> None:
        body = {"username": ADMIN, "password": self._home.secrets()["admin_password"]}
        answer = self._client.post("/auth/token", json=body)
        answer.raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def wait_for_dag(self, dag_id: str, seconds: float) -> None:
        """Wait until the running DAG processor has read the DAG.

        The database still lists what earlier installations found: a run of such a DAG would never begin.

        Raises:
            DemoError: it was not found; the message carries Airflow's import errors.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self._client.get(f"/api/v2/dags/{dag_id}")
            if answer.status_code == httpx.codes.OK and self._is_fresh(answer.json()):
                return
            time.sleep(0.5)
        errors = self._get("/api/v2/importErrors")["import_errors"]
        raise DemoError(f"Airflow does not list {dag_id}; import errors: {errors}", f"read {self._home.logs}")

    def _is_fresh(self, dag: dict[str, Any]) -> bool:
        started = (self._home.pids / "dag-processor").stat().st_mtime
        parsed = dag["last_parsed_time"]
        return not dag["is_stale"] and bool(parsed) and datetime.fromisoformat(parsed).timestamp() >= started

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        self.change("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Let a DAG start nothing any more; one that Airflow does not know yet starts nothing anyway."""
        self._log_in()
        self.change("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": True}, done=httpx.codes.NOT_FOUND)

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Start a run by hand, with values of its form; returns its id."""
        # Named by us: when the answer is lost and the run was made, asking again makes no second one.
        run_id = f"manual__{datetime.now(UTC).isoformat()}"
        body = {"logical_date": None, "dag_run_id": run_id, "conf": conf}
        self.change("POST", f"/api/v2/dags/{dag_id}/dagRuns", body, done=httpx.codes.CONFLICT)
        return run_id

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return self._get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        found: list[dict[str, Any]] = self._get(path, limit=500)["task_instances"]
        return found

    def active_run(self, dag_id: str) -> str | None:
        """Id of a run that a person started and that is queued or runs; None when there is none.

        A scheduled one may be last night's, which Airflow starts late and the DAG only holds.
        """
        found = self._active(dag_id)
        return next((str(run["dag_run_id"]) for run in found if run["run_type"] == "manual"), None)

    def active_runs(self, dag_id: str, before: datetime | None = None) -> list[str]:
        """Ids of the runs that are queued or run; with `before` of those that began earlier."""
        return [
            str(run["dag_run_id"])
            for run in self._active(dag_id)
            if before is None or (run["start_date"] and datetime.fromisoformat(run["start_date"]) < before)
        ]

    def mark_failed(self, dag_id: str, run_id: str) -> None:
        """End a run as a person would in the UI; its teardown still runs."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        self.change("PATCH", path, {"state": "failed"})

    def change(self, method: str, path: str, body: dict[str, Any], done: int = httpx.codes.OK) -> None:
        """Change something as a person does in the UI, and ask again when no answer came, or 500.

        Airflow notes who did it on the API server's event loop. Where another request's transaction waits for that loop to
        end, both stand until SQLite's 5 s are over; then this one is refused, and nothing was changed.

        Args:
            method: of HTTP.
            path: of the API.
            body: as JSON.
            done: another status than success that says the same.

        Raises:
            httpx.HTTPError: it was refused, or three times in vain; it has Airflow's words.
        """
        answer: httpx.Response = patiently(lambda: self._asked(method, path, body))
        if answer.is_error and answer.status_code != done:
            words = f"{method} {path}: {answer.status_code} {answer.text}"
            raise httpx.HTTPStatusError(words, request=answer.request, response=answer)

    def _asked(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = self._client.request(method, path, json=body)
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            answer.raise_for_status()
        return answer

    def _active(self, dag_id: str) -> list[dict[str, Any]]:
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        found: list[dict[str, Any]] = self._get(path, state=["queued", "running"], limit=100)["dag_runs"]
        return found

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self._client.get(path, params=query)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def patiently(ask: Callable[[], Any]) -> Any:
    """Ask again when the API is busy for a moment (see `AirflowApi.change`); the third failure is raised."""
    for _ in range(2):
        try:
            return ask()
        except httpx.HTTPError:
            time.sleep(2)
    return ask()
