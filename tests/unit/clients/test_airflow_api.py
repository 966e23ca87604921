import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nightshift.clients.airflow_api import set_run_note
from nightshift.domain.errors import UnreachableError


class _Airflow(BaseHTTPRequestHandler):
    """Hands out a token for the right password and keeps what is patched."""

    # Statuses of the next answers to a patch.
    troubles: list[int] = []  # noqa: RUF012 - one server per test, emptied there
    seen: list[tuple[str, dict[str, str], str | None]] = []  # noqa: RUF012 - one server per test, emptied there

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def _body(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def do_POST(self) -> None:
        is_right = self._body() == {"username": "nightshift", "password": "right"}
        self._answer(201 if is_right else 401, {"access_token": "t"} if is_right else {"detail": "no"})

    def do_PATCH(self) -> None:
        self.seen.append((self.path, self._body(), self.headers["Authorization"]))
        self._answer(self.troubles.pop(0) if self.troubles else 200, {})

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    _Airflow.seen.clear()
    _Airflow.troubles.clear()
    server = HTTPServer(("127.0.0.1", 0), _Airflow)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_note_is_set_and_nothing_else(url: str) -> None:
    set_run_note(url, ("nightshift", "right"), "upgrade_lab", "manual__2026-11-22T23:00:00+00:00", "n" * 1200)
    path, body, token = _Airflow.seen[0]
    run = "/api/v2/dags/upgrade_lab/dagRuns/manual__2026-11-22T23%3A00%3A00%2B00%3A00"
    assert path == f"{run}?update_mask=note"
    assert body == {"note": "n" * 1000}
    assert token == "Bearer t"


def test_a_refusal_is_one_known_error(url: str) -> None:
    with pytest.raises(UnreachableError, match="AIRFLOW_API_REFUSED") as raised:
        set_run_note(url, ("nightshift", "wrong"), "d", "r", "note")
    assert "wrong" not in str(raised.value)


def test_an_api_that_is_away_is_the_same_error() -> None:
    with pytest.raises(UnreachableError, match="AIRFLOW_API_REFUSED"):
        set_run_note("http://127.0.0.1:1", ("nightshift", "right"), "d", "r", "note")


@pytest.mark.parametrize(("troubles", "asked"), [([500, 503], 3), ([500] * 3, 3), ([403], 1)])
def test_an_airflow_with_trouble_of_its_own_is_asked_three_times(
    url: str, monkeypatch: pytest.MonkeyPatch, troubles: list[int], asked: int
) -> None:
    monkeypatch.setattr("nightshift.clients.airflow_api._PAUSE_SECONDS", 0)
    _Airflow.troubles.extend(troubles)
    goes_well = len(troubles) < asked
    with nullcontext() if goes_well else pytest.raises(UnreachableError, match=str(troubles[-1])):
        set_run_note(url, ("nightshift", "right"), "d", "r", "note")
    assert len(_Airflow.seen) == asked
