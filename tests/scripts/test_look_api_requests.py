"""The section `api-requests` of the look, with a curl that answers as an API server's metrics page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scripts.conftest import FakeNode

from nightshift.clients.questions.api_use import parse_api_requests
from nightshift.domain.facts.api_use import DeprecatedRequest

CURL = """#!/bin/bash
printf '%s\\n' "$*" >>"$CURL_CALLS"
[[ ! -e $CURL_CALLS.fails ]] || exit 22
cat <<'PAGE'
# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested.
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="",removed_release="1.35",resource="things",subresource="",version="v1"} 1
# TYPE apiserver_request_total counter
apiserver_request_total{code="200"} 7
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.78999e+09
PAGE
"""
LIKE_API_SERVER = (
    "--client-ca-file=/etc/kubernetes/pki/ca.crt",
    "--advertise-address=10.0.0.11",
    "--secure-port=6444",
)


@pytest.fixture
def calls(node: FakeNode) -> Path:
    directory = node.root / "programs"
    directory.mkdir()
    (directory / "curl").write_text(CURL)
    (directory / "curl").chmod(0o755)
    node.environment |= {
        "PATH": f"{directory}:{node.variables()['PATH']}",
        "CURL_CALLS": str(node.root / "calls"),
    }
    return node.root / "calls"


@pytest.fixture
def api_server(node: FakeNode) -> Iterator[None]:
    words = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)", *LIKE_API_SERVER]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        node.pretend_process("kube-apiserver", process.pid)
        yield
        process.kill()


def look(node: FakeNode) -> tuple[int, str]:
    done = node.shell("look/api-requests.sh", "look_api_requests")
    return done.returncode, done.stdout


def test_its_own_api_server_is_asked_with_the_clusters_certificates(
    node: FakeNode, calls: Path, api_server: None
) -> None:
    code, text = look(node)
    assert code == 0
    assert "request_total" not in text
    found = parse_api_requests(text)
    assert (found.started, found.deprecated) == (
        1.78999e9,
        (DeprecatedRequest("", "v1", "things", "", "1.35"),),
    )
    (call,) = calls.read_text().splitlines()
    assert call.endswith("https://10.0.0.11:6444/metrics")
    assert "--cert " in call
    assert "--insecure" not in call


def test_an_api_server_that_gives_no_answer_fails_the_section(
    node: FakeNode, calls: Path, api_server: None
) -> None:
    Path(f"{calls}.fails").touch()
    assert look(node)[0] != 0


def test_a_control_plane_without_api_server_fails_the_section(node: FakeNode, calls: Path) -> None:
    assert look(node) == (31, "")
    assert not calls.exists()
