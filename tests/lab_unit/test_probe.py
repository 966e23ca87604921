"""The probe: what counts as a failure, how a gap is measured, and that it keeps its rhythm."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nslab import probe
from nslab.settings import PROFILES
from nslab.shell import LabError


def requests(pattern: str, step: float = 0.3) -> list[probe.Request]:
    """Make requests from a pattern: "o" was answered, "x" was not."""
    return [probe.Request(100 + n * step, "api", "u", c == "o", 1.0) for n, c in enumerate(pattern)]


@pytest.mark.parametrize(
    ("pattern", "failed", "gap"),
    [
        ("oooo", 0, 0.0),
        ("ooxoo", 1, 0.6),
        ("oxxxo", 3, 1.2),
        ("oxoxxo", 3, 0.9),
        ("xxo", 2, 0.6),  # away from the start on: counted from the first request
        ("oxx", 2, 0.6),  # still away at the end: counted to the last request
        ("x", 1, 0.0),
    ],
)
def test_gap_reaches_from_last_good_to_next_good_request(pattern: str, failed: int, gap: float) -> None:
    (summary,) = probe.summarise(requests(pattern))
    assert (summary.count, summary.failed) == (len(pattern), failed)
    assert summary.longest_gap == pytest.approx(gap)


def test_requests_are_judged_in_the_order_they_were_sent() -> None:
    answered_late = list(reversed(requests("ooxoo")))
    assert probe.summarise(answered_late) == probe.summarise(requests("ooxoo"))


def test_last_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    whole = json.dumps(probe.asdict(requests("o")[0]))
    file.write_text(f"{whole}\n{whole[:20]}")
    assert len(list(probe.read(file))) == 1


def test_report_without_requests_says_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "requests.jsonl"
    empty.write_text("")
    with pytest.raises(LabError, match="lab/lab probe start"):
        probe.report(empty)


def test_targets_are_the_endpoint_and_every_worker() -> None:
    api, web = probe.targets(PROFILES["ha"])
    assert api.urls == (f"https://{PROFILES['ha'].api_endpoint}/readyz",)
    assert len(web.urls) == 3


class Moody(BaseHTTPRequestHandler):
    """Answers by path: /good at once, /bad with 503, /slow after half a second."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(503 if self.path == "/bad" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Moody) as moody:
        threading.Thread(target=moody.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{moody.server_address[1]}"
        moody.shutdown()


@pytest.mark.parametrize(
    ("path", "ok", "error"),
    [("/good", True, ""), ("/bad", False, "HTTP 503"), ("/slow", False, "TimeoutError")],
)
def test_only_200_in_time_is_good(server: str, path: str, ok: bool, error: str) -> None:
    seen = probe.ask("web", server + path, timeout=0.2)
    assert seen.ok is ok
    assert seen.error.startswith(error)


def test_refused_connection_is_a_failure() -> None:
    assert probe.ask("web", "http://127.0.0.1:1/").error.startswith("ConnectionRefusedError")


def test_a_hanging_request_does_not_delay_the_next_ones(server: str, tmp_path: Path) -> None:
    out = tmp_path / "requests.jsonl"
    watched = [probe.Target("web", (f"{server}/slow", f"{server}/good"))]
    probe.serve(watched, out, max_seconds=0.5, interval=0.1, ended=threading.Event())
    seen = sorted(probe.read(out), key=lambda r: r.at)
    assert [r.url.rpartition("/")[2] for r in seen] == ["slow", "good"] * 3
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(seen)]
    assert max(gaps) < 0.2


def test_probe_ends_when_told(server: str, tmp_path: Path) -> None:
    ended = threading.Event()
    ended.set()
    started = time.monotonic()
    probe.serve([probe.Target("web", (server,))], tmp_path / "o.jsonl", 3600, 0.3, ended)
    assert time.monotonic() - started < 1
