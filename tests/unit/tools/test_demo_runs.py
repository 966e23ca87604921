import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from nsdemo import __main__ as demo
from nsdemo import runs
from nsdemo.api import AirflowApi
from nsdemo.settings import DemoError, Home

ENROLLED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAG = "upgrade_lab"


def run(run_id: str, start: str | None, kind: str = "manual") -> dict[str, Any]:
    return {"dag_run_id": run_id, "start_date": start, "run_type": kind}


class FakeAirflow:
    """Airflow's REST API as far as runs go; a run that was marked ends two questions after the DAG may run again."""

    def __init__(self, *active: dict[str, Any]) -> None:
        self.active = list(active)
        self.marked: list[str] = []
        self.paused: bool | None = None
        self.questions = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "t"})
        if request.method == "PATCH" and "state" in body:
            self.marked.append(request.url.path.rpartition("/")[2])
        elif request.method == "PATCH":
            self.paused = body["is_paused"]
        elif request.url.path.endswith("/dagRuns"):
            assert request.url.params.get_list("state") == ["queued", "running"]
            self._ends()
            return httpx.Response(200, json={"dag_runs": self.active})
        return httpx.Response(200, json={})

    def _ends(self) -> None:
        if self.paused is False and self.marked:
            self.questions += 1
            if self.questions > 1:
                self.active = [r for r in self.active if r["dag_run_id"] not in self.marked]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeAirflow], AirflowApi]:
    monkeypatch.setattr(runs.time, "sleep", lambda seconds: None)

    def api(airflow: FakeAirflow) -> AirflowApi:
        client = AirflowApi(Home(tmp_path))
        client._client = httpx.Client(
            base_url="http://airflow", transport=httpx.MockTransport(airflow.answer)
        )
        return client

    return api


def test_runs_of_a_cluster_that_is_gone_end_before_anything_begins(
    connect: Callable[[FakeAirflow], AirflowApi],
) -> None:
    airflow = FakeAirflow(
        run("old", "2026-11-24T11:59:00Z"),
        run("late", "2026-11-23T23:00:00+00:00", "scheduled"),
        run("mine", "2026-11-24T12:00:01Z"),
        run("waits", None),
    )
    said: list[str] = []
    runs.end_earlier_runs(connect(airflow), DAG, ENROLLED, said.append)
    assert airflow.marked == ["late", "old"]
    assert [r["dag_run_id"] for r in airflow.active] == ["mine", "waits"]
    assert airflow.paused is False, "their teardown has to run"
    assert said == [f"ending {name}: it began on a cluster that is gone" for name in ("late", "old")]


def test_without_such_runs_a_paused_dag_stays_paused(connect: Callable[[FakeAirflow], AirflowApi]) -> None:
    airflow = FakeAirflow(run("mine", "2026-11-24T12:00:01Z"))
    runs.end_earlier_runs(connect(airflow), DAG, ENROLLED, print)
    assert (airflow.marked, airflow.paused) == ([], None)


def test_a_run_that_does_not_end_is_said(
    connect: Callable[[FakeAirflow], AirflowApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_ENDED_SECONDS", -1)
    airflow = FakeAirflow(run("old", "2026-11-24T11:00:00Z"))
    with pytest.raises(DemoError, match="old did not end"):
        runs.end_earlier_runs(connect(airflow), DAG, ENROLLED, lambda text: None)


def test_only_a_run_that_a_person_started_is_followed(connect: Callable[[FakeAirflow], AirflowApi]) -> None:
    late = run("late", "2026-11-24T12:00:01Z", "scheduled")
    assert connect(FakeAirflow(late)).active_run(DAG) is None
    assert connect(FakeAirflow(late, run("mine", None))).active_run(DAG) == "mine"


@pytest.mark.parametrize("is_up", [True, False])
def test_airflow_is_stopped_with_its_dag_paused(
    connect: Callable[[FakeAirflow], AirflowApi],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_up: bool,
) -> None:
    airflow = FakeAirflow()
    stopped: list[bool | None] = []
    monkeypatch.setattr(runs, "AirflowApi", lambda home: connect(airflow))
    monkeypatch.setattr(runs, "running_pid", lambda home, name: os.getpid() if is_up else None)
    monkeypatch.setattr(runs, "stop_airflow", lambda home, say: stopped.append(airflow.paused))
    runs.rest_airflow(Home(tmp_path), DAG, print)
    assert stopped == [True if is_up else None]


def test_an_api_that_does_not_answer_does_not_keep_airflow_from_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf:
        def pause(self, dag_id: str) -> None:
            raise httpx.ConnectError("refused")

    said: list[str] = []
    monkeypatch.setattr(runs, "AirflowApi", lambda home: Deaf())
    monkeypatch.setattr(runs, "running_pid", lambda home, name: 1)
    monkeypatch.setattr(runs, "stop_airflow", lambda home, say: said.append("stopped"))
    runs.rest_airflow(Home(tmp_path), DAG, said.append)
    assert said == ["upgrade_lab could not be paused: refused", "stopped"]


# The order of things


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []

    class Api:
        def __init__(self, home: Home) -> None:
            pass

        def wait_until_healthy(self, seconds: float) -> None:
            done.append("healthy")

        def wait_for_dag(self, dag_id: str, seconds: float) -> None:
            done.append(dag_id)

        def unpause(self, dag_id: str) -> None:
            done.append("unpause")

        def active_run(self, dag_id: str) -> str | None:
            return None

        def trigger(self, dag_id: str, **conf: str) -> str:
            done.append("trigger")
            return "r"

    def note(word: str, answer: Any = None) -> Callable[..., Any]:
        return lambda *_: (done.append(word), answer)[1]

    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "AirflowApi", Api)
    for name, answer in (
        ("rest_airflow", None),
        ("bring_up", {"a": "b"}),
        ("enrol_lab", True),
        ("lab_environment", {}),
        ("start_airflow", None),
        ("enrolled_at", ENROLLED),
        ("end_earlier_runs", None),
        ("follow", {"state": "success"}),
        ("_close", 0),
        ("run_lab", None),
    ):
        monkeypatch.setattr(demo, name, note(name, answer))
    monkeypatch.setattr(demo, "lab_facts", lambda: {"a": "b"})
    return done


AIRFLOW = [
    "enrol_lab",
    "rest_airflow",
    "lab_environment",
    "start_airflow",
    "healthy",
    "upgrade_lab",
    "recover_lab",
]
ENDED = ["enrolled_at", "end_earlier_runs"]
NIGHT = ["unpause", "trigger", "follow", "_close"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["rest_airflow", "bring_up", *AIRFLOW, *ENDED, *NIGHT]),
        (["--up-only"], ["rest_airflow", "bring_up", *AIRFLOW, *ENDED]),
        (["--run-only"], [*AIRFLOW, *ENDED, *NIGHT]),
        (["--airflow-only"], [*AIRFLOW, *ENDED]),
        (["--stop-airflow"], ["rest_airflow"]),
        (["--stop"], ["rest_airflow", "run_lab"]),
    ],
)
def test_what_each_option_does_in_which_order(
    steps: list[str], options: list[str], expected: list[str]
) -> None:
    assert demo.main(options) == 0
    assert steps == expected
