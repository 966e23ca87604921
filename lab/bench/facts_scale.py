"""How long a whole round of facts and gates takes on a cluster of 1,000 nodes and 10,000 pods, and how much memory.

The objects are made up and served over HTTP on the loopback by this process; a second process gathers all facts and lets
every gate of the night judge them. Every node answers (`fake_nodes.py`), only the connections are left out. Measured are the second process's wall time, its peak of resident memory, and its requests. A gate that does not
pass has not folded what it would fold at night: that is a failure, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightshift.domain.round import Reading
    from nightshift.steps.session import Session

REPOSITORY = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(REPOSITORY / "plugins"), str(REPOSITORY / "lab"), str(REPOSITORY)]

from bench.fake_fleet import Fleet, served  # noqa: E402  # found by the line above
from bench.fake_nodes import Nodes, stock_documents  # noqa: E402

SECONDS_LIMIT = 5.0
MEBIBYTES_LIMIT = 500.0


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when a limit was passed."""
    options = _options(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure, options.nodes)))
        return 0
    fleet = Fleet(options.nodes, options.pods, stock_documents())
    with served(fleet) as address:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / d) for d in ("plugins", "lab", ".")),
        }
        words = ["--measure", address, "--nodes", str(options.nodes)]
        command = [sys.executable, str(Path(__file__).resolve()), *words]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(report(found, fleet, options.nodes, options.pods))
    is_heavy = found["seconds"] >= SECONDS_LIMIT or found["mebibytes"] >= MEBIBYTES_LIMIT
    return int(is_heavy or bool(found["shut"]))


def report(found: dict[str, Any], fleet: Fleet, nodes: int, pods: int) -> str:
    """Return the measurement in plain lines."""
    seconds = " ".join(f"{name} {found[name]:.2f} s," for name in ("gathering", "judging"))
    memory = f"{found['mebibytes']:.0f} MiB, {found['idle_mebibytes']:.0f} MiB of it before the round began"
    lines = [
        f"{nodes} nodes, {pods} pods, {found['gates']} gates, {found['topics']} topics read",
        f"{seconds} together {found['seconds']:.2f} s (limit {SECONDS_LIMIT:g} s)",
        f"peak memory {memory} (limit {MEBIBYTES_LIMIT:g} MiB)",
        f"{sum(fleet.calls.values())} requests, {fleet.bytes_sent / 2**20:.1f} MiB of answers:",
        *(f"  {count:4} {request}" for request, count in fleet.calls.most_common()),
        "verdicts: " + ", ".join(f"{name} {outcome}" for name, outcome in found["verdicts"].items()),
        *(f"did not pass: {message}" for message in found["shut"]),
    ]
    return "\n".join(lines)


def measure(address: str, node_count: int) -> dict[str, Any]:
    """Gather and judge once, in this process."""
    from nightshift.domain.gates import GATES
    from nightshift.domain.gates.judging import judge
    from nightshift.domain.round import Moment
    from nightshift.domain.verdicts import Outcome
    from nightshift.steps.look import GATHERERS
    from nightshift.steps.look.gathering import gather

    nodes = Nodes(node_count)
    session = _session(address, nodes)
    gates = [gate for gate in GATES.values() if Moment.NIGHT in gate.moments]
    topics = {
        topic.name: topic for gate in gates for topic in (*gate.needs, *gate.wants) if topic.name in GATHERERS
    }
    given = _given(session, nodes)
    idle = _mebibytes()
    began = time.perf_counter()
    round_ = gather(session, topics.values(), GATHERERS, Moment.NIGHT, given=given)
    gathered = time.perf_counter()
    verdicts = [judge(gate, round_, session.policy) for gate in gates]
    ended = time.perf_counter()
    readings = [round_.readings[name] for name in topics]
    return {
        "gathering": gathered - began,
        "judging": ended - gathered,
        "seconds": ended - began,
        "mebibytes": _mebibytes(),
        "idle_mebibytes": idle,
        "gates": len(gates),
        "topics": sum(reading.problem is None and not reading.problems for reading in readings),
        "verdicts": {verdict.gate: verdict.outcome.value for verdict in verdicts},
        "shut": [
            f"{v.gate}: {v.outcome.value} ({v.code}): {v.message[:300]}"
            for v in verdicts
            if v.outcome is not Outcome.PASS
        ],
    }


def _session(address: str, nodes: Nodes) -> Session:
    """The product's own, with this API server and these nodes."""
    from kubernetes.client import ApiClient, Configuration

    from nightshift.clients.kube_api import KubeApi
    from nightshift.domain.policy import ClusterPolicy
    from nightshift.steps.session import Session

    return Session(
        policy=ClusterPolicy("fleet", "kube", "ssh", "file:///nowhere"),
        kube=KubeApi(ApiClient(Configuration(host=address))),
        ssh=lambda node: nodes.on(node.name),
        store=None,  # type: ignore[arg-type]
        pushgateway=None,  # type: ignore[arg-type]
        run_id="bench",
        log=lambda line: None,
        clock=nodes.clock,
    )


def _given(session: Session, nodes: Nodes) -> dict[str, Reading]:
    """What a night knows before the round: its target, and etcd's first sample, a window ago."""
    from nightshift.domain.round import Moment, Reading
    from nightshift.domain.target import TargetChoice, TargetKind
    from nightshift.domain.topics import ETCD_BEFORE, ETCD_NOW, TARGET
    from nightshift.steps.look import GATHERERS
    from nightshift.steps.look.gathering import gather

    hop = TargetChoice(TargetKind.MINOR, "1.34.4 to 1.35.4", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4")
    before = gather(session, [ETCD_NOW], GATHERERS, Moment.NIGHT).readings[ETCD_NOW.name]
    nodes.pass_window(session.policy.etcd_latency.window_seconds)
    return {
        TARGET.name: Reading(session.clock(), value=hop),
        ETCD_BEFORE.name: Reading(session.clock(), value=before.value, problems=before.problems),
    }


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
