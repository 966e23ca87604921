"""The availability probe: one request every 0.3 s to the API and to the web Service, all written down.

It runs inside the lab's infra network namespace, so it sees the cluster as a user on the network
does. Each request has a connection and a thread of its own: a request that hangs does not delay
the next one, and the rate is the same on a good and on a bad night.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from nslab import settings
from nslab.build.store import write_text
from nslab.nodes import network, processes, state
from nslab.shell import LabError, wait_until

INTERVAL = 0.3  # seconds between two requests to one target
TIMEOUT = 2.0  # seconds after which a request counts as failed
MAX_SECONDS = 3600  # a forgotten probe ends by itself
WEB_PORT = 30080  # the NodePort in workload/shop.yaml
PROCESS = "probe"

DEFAULT_OUT = settings.STATE_DIR / "probe" / "requests.jsonl"
LAST_OUT = settings.STATE_DIR / "probe" / "last-out"


@dataclass(frozen=True)
class Target:
    """Something that must answer; its URLs are asked in turn."""

    name: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """One request and its outcome."""

    at: float  # seconds since the epoch, when the request was sent
    target: str
    url: str
    ok: bool
    ms: float
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """What a probe saw of one target."""

    target: str
    count: int
    failed: int
    longest_gap: float  # seconds from the last good request before a failure to the first good one after
    gap_at: float  # when that gap began, seconds since the epoch; 0 when there was none


def targets(profile: settings.Profile) -> tuple[Target, Target]:
    """Return what a profile offers its users: the API at its endpoint, the shop at every worker."""
    workers = [n for n in profile.nodes if n.role == "worker"]
    return (
        Target("api", (f"https://{profile.api_endpoint}/readyz",)),
        Target("web", tuple(f"http://{n.address}:{WEB_PORT}/" for n in workers)),
    )


def ask(target: str, url: str, timeout: float = TIMEOUT) -> Request:
    """Send one GET on a new connection; anything but 200 within the timeout is a failure."""
    at, started = time.time(), time.monotonic()
    try:
        error = _get(url, timeout)
    except (OSError, http.client.HTTPException) as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Request(round(at, 3), target, url, not error, round((time.monotonic() - started) * 1000, 1), error)


def _get(url: str, timeout: float) -> str:
    """GET a URL; return "" when it answered 200, else what it answered."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # The probe asks "does it answer", and the lab's CA changes with every cluster.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        return "" if response.status == 200 else f"HTTP {response.status}"
    finally:
        connection.close()


class Recorder:
    """Writes requests as JSON lines, whole lines only, whichever thread they come from."""

    def __init__(self, sink: TextIO) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def ask_and_write(self, target: str, url: str) -> None:
        """Send one request and write it down."""
        line = json.dumps(asdict(ask(target, url))) + "\n"
        with self._lock:
            self._sink.write(line)
            self._sink.flush()


def serve(
    watched: Sequence[Target], out: Path, max_seconds: float, interval: float, ended: threading.Event
) -> None:
    """Probe until `ended` is set or the time is over; requests under way are still written down."""
    out.parent.mkdir(parents=True, exist_ok=True)
    under_way: list[threading.Thread] = []
    with out.open("w", encoding="utf-8") as sink:
        recorder = Recorder(sink)
        started = time.monotonic()
        for tick in range(int(max_seconds / interval) + 1):
            if ended.wait(max(0.0, started + tick * interval - time.monotonic())):
                break
            under_way = [t for t in under_way if t.is_alive()]
            for target in watched:
                url = target.urls[tick % len(target.urls)]
                thread = threading.Thread(target=recorder.ask_and_write, args=(target.name, url))
                thread.start()
                under_way.append(thread)
        for thread in under_way:
            thread.join(TIMEOUT * 3)


def read(path: Path) -> Iterator[Request]:
    """Yield the requests of a probe's file; a last line cut off by a kill is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Request(**json.loads(line))


def summarise(requests: Iterable[Request]) -> list[Summary]:
    """Return one summary per target, by name."""
    by_target: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        by_target[request.target].append(request)
    return [_summary(name, sorted(seen, key=lambda r: r.at)) for name, seen in sorted(by_target.items())]


def _summary(name: str, seen: Sequence[Request]) -> Summary:
    longest, gap_at = 0.0, 0.0
    last_good, failing = seen[0].at, False
    for request in seen:
        if request.ok and failing and request.at - last_good > longest:
            longest, gap_at = request.at - last_good, last_good
        if request.ok:
            last_good = request.at
        failing = not request.ok
    if failing and seen[-1].at - last_good > longest:  # still away when the probe ended
        longest, gap_at = seen[-1].at - last_good, last_good
    return Summary(name, len(seen), sum(not r.ok for r in seen), round(longest, 3), gap_at)


def wait_api(profile: settings.Profile, timeout: float = 60.0) -> float:
    """Wait until the API answers 200 on /readyz; return the seconds it took."""
    api, _ = targets(profile)
    return wait_until(
        lambda: ask(api.name, api.urls[0]).ok, f"the API at {api.urls[0]} answers", timeout, 0.3
    )


def wait_web(profile: settings.Profile, timeout: float = 60.0) -> float:
    """Wait until the shop answers through every worker; return the seconds it took."""
    _, web = targets(profile)
    return wait_until(
        lambda: all(ask(web.name, url).ok for url in web.urls),
        f"the web Service answers on port {WEB_PORT} of every worker",
        timeout,
        0.3,
        "look at `lab/lab kubectl -n shop get pods -o wide`",
    )


def start(profile: settings.Profile, out: Path = DEFAULT_OUT, max_seconds: float = MAX_SECONDS) -> None:
    """Start the probe in the background, writing to `out`; a probe that already runs is stopped first."""
    stop()
    out = out.resolve()
    out.unlink(missing_ok=True)  # so that the first request of *this* probe is what is waited for
    order = {"targets": [asdict(t) for t in targets(profile)], "out": str(out), "max_seconds": max_seconds}
    python = ["env", f"PYTHONPATH={Path(__file__).parents[1]}", sys.executable, "-m", "nslab.probe"]
    pid = processes.start(PROCESS, network.inside([*python, json.dumps(order)]))
    log = processes.log_file(PROCESS)
    wait_until(
        lambda: processes.pid_of(PROCESS) != pid or (out.exists() and out.stat().st_size > 0),
        "the probe has written its first request",
        10,
        0.1,
        f"read {log}",
    )
    if processes.pid_of(PROCESS) != pid:
        raise LabError("the probe ended at once", f"read {log}")
    write_text(LAST_OUT, str(out))


def stop() -> Path | None:
    """Stop the probe and return the file it wrote last; None when none was ever started."""
    processes.stop(PROCESS, patience=TIMEOUT * 4)
    return _last_out()


def _last_out() -> Path | None:
    return Path(LAST_OUT.read_text()) if LAST_OUT.exists() else None


def report(path: Path) -> str:
    """Return what a probe saw as a table for people."""
    summaries = summarise(read(path))
    if not summaries:
        raise LabError(f"{path} holds no request", "was the probe started? `lab/lab probe start`")
    lines = [f"{'target':8} {'requests':>8} {'failed':>7} {'longest gap':>12}  at (UTC)"]
    for s in summaries:
        moment = time.strftime("%H:%M:%S", time.gmtime(s.gap_at)) if s.gap_at else "-"
        lines.append(f"{s.target:8} {s.count:8d} {s.failed:7d} {s.longest_gap:10.2f} s  {moment}")
    return "\n".join(lines)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab probe start|stop|report`."""
    parser = subparsers.add_parser(
        "probe", help="record every request to the API and the web Service that fails"
    )
    parser.add_argument("action", choices=("start", "stop", "report"))
    parser.add_argument(
        "--out", type=Path, help=f"file of JSON lines (default: {DEFAULT_OUT}, or the last one written)"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON instead of a table")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, help="the probe ends by itself after this"
    )
    parser.set_defaults(run=_command)


def _command(arguments: argparse.Namespace) -> None:
    if arguments.action == "start":
        out = arguments.out or DEFAULT_OUT
        start(state.current().profile, out, arguments.max_seconds)
        print(f"probe started; requests go to {out}")
        return
    last = stop() if arguments.action == "stop" else _last_out()
    out = arguments.out or last
    if out is None or not out.exists():
        raise LabError("no probe has been started", "start one: `lab/lab probe start`")
    if arguments.action == "stop":
        print(f"probe stopped; requests are in {out}")
    elif arguments.json:
        print(json.dumps([asdict(s) for s in summarise(read(out))], indent=1))
    else:
        print(report(out))


def _main(order: str) -> None:
    """Entry point of the process inside the network namespace."""
    wanted = json.loads(order)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    watched = [Target(t["name"], tuple(t["urls"])) for t in wanted["targets"]]
    os.nice(-5)  # a busy machine must not look like an unavailable cluster
    serve(watched, Path(wanted["out"]), wanted["max_seconds"], INTERVAL, ended)


if __name__ == "__main__":
    _main(sys.argv[1])
