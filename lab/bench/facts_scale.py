"""How long a whole round of facts and gates takes on a cluster of 1,000 nodes and 10,000 pods, and how much memory.

The objects are made up and served over HTTP on the loopback by this process; a second process gathers everything that
comes from the API server and lets all registered gates judge it. Nodes are not asked: each is unreachable, so what needs
SSH is blind, on all nodes. Measured are the second process's wall time, its peak of resident memory, and its requests.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(REPOSITORY / "plugins"), str(REPOSITORY / "lab")]

from bench.fake_fleet import Fleet, served  # noqa: E402  # found by the line above

SECONDS_LIMIT = 5.0
MEBIBYTES_LIMIT = 500.0


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when a limit was passed."""
    options = _options(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return 0
    fleet = Fleet(options.nodes, options.pods)
    with served(fleet) as address:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / d) for d in ("plugins", "lab")),
        }
        command = [sys.executable, str(Path(__file__).resolve()), "--measure", address]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(report(found, fleet, options.nodes, options.pods))
    return int(found["seconds"] >= SECONDS_LIMIT or found["mebibytes"] >= MEBIBYTES_LIMIT)


def report(found: dict[str, Any], fleet: Fleet, nodes: int, pods: int) -> str:
    """Return the measurement in plain lines."""
    seconds = " ".join(f"{name} {found[name]:.2f} s," for name in ("gathering", "judging"))
    memory = f"{found['mebibytes']:.0f} MiB, {found['idle_mebibytes']:.0f} MiB of it before the round began"
    lines = [
        f"{nodes} nodes, {pods} pods, {found['gates']} gates, {found['topics']} topics from the API",
        f"{seconds} together {found['seconds']:.2f} s (limit {SECONDS_LIMIT:g} s)",
        f"peak memory {memory} (limit {MEBIBYTES_LIMIT:g} MiB)",
        f"{sum(fleet.calls.values())} requests, {fleet.bytes_sent / 2**20:.1f} MiB of answers:",
        *(f"  {count:4} GET {path}" for path, count in fleet.calls.most_common()),
        "verdicts: " + ", ".join(f"{name} {outcome}" for name, outcome in found["verdicts"].items()),
    ]
    return "\n".join(lines)


def measure(address: str) -> dict[str, Any]:
    """Gather and judge once, in this process."""
    from kubernetes.client import ApiClient, Configuration

    from nightshift.clients.kube_api import KubeApi
    from nightshift.domain.gates import GATES
    from nightshift.domain.gates.judging import judge
    from nightshift.domain.policy import ClusterPolicy
    from nightshift.domain.round import Moment, Reading
    from nightshift.domain.target import TargetChoice, TargetKind
    from nightshift.domain.topics import TARGET
    from nightshift.steps.look import GATHERERS
    from nightshift.steps.look.gathering import gather
    from nightshift.steps.session import Session

    policy = ClusterPolicy("fleet", "kube", "ssh", "file:///nowhere")
    session = Session(
        policy=policy,
        kube=KubeApi(ApiClient(Configuration(host=address))),
        ssh=lambda node: _Unreachable(node.name),  # type: ignore[arg-type, return-value]
        store=None,  # type: ignore[arg-type]
        pushgateway=None,  # type: ignore[arg-type]
        run_id="bench",
        log=lambda line: None,
    )
    hop = TargetChoice(TargetKind.MINOR, "1.34.4 to 1.35.4", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4")
    given = {TARGET.name: Reading(session.clock(), value=hop)}
    gates = [gate for gate in GATES.values() if Moment.NIGHT in gate.moments]
    topics = {
        topic.name: topic for gate in gates for topic in (*gate.needs, *gate.wants) if topic.name in GATHERERS
    }
    idle = _mebibytes()
    began = time.perf_counter()
    round_ = gather(session, topics.values(), GATHERERS, Moment.NIGHT, given=given)
    gathered = time.perf_counter()
    verdicts = {gate.name: judge(gate, round_, policy).outcome.value for gate in gates}
    ended = time.perf_counter()
    read = [
        name
        for name in topics
        if round_.readings[name].problem is None and not round_.readings[name].problems
    ]
    return {
        "gathering": gathered - began,
        "judging": ended - gathered,
        "seconds": ended - began,
        "mebibytes": _mebibytes(),
        "idle_mebibytes": idle,
        "gates": len(gates),
        "topics": len(read),
        "verdicts": verdicts,
    }


class _Unreachable:
    """A node that nobody answers for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        from nightshift.domain.errors import UnreachableError

        def refuse(*_: object, **__: object) -> NoReturn:
            raise UnreachableError(
                "NODE_UNREACHABLE",
                f"Node {self._name} does not answer.",
                cause="It does not exist.",
                next_step="None.",
            )

        return refuse


def _mebibytes() -> float:
    """Peak of this process's resident memory; getrusage would count what its parent had when it forked."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--measure", metavar="ADDRESS", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
