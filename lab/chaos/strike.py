"""How each fault is done, and how what it takes away comes back. Thin: one small function per fault."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.lab import world
from tests.lab.world import DAG, ENDED, World

from chaos.catalogue import DOWN_SECONDS, OUTAGE_SECONDS, POWER_SECONDS, Fault, Strike
from chaos.ground import ChaosWorld, SecondAirflow
from chaos.keeper import Keeper
from chaos.observe import Journal
from chaos.scene import JOBS, Found
from nsdemo.processes import process_table

_PROCESS_SECONDS = 5.0  # a task is "running" a little before its process has its name
SECOND_RUN_SECONDS = 1800  # a duplicate waits for the night's end, and two Airflows share two cores
_SUPERVISOR = "airflow worker -- LocalExecutor"  # begin of the title of a process that runs tasks


@dataclass
class Ground:
    """What strikes work with."""

    world: ChaosWorld
    keeper: Keeper
    journal: Journal
    second: SecondAirflow | None = None
    followers: list[threading.Thread] = field(default_factory=list)  # of second runs


@dataclass(frozen=True)
class Blow:
    """One strike as it is being done."""

    number: int
    strike: Strike
    found: Found
    run_id: str


def strike(ground: Ground, blow: Blow) -> None:
    """Do it, write it down, and stay until what it took away is back."""
    found = blow.found
    told: dict[str, Any] = {
        "number": blow.number,
        "fault": blow.strike.fault.value,
        "moment": blow.strike.moment.value,
        "place": blow.strike.place,
        "run": blow.run_id,
        "task": found.task.task,
        "map": found.task.map_index,
        "attempt": found.task.number,
        "node": found.node,
    }
    prepared, at = _prepared(ground, blow), time.time()
    is_instant = blow.strike.fault in _INSTANT
    if not is_instant:  # it stays until all is back
        ground.journal.tell("strike", at, **told)
    done = prepared()
    if is_instant:  # what was gone already was not struck
        ground.journal.tell("strike", at, **told)
    ground.journal.tell("note", text=f"done: {done}")


def _prepared(ground: Ground, blow: Blow) -> Callable[[], object]:
    """What is done in the moment itself; whatever has to be looked for is found before."""
    fault = blow.strike.fault
    if fault in (Fault.TASK, Fault.SUPERVISOR):
        pid = task_process(blow.found.task.id)
        victim = pid if fault is Fault.TASK else supervisor_of(pid)
        return lambda: _kill(victim)
    if fault in _COMPONENTS:
        return lambda: ground.keeper.kill(_COMPONENTS[fault])
    if fault in _LAB_FAULTS:
        name, seconds = _LAB_FAULTS[fault]
        node = blow.found.node if fault in (Fault.SSH, Fault.POWER) else "cp1"
        return lambda: _outage(ground, blow, [name, node], seconds)
    return lambda: _ACTS[fault](ground, blow)


_COMPONENTS = {
    Fault.SCHEDULER: "scheduler",
    Fault.TRIGGERER: "triggerer",
    Fault.API_SERVER: "api-server",
    Fault.DAG_PROCESSOR: "dag-processor",
}
_INSTANT = frozenset({Fault.TASK, Fault.SUPERVISOR, *_COMPONENTS})
_LAB_FAULTS = {
    Fault.SSH: ("ssh-cut", OUTAGE_SECONDS),
    Fault.API: ("api-down", OUTAGE_SECONDS),
    Fault.ETCD: ("etcd-stopped", OUTAGE_SECONDS),
    Fault.POWER: ("node-power-off", POWER_SECONDS),
}


def task_process(instance: str) -> int:
    """Process id of a task's own process, by the id of the task instance in its title.

    Raises:
        LookupError: it does not come, or is gone already.
    """
    deadline = time.monotonic() + _PROCESS_SECONDS
    while time.monotonic() < deadline:
        pid = world.task_process([instance])
        if pid is not None:
            return pid
        time.sleep(0.05)
    raise LookupError(f"no process of task instance {instance} runs")


def supervisor_of(pid: int) -> int:
    """Process id of the supervisor of a task's process: its parent.

    Raises:
        LookupError: it is gone, or its supervisor is: an orphan's parent is pid 1, or whoever else adopts orphans.
    """
    parent = process_table()[pid][0]
    title = world.title_of(Path("/proc") / str(parent))
    if not title.startswith(_SUPERVISOR):
        raise LookupError(f"process {pid} has no supervisor any more; its parent {parent} is {title!r}")
    return parent


def _kill(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError as error:
        raise LookupError(f"process {pid} ended a moment ago") from error
    return pid


def _outage(ground: Ground, blow: Blow, fault: list[str], seconds: float) -> str:
    """A fault of the lab for a while."""
    ground.world.lab("break", *fault)
    time.sleep(seconds)
    ground.world.lab("heal", fault[0])
    ground.journal.tell("over", number=blow.number)
    return f"{' '.join(fault)} for {seconds:.0f} s"


def _everything(ground: Ground, blow: Blow) -> str:
    killed = ground.keeper.kill_everything()
    time.sleep(DOWN_SECONDS)
    ground.journal.tell("over", number=blow.number)  # counted from the start of the host, not from its health
    ground.keeper.release()  # what the night does while the components come up may be the next strike's moment
    return f"{len(killed)} processes"


def _database(ground: Ground, blow: Blow) -> str:
    ground.keeper.kill_everything()
    files = sorted(ground.world.home.airflow.glob("airflow.db*"))
    for file in files:
        file.unlink()
    ground.journal.tell("over", number=blow.number)
    ground.world.start_again()
    ground.keeper.release()
    ground.world.await_airflow()
    return f"deleted {', '.join(f.name for f in files)}"


def _kill_job(ground: Ground, blow: Blow) -> str:
    unit = f"nightshift-{JOBS[blow.strike.moment]}.service"
    ground.world.on_node(blow.found.node, f"systemctl kill -s KILL {unit}")
    return f"{unit} on {blow.found.node}"


def _mark_run(ground: Ground, blow: Blow) -> str:
    ground.world.api.mark_failed(DAG, blow.run_id)
    return blow.run_id


def _mark_task(ground: Ground, blow: Blow) -> str:
    task = blow.found.task
    ground.world.api.mark_task_failed(blow.run_id, task.task, task.map_index)
    return task.task


def _clear(ground: Ground, blow: Blow) -> str:
    task = blow.found.task
    ground.world.api.clear(blow.run_id, task.task, task.map_index)
    return task.task


def _duplicate(ground: Ground, blow: Blow) -> str:
    return _second_run(ground, blow, ground.world, owner=None)


def _second_airflow(ground: Ground, blow: Blow) -> str:
    if ground.second is None:
        raise LookupError("there is no second Airflow")
    return _second_run(ground, blow, ground.second, owner=ground.second.home.installation())


def _second_run(ground: Ground, blow: Blow, where: World, owner: str | None) -> str:
    """Start a run that must be refused, and follow it to its end beside the night."""
    run_id = where.api.start()
    known: dict[str, Any] = {"number": blow.number, "run": run_id, "owner": owner or run_id}
    ground.journal.tell("second", **known, what="began")
    thread = threading.Thread(target=_follow, args=(ground.journal, where, known), daemon=True)
    thread.start()
    ground.followers.append(thread)
    return run_id


def _follow(journal: Journal, where: World, known: dict[str, Any]) -> None:
    """Wait for a second run's end; its times are Airflow's own."""
    deadline = time.monotonic() + SECOND_RUN_SECONDS
    while time.monotonic() < deadline:
        run = where.run(known["run"])
        if run["state"] in ENDED:
            break
        time.sleep(1)
    else:
        return  # without an end it is a problem of its own
    began = [t["start_date"] for t in where.api.tasks(DAG, known["run"]) if t["start_date"]]
    if began:
        journal.tell("second", datetime.fromisoformat(min(began)).timestamp(), **known, what="at work")
    entry = where.ledger(known["run"]) or {}
    journal.tell(
        "second",
        datetime.fromisoformat(run["end_date"]).timestamp(),
        **known,
        what="ended",
        state=run["state"],
        answer=entry.get("answer"),
        note=run["note"],
    )


_ACTS: dict[Fault, Callable[[Ground, Blow], str]] = {
    Fault.EVERYTHING: _everything,
    Fault.DATABASE: _database,
    Fault.JOB: _kill_job,
    Fault.RUN_FAILED: _mark_run,
    Fault.TASK_FAILED: _mark_task,
    Fault.CLEAR: _clear,
    Fault.DUPLICATE: _duplicate,
    Fault.SECOND_AIRFLOW: _second_airflow,
}
