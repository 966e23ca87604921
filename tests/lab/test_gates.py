"""Every gate on the real cluster: it stays open while nothing is the matter, and turns for what it is there for, alone.

A healthy cluster on a machine whose disk stands still for a moment is not healthy in that moment. So a round in which etcd is
called slow is held against etcd's own counters, read here with curl and awk: was it so, the round does not count.
"""

from __future__ import annotations

import pytest
from tests.lab.gate_cases import GateCase
from tests.lab.gate_world import ETCD_LATENCY, GateWorld, collect_cases, not_healthy
from tests.lab.world import World

ROUNDS = 20
ROUND_LIMIT_SECONDS = 10.0  # of everything but the settle window
BUSY_ROUNDS = 10  # of all, that may fall into a moment in which this machine's disk is slow
SLOW_SHARE = 0.009  # of observations: a p99 above the limit has 1 in 100, less what was counted outside of the gate's window
# Observations of each histogram that shuts the gate, and those of them within its limit (seconds).
COUNTS = r"""curl -fsS http://127.0.0.1:2381/metrics | awk '
    /^etcd_disk_(wal_fsync|backend_commit)_duration_seconds_bucket\{le="0.128"\}/ {sub(/_bucket.*/, "", $1); fast[$1] += $2}
    /^etcd_server_apply_duration_seconds_bucket\{.*le="0.1024"/ {sub(/_bucket.*/, "", $1); fast[$1] += $2}
    /^etcd_(disk_(wal_fsync|backend_commit)|server_apply)_duration_seconds_count/ {sub(/_count.*/, "", $1); all[$1] += $2}
    END {for (name in all) print name, all[name], fast[name]}'"""


@pytest.fixture(scope="module")
def gate_world(world: World) -> GateWorld:
    """The cases share one cluster as long as each leaves it healthy."""
    return GateWorld(world)


def counted(world: World) -> dict[str, tuple[int, int]]:
    """Histogram -> all its observations and the fast ones, since etcd's start."""
    rows = [line.split() for line in world.on_node("cp1", COUNTS).splitlines()]
    assert len(rows) == 3, rows
    return {name: (int(float(count)), int(float(fast))) for name, count, fast in rows}


def was_slow(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> bool:
    """Tell whether etcd itself counted as many slow observations in between as shut the gate."""
    made = {name: (count - before[name][0], fast - before[name][1]) for name, (count, fast) in after.items()}
    return any(count - fast > SLOW_SHARE * count for count, fast in made.values())


@pytest.mark.timeout(7200)
def test_healthy_twenty_times(gate_world: GateWorld, world: World) -> None:
    gate_world.ready("small")
    problems, seconds, busy = [], [], 0
    while len(seconds) < ROUNDS and not problems:
        before = counted(world)
        said = gate_world.ask()
        if said.verdicts[ETCD_LATENCY]["code"] == "ETCD_SLOW" and was_slow(before, counted(world)):
            busy += 1
            print(
                f"this machine's disk was slow, {busy}: {said.verdicts[ETCD_LATENCY]['message']}", flush=True
            )
            assert busy <= BUSY_ROUNDS, "the machine is too busy to say anything about the gates"
            continue
        problems += not_healthy(said)
        seconds.append(said.round_seconds)
    assert not problems, f"round {len(seconds)}: " + "\n".join(problems)
    slow = [taken for taken in seconds if taken > ROUND_LIMIT_SECONDS]
    assert not slow, f"rounds took {slow} s"


@pytest.mark.parametrize("case", collect_cases(), ids=lambda case: f"{case.gate}: {case.name}")
def test_a_fault_turns_its_gate_and_no_other(gate_world: GateWorld, case: GateCase) -> None:
    gate_world.play(case)
