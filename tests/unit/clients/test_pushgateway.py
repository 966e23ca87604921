import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from nightshift.clients.pushgateway import HELP, Pushgateway
from nightshift.domain.policy import AlertPolicy

Received = list[tuple[str, str, str]]


@pytest.fixture
def received() -> Received:
    return []


@pytest.fixture
def address(received: Received) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.append((self.command, self.path, body))
            self.send_response(200)
            self.end_headers()

        do_PUT = do_POST  # noqa: N815 - the name http.server calls

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_push_adds_to_the_clusters_group_and_carries_nothing_else(address: str, received: Received) -> None:
    labels = {"kind": "minor", "running": "1.34.4", "target": "1.35.4"}
    problem = Pushgateway(address, "lab").push(
        {"k8s_upgrade_in_flight": 1.0}, [("k8s_upgrade_available", labels, 1.0)]
    )
    assert problem is None
    ((method, path, body),) = received
    assert method == "POST", "PUT would wipe the group's other gauges"
    assert path == "/metrics/job/nightshift/cluster/lab"
    assert "k8s_upgrade_in_flight 1.0" in body
    assert 'k8s_upgrade_available{kind="minor",running="1.34.4",target="1.35.4"} 1.0' in body
    assert "process_" not in body


def test_a_gateway_that_is_away_is_an_answer_not_an_error() -> None:
    problem = Pushgateway("http://127.0.0.1:1", "lab").push({"k8s_upgrade_in_flight": 1.0})
    assert problem is not None
    assert problem.startswith("http://127.0.0.1:1: ")


def test_no_gateway_is_fine() -> None:
    assert Pushgateway(None, "lab").push({"k8s_upgrade_in_flight": 1.0}) is None


def test_the_shipped_alerts_ask_for_gauges_that_are_pushed_and_stop_no_night() -> None:
    shipped = Path(__file__).parents[3] / "include" / "prometheus" / "nightshift.rules.yaml"
    rules = [rule for group in yaml.safe_load(shipped.read_text())["groups"] for rule in group["rules"]]
    asked = {name for rule in rules for name in re.findall(r"k8s_\w+", rule["expr"])}
    assert asked == {
        "k8s_upgrade_failed",
        "k8s_upgrade_blocked",
        "k8s_upgrade_in_flight",
        "k8s_upgrade_started_timestamp",
        "k8s_version_check_last_run_timestamp",
    }
    assert asked <= HELP.keys()
    assert all(rule["alert"].startswith(AlertPolicy().own_prefixes) for rule in rules)
