"""Prometheus and Alertmanager: a small HTTP server that answers as they do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nightshift.clients.prometheus_api import (
    NoAnswer,
    firing_in_alertmanager,
    firing_in_prometheus,
    query_fires,
)


class Server:
    """Answers every path with the same (status, text) and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, str] = (200, "{}")
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(outer.answer[0])
                self.end_headers()
                self.wfile.write(outer.answer[1].encode())

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def says(self, body: Any, status: int = 200) -> str:
        self.answer = (status, body if isinstance(body, str) else json.dumps(body))
        return self.url


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def success(**data: Any) -> dict[str, Any]:
    return {"status": "success", "data": data}


FIRING = {
    "labels": {"alertname": "KubeAPIDown", "severity": "critical"},
    "annotations": {"summary": "The API is down."},
    "state": "firing",
    "activeAt": "2026-11-28T20:04:27.123456789Z",
    "value": "1e+00",
}
ACTIVE = {
    "annotations": {"description": "The API is down."},
    "endsAt": "2026-11-28T20:12:27.000Z",
    "fingerprint": "8b5d1d3e8f6a2c11",
    "receivers": [{"name": "nobody"}],
    "startsAt": "2026-11-28T20:04:27.000Z",
    "status": {"inhibitedBy": [], "mutedBy": [], "silencedBy": [], "state": "active"},
    "updatedAt": "2026-11-28T20:08:27.000Z",
    "generatorURL": "http://prometheus:9090/graph",
    "labels": {"alertname": "KubeAPIDown", "severity": "critical"},
}


def test_prometheus_alerts_that_are_only_pending_do_not_fire(server: Server) -> None:
    url = server.says(success(alerts=[FIRING, {**FIRING, "state": "pending"}]))
    (alert,) = firing_in_prometheus(url + "/")
    assert (alert.name, alert.summary, alert.is_silenced) == ("KubeAPIDown", "The API is down.", False)
    assert alert.since == pytest.approx(1_795_896_267.12, abs=0.01)
    assert server.asked == ["/api/v1/alerts"]


@pytest.mark.parametrize(
    ("status", "silenced"),
    [
        ({}, False),
        ({"silencedBy": ["7f"], "state": "suppressed"}, True),
        ({"inhibitedBy": ["8b"], "state": "suppressed"}, True),
        ({"mutedBy": ["nights"], "state": "suppressed"}, True),
    ],
)
def test_alertmanager_alerts(server: Server, status: dict[str, Any], silenced: bool) -> None:
    (alert,) = firing_in_alertmanager(server.says([{**ACTIVE, "status": {**ACTIVE["status"], **status}}]))
    assert (alert.name, alert.summary, alert.is_silenced) == ("KubeAPIDown", "The API is down.", silenced)
    assert server.asked == ["/api/v2/alerts"]


SERIES = {"metric": {"__name__": "up", "job": "node"}, "value": [1790000000.1, "0"]}


@pytest.mark.parametrize(
    ("data", "fires", "details"),
    [
        ({"resultType": "vector", "result": []}, False, ()),
        ({"resultType": "vector", "result": [SERIES]}, True, ('up{job="node"} 0',)),
        ({"resultType": "vector", "result": [{"metric": {}, "value": [1, "3"]}]}, True, ("{} 3",)),
        ({"resultType": "scalar", "result": [1790000000.1, "0"]}, False, ("0",)),
        ({"resultType": "scalar", "result": [1790000000.1, "2.5"]}, True, ("2.5",)),
    ],
)
def test_a_query_fires_as_an_alerting_rule_does(
    server: Server, data: dict[str, Any], fires: bool, details: tuple[str, ...]
) -> None:
    assert query_fires(server.says(success(**data)), 'up{job="node"} == 0') == (fires, details)
    assert parse_qs(urlsplit(server.asked[0]).query) == {"query": ['up{job="node"} == 0']}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (success(resultType="scalar", result=[1, "NaN"]), 200, "its result is NaN"),
        (success(resultType="matrix", result=[]), 200, "its result is a matrix"),
        (
            {"status": "error", "errorType": "bad_data", "error": "parse error at char 3"},
            400,
            "400: parse error at",
        ),
        ({"status": "error"}, 200, "not the answer of a Prometheus"),
        ([1], 200, "not the answer of a Prometheus"),
        ("<html>", 502, "status 502 and no JSON"),
        ("", 200, "no JSON"),
    ],
)
def test_what_is_no_result_is_no_answer(server: Server, body: Any, status: int, said: str) -> None:
    with pytest.raises(NoAnswer, match=said):
        query_fires(server.says(body, status), "up")


def test_nobody_there() -> None:
    with pytest.raises(NoAnswer, match="refused"):
        firing_in_prometheus("http://127.0.0.1:9")
