"""What APIs, webhooks, jobs and libraries say passes through a task: no secret of it into log, traceback, XCom, note or ledger."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from tests.unit.redaction_plants import PLANTED, SECRETS

from nightshift.clients.kube_transport import KubeTransport
from nightshift.clients.node_ssh import _tail
from nightshift.domain.errors import NightshiftError, RemoteJobError
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration import reporting
from nightshift.orchestration.operators import FAILURE_KEY, StepOperator
from nightshift.orchestration.reporting import NightShape, ReportOperator
from nightshift.steps.session import Session, node_log

# What is known as a whole line only, and not in the middle of a sentence (docs/safety.md, "Not yet").
WHOLE = ("several words of YAML", "private key without its beginning", "a list of quoted ones", "a map")
LINES = {form: text for form, text in SECRETS.items() if "\n" not in text and form not in WHOLE}
SHAPE = NightShape({"gates": ["planted", "decide"]}, [])
Step = Callable[[Session], Any]


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notes that were put onto the run."""
    found: list[str] = []
    answer = SimpleNamespace(schema="http", host="x", port=1, login="", password="")
    monkeypatch.setattr(reporting, "connection_named", lambda *_: answer)
    monkeypatch.setattr("nightshift.clients.airflow_api.set_run_note", lambda *words: found.append(words[-1]))
    return found


@pytest.fixture
def night(
    connections: Any,
    local: ClusterPolicy,
    context: dict[str, Any],
    notes: list[str],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[Step], dict[str, str]]:
    """Runs a step as a task of its own, then the report; returns all that came out, by where."""
    ti = context["ti"]
    ti.task_id = "planted"
    ti.log_url = ""
    context["dag_run"] = SimpleNamespace(start_date=None, dag_id="upgrade_lab")

    def run(step: Step) -> dict[str, str]:
        module = ModuleType("nightshift.steps.planted")
        module.planted = step  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nightshift.steps.planted", module)
        printed = ""
        try:
            answer = StepOperator(task_id="planted", policy=local, step="planted").execute(context)
            ti.xcom_push("return_value", answer)
            ti.xcoms["decide", "return_value"] = {"answer": "hold", "verdicts": [], "plan": None, **answer}
        except Exception as error:  # noqa: BLE001 - whatever comes out is printed
            printed = "".join(traceback.format_exception(error))  # Airflow's log has it
            ti.states = {"planted": "failed"}
        ReportOperator(task_id="report", policy=local, shape=SHAPE).execute(context)
        entry = next(iter((tmp_path / "lab/ledger").iterdir())).read_text()
        return {
            "traceback": printed,
            "log": capsys.readouterr().out,
            "xcoms": json.dumps(list(ti.xcoms.values()), ensure_ascii=False, default=str),
            "note": "".join(notes),
            "ledger": json.dumps(json.loads(entry), ensure_ascii=False),
        }

    return run


def leaks(out: dict[str, str]) -> list[tuple[str, str]]:
    return [(where, secret) for where, text in out.items() for secret in PLANTED if secret in text]


def refusing(monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> KubeTransport:
    """An API that answers so."""
    client = ApiClient(Configuration(host="https://api.invalid"))

    def refuse(*_: Any, **__: Any) -> None:
        error = ApiException(status=status, reason="Denied")
        error.body = json.dumps({"kind": "Status", "message": message})
        raise error

    monkeypatch.setattr(client, "call_api", refuse)
    return KubeTransport(client)


@pytest.mark.parametrize("form", SECRETS)
def test_an_error_of_the_api_is_told_without_its_secrets(
    night: Any, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    api = refusing(monkeypatch, 422, SECRETS[form])
    out = night(lambda session: api.call("PATCH", "/api/v1/nodes/w1"))
    assert leaks(out) == []
    assert "API_REFUSED" in out["note"]
    assert FAILURE_KEY not in out  # it is an XCom
    assert out["ledger"].count("kept") >= (1 if "kept" in SECRETS[form] else 0)


@pytest.mark.parametrize("form", LINES)
def test_what_a_webhook_or_a_job_says_is_told_without_its_secrets(
    night: Any, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    said = f'admission webhook "x.example.org" denied the request: {LINES[form]}'
    lines = ["[upgrade] began", said, LINES[form]]

    def job(session: Session) -> None:
        log = node_log(session, "w1")
        for line in lines:
            log(line)
        raise RemoteJobError(
            "JOB_FAILED",
            f"Job stage on node w1 ended with exit code 1.{_tail(lines)}",
            cause=said,
            next_step="Look.",
            exit_code=1,
        )

    out = night(job)
    assert leaks(out) == []
    assert "[upgrade] began" in out["log"]
    assert "JOB_FAILED" in out["note"]


@pytest.mark.parametrize("form", LINES)
def test_an_answer_is_left_without_its_secrets(night: Any, form: str) -> None:
    verdict = {
        "gate": "webhooks",
        "outcome": "block",
        "code": "WEBHOOK",
        "message": f"It says: {LINES[form]}",
        "cause": LINES[form],
        "resolution": "Look.",
        "evidence": {"said": [LINES[form]]},
    }
    out = night(
        lambda _: {
            "answer": "hold",
            "sentence": f"It says: {LINES[form]}",
            "verdicts": [verdict],
            "token": 17,
        }
    )
    assert leaks(out) == []
    assert '"token": 17' in out["xcoms"]
    assert "It says: " in out["note"]


class LibraryError(Exception):
    """Of a class that is not ours."""


@pytest.mark.parametrize("form", SECRETS)
def test_a_librarys_own_error_is_printed_without_its_secrets(night: Any, form: str) -> None:
    def unexpected(session: Session) -> None:
        try:
            raise ValueError(SECRETS[form])
        except ValueError as error:
            raise LibraryError(SECRETS[form]) from error

    def known(session: Session) -> None:
        try:
            unexpected(session)
        except LibraryError as error:
            raise NightshiftError("X", "It did not go.", cause="A library.", next_step="Look.") from error

    for step in (unexpected, known):
        out = night(step)
        assert leaks(out) == []
        assert "LibraryError: " in out["traceback"]
        assert "ValueError: " in out["traceback"]
        assert "raise ValueError" in out["traceback"]  # where it came from stays


def test_an_error_without_a_secret_stays_what_it_is(night: Any) -> None:
    def unexpected(session: Session) -> None:
        raise LibraryError("plain")

    assert "test_secrets.LibraryError: plain" in night(unexpected)["traceback"]
