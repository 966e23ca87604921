"""Plays one case: a fresh cluster, nights that are struck, a last one that is left alone; then the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from tests.lab.world import DAG, ENDED

from chaos import observe
from chaos.catalogue import RESTART_SECONDS, WHOLE_HOST, Case, Strike
from chaos.ground import ChaosWorld, SecondAirflow
from chaos.judge import Verdict, judge
from chaos.keeper import Keeper
from chaos.observe import Journal, Observers, Stage
from chaos.scene import Found, find
from chaos.strike import SECOND_RUN_SECONDS, Blow, Ground, strike
from nsdemo.api import patiently
from nsdemo.settings import DemoError, airflow_environment
from nslab.settings import TARGET_VERSION
from nslab.shell import LabError

_MOMENT_SECONDS = 1500
_SETTLE_SECONDS = 1500
_NIGHT_SECONDS = 2400
_EXTRA_NIGHTS = (
    2  # for one strike whose moment did not come: the machine was busy, or the run before it failed
)
# Codes of gates that refuse what a strike did a moment ago: a node that was away, an etcd that began anew. A real night
# comes a day later; ours comes a minute later.
_UNSETTLED = frozenset(
    {"NODE_NOT_SETTLED", "MANIFEST_NOT_RUNNING", "DPKG_BUSY"}
    | {"ETCD_RESTARTED", "ETCD_LEADER_CHANGED", "ETCD_MEMBER_DOWN", "ETCD_NO_LEADER", "ETCD_TOO_FEW_SAMPLES"}
)
_BUSY = frozenset({"ETCD_SLOW"})  # beside them; alone it is `World.is_just_busy`
_CALM_SECONDS = 2.0
_POLL_SECONDS = 0.05


class Missed(Exception):
    """What the case waited for did not come; the judge says what that means."""


def play(world: ChaosWorld, case: Case, path: Path) -> Verdict:
    """Play a case and judge it; its journal is written to `path`.

    The journal is complete whatever happens: what went wrong is one of its last notes. Of a case that did not pass, all
    of Airflow's logs are kept beside it; the next case deletes that Airflow.
    """
    journal, began = Journal(path), time.time()
    try:
        _play(world, case, journal)
    except (Missed, AssertionError, DemoError, LabError, httpx.HTTPError, OSError) as error:
        journal.tell("note", text=f"the case stopped: {type(error).__name__}: {error}")
    finally:
        _collect(world, began, journal)
        journal.close()
    verdict = judge(case, journal.events())
    world.keep_logs(path.with_suffix(".logs"), wanted=not verdict.has_passed)
    return verdict


def _play(world: ChaosWorld, case: Case, journal: Journal) -> None:
    world.fresh_for(case)
    if not observe.pushgateway_answers(world):
        raise Missed("the Pushgateway does not answer")
    stage = Stage(world, journal)
    with ExitStack() as stack:
        stack.enter_context(Observers(stage))
        environment = airflow_environment(world.home, world.airflow_settings())
        keeper = Keeper(world.home, environment, RESTART_SECONDS, journal.tell)
        stack.callback(keeper.end_leftovers)
        stack.enter_context(keeper)
        second = None
        if case.needs_second_airflow:
            second = SecondAirflow(world)
            stack.callback(second.close)
        if case.foreign_cordon:
            _cordon(world, stage, case.foreign_cordon)
        Player(stage, case, Ground(world, keeper, journal, second)).play()


def _cordon(world: ChaosWorld, stage: Stage, node: str) -> None:
    """A person puts a worker aside; the shop goes, because the other worker could not be drained beside its budgets."""
    world.kubectl("-n", "shop", "scale", "deployment/web", "statefulset/cart", "--replicas=0")
    world.kubectl("cordon", node)
    stage.foreign = frozenset({node})
    stage.journal.tell("foreign", node=node, what="placed")


def _collect(world: ChaosWorld, began: float, journal: Journal) -> None:
    """Add what is read when all is over."""
    world.lab("heal", "all", check=False)
    if not world.facts:
        return
    observe.read_node_journals(world, began, journal)
    runs = [e["run"] for e in journal.events() if e.kind == "night" and e["what"] == "began"]
    observe.read_tries(world, runs, journal)


class Player:
    """The course of one case."""

    def __init__(self, stage: Stage, case: Case, ground: Ground) -> None:
        self._stage, self._case, self._ground = stage, case, ground
        self._world, self._journal = ground.world, ground.journal

    def play(self) -> None:
        """Strike after strike, then a night that is left alone if none of the struck ones ended on target."""
        self._until(self._has_seen_all, 30, "a first look at every node")
        self._stage.keep_baseline()
        run_id: str | None = None
        for number, one in enumerate(self._case.strikes):
            run_id, found = self._strike(number, one, run_id)
            if one.ends_the_run and self._has_ended(one, found, run_id):
                run_id = None
        self._last_night(run_id)

    def _strike(self, number: int, one: Strike, run_id: str | None) -> tuple[str, Found]:
        """Wait for the moment and strike; when what was to be killed has just ended, wait for it again."""
        for _ in range(1 + _EXTRA_NIGHTS):
            run_id, found = self._moment(one, run_id)
            try:
                strike(self._ground, Blow(number, one, found, run_id))
            except LookupError as error:
                self._journal.tell("note", text=f"too late for {one.fault}, {one.moment}: {error}")
            else:
                return run_id, found
        raise Missed(f"{one.moment}, {one.place}: always too late")

    def _has_seen_all(self) -> bool:
        nodes = self._stage.scene.nodes
        return bool(nodes) and all(n.manifests for name, n in nodes.items() if name.startswith("cp"))

    def _moment(self, one: Strike, run_id: str | None) -> tuple[str, Found]:
        """Wait for a strike's moment; begins a night when none is under way."""
        for _ in range(1 + _EXTRA_NIGHTS):
            run_id = run_id or self._begin()
            with self._stage.awaiting(one.moment):
                found = self._wait_for(one, run_id)
            if found is not None:
                return run_id, found
            self._journal.tell("note", text=f"{run_id} ended before: {one.moment}, {one.place}")
            self._end(run_id)
            self._require_work_left(one, run_id)
            run_id = None
        raise Missed(f"{one.moment}, {one.place}")

    def _require_work_left(self, one: Strike, run_id: str) -> None:
        """Stop where every further night would only say that there is nothing to do."""
        if self._tell_target():
            raise Missed(
                f"{one.moment}, {one.place}: {run_id} ended before {one.fault}, and the cluster is on target: no further "
                "night has this moment; play the case again"
            )

    def _wait_for(self, one: Strike, run_id: str) -> Found | None:
        """The moment, or None when the run ended without it."""
        looked = 0.0
        deadline = time.monotonic() + _MOMENT_SECONDS
        while time.monotonic() < deadline:
            found = find(one, self._stage.scene)
            if found is not None:
                return found
            if time.monotonic() - looked > 2:
                looked = time.monotonic()
                if self._state(run_id) in (*ENDED, "lost"):
                    return None
            time.sleep(_POLL_SECONDS)
        raise Missed(f"{one.moment}, {one.place}: not within {_MOMENT_SECONDS} s")

    def _has_ended(self, one: Strike, found: Found, run_id: str) -> bool:
        """Wait until the run is over and the cluster safe; False when the run goes on instead (a host that is back)."""

        def is_resumed() -> bool:
            key = found.task.task, found.task.map_index
            tries = [t.number for t in self._stage.scene.tasks if (t.task, t.map_index) == key]
            return one.fault in WHOLE_HOST and any(number > found.task.number for number in tries)

        def is_over() -> bool:
            return is_resumed() or (self._is_calm() and self._state(run_id) in (*ENDED, "lost"))

        self._until(is_over, _SETTLE_SECONDS, f"a safe cluster after: {one.fault}, {one.moment}", 0.5)
        if is_resumed():
            return False
        self._end(run_id)
        return True

    def _is_calm(self) -> bool:
        """Safe, and still so a little later."""
        if not self._stage.is_safe:
            return False
        time.sleep(_CALM_SECONDS)
        return self._stage.is_safe

    def _begin(self) -> str:
        """Start a night."""
        self._world.await_airflow()
        run_id = self._world.api.start()
        self._stage.follow(run_id)
        self._journal.tell("night", run=run_id, what="began")
        return run_id

    def _end(self, run_id: str) -> dict[str, Any]:
        """Write down how a night ended; its ledger entry may come a moment after the end of its tasks."""
        run = patiently(partial(self._run, run_id)) or {"state": "lost", "note": None, "end_date": None}
        at = datetime.fromisoformat(run["end_date"]).timestamp() if run["end_date"] else None
        entry = self._world.ledger(run_id)
        answer = entry["answer"] if entry else None
        self._journal.tell(
            "night", at, run=run_id, what="ended", state=run["state"], answer=answer, note=run["note"]
        )
        return {**run, "ledger": entry}

    def _last_night(self, run_id: str | None) -> None:
        """Let the night under way, or else a new one, come to its end.

        It is repeated only when the machine was busy, or a gate refused what the strikes had done a moment ago.
        """
        for _ in range(1 + _EXTRA_NIGHTS):
            going = run_id or self._begin()
            self._until(
                partial(self._is_over, going),
                _NIGHT_SECONDS,
                f"the end of {going}",
                1.0,
            )
            run, run_id = self._end(going), None
            if not (self._world.is_just_busy(run) or is_unsettled(run) or run["state"] == "lost"):
                break
        for thread in self._ground.followers:
            thread.join(SECOND_RUN_SECONDS)
        self._until(lambda: self._stage.is_safe, 60, "a safe cluster at the end", 0.5)
        self._tell_target()

    def _tell_target(self) -> bool:
        """Write down which kubelets run; returns whether all of them are the wanted ones."""
        versions = self._world.kubelet_versions()
        is_reached = set(versions.values()) == {f"v{TARGET_VERSION}"}
        self._journal.tell("target", reached=is_reached, versions=versions)
        return is_reached

    def _is_over(self, run_id: str) -> bool:
        """Tell whether a run has ended, or is not known any more."""
        return self._state(run_id) in (*ENDED, "lost")

    def _state(self, run_id: str) -> str:
        """State of a run: Airflow's, "lost" when Airflow does not know it, "unknown" while Airflow is away."""
        try:
            run = self._run(run_id)
        except httpx.HTTPError:
            return "unknown"
        return "lost" if run is None else str(run["state"])

    def _run(self, run_id: str) -> dict[str, Any] | None:
        try:
            return self._world.api.run(DAG, run_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def _until(self, is_so: Callable[[], bool], seconds: float, what: str, pause: float = 0.1) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise Missed(f"not within {seconds:.0f} s: {what}")
            time.sleep(pause)


def is_unsettled(run: dict[str, Any]) -> bool:
    """Tell whether gates refused a night for what a strike did a moment ago and for nothing else."""
    entry = run["ledger"] or {"answer": "", "gates": []}
    codes = {gate["code"] for gate in entry["gates"] if gate["outcome"] in ("block", "blind")}
    return (
        entry["answer"] in ("blocked", "blind") and bool(codes & _UNSETTLED) and codes <= _UNSETTLED | _BUSY
    )
