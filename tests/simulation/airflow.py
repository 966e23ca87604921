"""Plays Airflow: the night's tasks in the order of `orchestration/dag_builder.py`, tries, teardown, callback, sweeper.

What Airflow does in which kind of death was measured (see docs/adr/0004, 0008): a killed task is noticed within
seconds, a killed supervisor after the heartbeat timeout, an orphan lives on beside its next try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.hub import Event, Executor, Process

from nightshift.domain.errors import (
    GateClosedError,
    HeldError,
    LateTryError,
    NightshiftError,
    TransientError,
)
from nightshift.domain.plan import end_plan
from nightshift.domain.verdicts import Answer, Outcome
from nightshift.steps import gates, recover
from nightshift.steps.brake import held, may_go_on
from nightshift.steps.claim import claim
from nightshift.steps.decide import decide
from nightshift.steps.detect_target import detect_target
from nightshift.steps.drain_node import drain_node
from nightshift.steps.hold import renew_if_ours
from nightshift.steps.open_night import open_night
from nightshift.steps.postflight import postflight
from nightshift.steps.quarantine_node import quarantine_node
from nightshift.steps.quiesce import quiesce, restore
from nightshift.steps.reclaim_scratch import reclaim_scratch
from nightshift.steps.session import Session
from nightshift.steps.snapshot import snapshot
from nightshift.steps.stage import stage
from nightshift.steps.uncordon_node import uncordon_node
from nightshift.steps.upgrade_kubelet import upgrade_kubelet
from nightshift.steps.upgrade_node import upgrade_node
from nightshift.steps.verify_node import verify_node

if TYPE_CHECKING:
    from tests.simulation.world import World

# Task -> its name in the ledger.
NODE_STEPS = {
    "drain_node": "drain",
    "upgrade_node": "kubeadm",
    "upgrade_kubelet": "kubelet",
    "verify_node": "verify",
    "uncordon_node": "uncordon",
}
RECOVERIES = ("release", "callback", "sweep")
STEPS = (
    *(
        "open_night",
        "detect_target",
        "reclaim_scratch",
        "gates",
        "decide",
        "claim",
        "snapshot",
        "stage",
        "gate",
        "quiesce",
    ),
    *NODE_STEPS,
    *("quarantine_node", "restore", "postflight", *RECOVERIES),
)
MUTATING = ("claim", "snapshot", "stage", "quiesce", *NODE_STEPS, "quarantine_node", "restore")
RETRIES = 3
HEARTBEAT_TIMEOUT = 120.0
_OPEN = (Outcome.PASS.value, Outcome.WARN.value)
# The gates a simulated night asks: those whose answers change with what the model plays. The others would say the same
# all night, and cost most of the time.
SIMULATED_GATES = ("etcd_latency", "disk_usage", "node_health", "version_skew", "static_pods")
_QUICK_GATES = tuple(name for name in SIMULATED_GATES if name not in ("etcd_latency", "disk_usage"))
_PLACE_GATES = tuple(name for name in gates.place_gates() if name in SIMULATED_GATES)


class TaskFailed(Exception):
    """A task has no tries left, or a person failed it: what comes after it does not run.

    Args:
        step: which one.
        code: of its error; None: it left no word.
    """

    def __init__(self, step: str, code: str | None = None) -> None:
        super().__init__(step)
        self.step, self.code = step, code


class TaskSkipped(Exception):
    """The owner's word kept a task from beginning: it skips itself, and what hangs on it alone."""


def retry_delay(error: BaseException | None, tries: int) -> float | None:
    """Seconds until the next try, as `orchestration/retries.py` has it; None: no other try. `error` None: killed."""
    if isinstance(error, LateTryError):
        return 5.0
    if isinstance(error, GateClosedError):
        return 30.0
    if error is None or isinstance(error, TransientError):
        return min(60.0, 5.0 * 2**tries)
    return None


class Task:
    """One task of one run, as Airflow's database has it."""

    def __init__(self, run: Run, step: str, node: str | None, work: Callable[[Session], Any]) -> None:
        self.run, self.step, self.node, self.work = run, step, node, work
        self.state = "queued"
        self.tries = 0
        self.process: Process | None = None
        self.outcome: tuple[str, Any] | None = None
        self.ended: Event | None = None

    def end(self, process: Process | None, how: str, value: Any = None) -> None:
        """A try is over, says `process` (None: a person, or the scheduler). Old processes are not listened to."""
        if self.state != "running" or (process is not None and process is not self.process):
            return
        if process is not None and not self.run.airflow.is_up:
            return  # nobody is there to hear it; the restart runs the task again
        self.state = how
        self.outcome = (how, value)
        if self.ended is not None:
            self.ended.set()


class Run:
    """One run of `upgrade_<cluster>`."""

    def __init__(self, airflow: Airflow, run_id: str) -> None:
        self.airflow, self.run_id = airflow, run_id
        self.owner = f"{airflow.installation}/{airflow.world.policy.name}/{run_id}"
        self.state = "running"
        self.is_marked = False  # a person marked the run as failed
        self.is_ending = False  # only its teardown is left: it owns nothing any more
        self.tasks: list[Task] = []
        self.clear_after = False
        self.choice: Mapping[str, Any] = {}
        self.plan: Mapping[str, Any] = {}
        self.ends: list[Mapping[str, Any]] = []  # where brake or window ended it
        self.ended: float | None = None  # the last time
        self.has_set_aside = False  # a worker was set aside: the run is red
        self.extra = 0  # cleared tasks at work beside or after the night
        self.process = Process(f"{airflow.installation}:{run_id}")

    @property
    def is_active(self) -> bool:
        """Tell whether Airflow has work of it in hand."""
        return self.process.is_alive and (self.state == "running" or self.extra > 0)


class Airflow:
    """One installation."""

    def __init__(self, world: World, installation: str) -> None:
        self.world, self.hub, self.installation = world, world.hub, installation
        self.is_up = True
        self.runs: list[Run] = []
        self.nights = 0
        self.sweeper: Task | None = None
        self._house = Run(self, "house")  # the runs of the other DAG, and callbacks
        self.hub.after(world.rng.uniform(5, 60), self._tick)

    # -- the sweeper ---------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Once a minute, one at a time."""
        if self.world.is_over:
            return
        self.hub.after(60.0, self._tick)
        if self.is_up and (self.sweeper is None or self.sweeper.state != "running"):
            sweep = partial(recover.sweep, own_run_id=None, reason="sweeper")
            self.sweeper = Task(self._house, "sweep", None, sweep)
            self.launch(self.sweeper)

    def recover_by_hand(self, run: Run) -> None:
        """A person triggers `recover_<cluster>` with the name of a run."""
        sweep = partial(recover.sweep, own_run_id=run.run_id, reason="by hand")
        self.launch(Task(self._house, "sweep", None, sweep), own=run.owner)

    # -- tries ---------------------------------------------------------------------------------------------

    def launch(self, task: Task, own: str | None = None) -> Process:
        """Start a process for the next try."""
        task.tries += 1
        task.state, task.outcome = "running", None
        name = f"{self.installation}:{task.run.run_id}:{task.step}{f'({task.node})' if task.node else ''}#{task.tries}"
        process = Process(name, task.step, task.node)
        process.airflow, process.ti, process.owner = self, task, task.run.owner
        process.own = own
        task.process = process
        delay = self.world.rng.uniform(0.5, 2.5)
        process.began = self.hub.now + delay / 2
        process.on_exit = partial(self._exited, task, process)
        self.world.processes.append(process)
        self.hub.spawn(process, lambda: task.work(self.world.session(process)), delay)
        return process

    def _exited(self, task: Task, process: Process, value: Any, error: BaseException | None) -> None:
        if self.world.is_traced:
            self.world.said(process, f"ended: {error or _short(value)}")
        how = "success" if error is None else "skipped" if isinstance(error, HeldError) else "failed"
        self.hub.after(0.5, lambda: task.end(process, how, error or value))

    def process_died(self, process: Process, seconds: float) -> None:
        """Airflow notices after a while that a try's process is gone."""
        self.hub.after(seconds, lambda: process.ti.end(process, "failed", None))

    def run_beside(self, task: Task, seconds: float) -> None:
        """The scheduler forgot its children: the task runs once more, while its first process may live on."""
        self.hub.after(seconds, lambda: task.end(None, "again"))

    def perform(self, run: Run, step: str, work: Callable[[Session], Any], node: str | None = None) -> Any:
        """Run a task to its end; called by the run's own process.

        Raises:
            TaskFailed: no tries left, or failed by a person.
            TaskSkipped: the owner's word.
        """
        if run.is_marked and step != "release":
            raise TaskFailed(step)
        task = Task(run, step, node, work)
        run.tasks.append(task)
        return self.try_all(task)

    def try_all(self, task: Task) -> Any:
        """Try a task as often as its policy has it."""
        failed = 0
        while True:
            task.ended = Event(self.hub)
            self.launch(task, own=task.run.owner if task.step == "release" else None)
            task.ended.wait()
            how, value = task.outcome or ("failed", None)
            if how == "success":
                return value
            if how == "skipped":
                raise TaskSkipped(task.step)
            if how == "again":
                continue
            delay = retry_delay(value, failed) if how == "failed" else None
            failed += 1
            if delay is None or failed > RETRIES or (task.run.is_marked and task.step != "release"):
                raise TaskFailed(task.step, getattr(value, "code", None))
            self.hub.sleep(delay)

    # -- a night -------------------------------------------------------------------------------------------

    def start_night(self) -> Run:
        """Trigger the DAG."""
        self.nights += 1
        run = Run(self, f"night-{self.nights}")
        self.runs.append(run)
        self.world.say(f"{self.installation}: {run.run_id} begins")
        self.hub.spawn(run.process, lambda: self._conduct(run))
        return run

    def _conduct(self, run: Run) -> None:
        is_claimed = is_failed = False
        try:
            if self._open(run):
                self.perform(run, "claim", partial(claim, choice=run.choice))
                is_claimed = True
                self.perform(run, "snapshot", partial(snapshot, choice=run.choice))
                self.perform(run, "stage", partial(stage, choice=run.choice))
                self._work(run)
        except TaskSkipped as held_back:
            self.world.say(f"{run.owner}: ended in front of {held_back}")
        except TaskFailed as failure:
            is_failed = True
            self.world.say(f"{run.owner}: {failure} failed")
        run.is_ending = True
        if is_claimed:
            try:
                wait = float(self.world.policy.limits.kubeadm_job_seconds)
                ends = partial(
                    recover.recover, own_run_id=run.run_id, reason="the run ends", wait_seconds=wait
                )
                self.perform(run, "release", lambda session: red_if_partial(ends(session)))
            except TaskFailed:
                is_failed = True
        is_failed = is_failed or run.has_set_aside
        self._close(run, is_failed=is_failed and not (run.is_marked and is_claimed))

    def _close(self, run: Run, *, is_failed: bool) -> None:
        run.state = "failed" if is_failed else "success"
        run.ended = self.hub.now
        self.world.say(f"{run.owner}: ends {run.state}")
        if is_failed:
            late = Random(
                f"{self.world.seed} {run.owner}"
            )  # of its own: what else happens does not hang on it
            hung = late.uniform(5, 400) if run.clear_after or late.random() < 0.2 else 0.0
            self.hub.after(self.world.rng.uniform(1, 5) + hung, partial(self._call_back, run, run.ended))
        if run.clear_after:
            self._clear_failed(run)

    def _call_back(self, run: Run, ended: float) -> None:
        """The DAG-level failure callback, in the DAG processor, which may have hung."""
        if self.is_up:
            work = partial(recover.recover, own_run_id=run.run_id, reason="run failed", run_ended=ended)
            self.launch(Task(run, "callback", None, lambda session: quiet(work, session)), own=run.owner)

    def _open(self, run: Run) -> bool:
        """Everything that only looks; False: not tonight.

        Raises:
            TaskFailed: a step failed, or the answer is blind.
        """
        if self.perform(run, "open_night", open_night)["answer"] != Answer.GO:
            return False
        run.choice = self.perform(run, "detect_target", detect_target)
        if run.choice["answer"] != Answer.GO:
            return False
        self.perform(run, "reclaim_scratch", reclaim_scratch)
        try:
            verdicts = self.perform(run, "gates", partial(_all_gates, choice=run.choice))
        except TaskFailed:
            verdicts = []
        decision = self.perform(run, "decide", partial(decide, choice=run.choice, verdicts=verdicts))
        if decision["answer"] == Answer.BLIND:
            raise TaskFailed("decide")
        run.plan = decision["plan"] or {}
        return decision["answer"] == Answer.GO

    def _work(self, run: Run, start: int = 0) -> None:
        """Places in their order, the first of them being `start`, then the look at everything."""
        slots, waves = run.plan["control_plane"], run.plan["waves"]
        for index in range(start, len(slots)):
            self._place(run, "control_plane", index, [slots[index]["node"]])
        if start <= len(slots) and self.world.policy.quiesce:
            self.perform(run, "restore", restore)
        for index in range(max(0, start - len(slots)), len(waves)):
            self._place(run, "waves", index, list(waves[index]))
        plan = end_plan(run.plan, run.ends) if run.ends else run.plan
        self.perform(run, "postflight", partial(postflight, choice=run.choice, plan=plan))

    def _place(self, run: Run, place: str, index: int, nodes: list[str]) -> None:
        """A gate and the nodes behind it, side by side; what another node does goes on when one fails."""
        if run.ends:
            return
        if not self.perform(run, "gate", partial(_gate, nodes=nodes, choice=run.choice), nodes[0]):
            run.ends.append({"place": place, "index": index})
            return
        if (place, index) == ("control_plane", 0) and self.world.policy.quiesce:
            try:
                self.perform(run, "quiesce", partial(quiesce, node_name=nodes[0]))
            except TaskSkipped:
                run.ends.append({"place": place, "index": index, "nodes": nodes})
                return

        def one(node: str) -> TaskFailed | None:
            try:
                self._node(run, place, index, node)
            except TaskFailed as failure:
                return failure
            return None

        with Executor(self.hub) as pool:
            failures = [failure for failure in pool.map(one, nodes) if failure]
        if failures:
            raise failures[0]

    def _node(self, run: Run, place: str, index: int, node: str, first: str = "drain_node") -> None:
        """The steps of one node from `first` on; behind the canary one that fails may be set aside.

        Raises:
            TaskFailed: the night stops.
        """
        steps = tuple(NODE_STEPS)
        try:
            for step in steps[steps.index(first) :]:
                self.perform(run, step, node_work(step, node, run.choice, run.plan), node)
        except TaskSkipped:
            run.ends.append({"place": place, "index": index, "nodes": [node]})
        except TaskFailed as failure:
            if place != "waves" or index == 0:
                raise
            code = failure.code
            told = {"step": NODE_STEPS[failure.step], "code": code} if code is not None else None
            aside = partial(quarantine_node, node_name=node, failure=told)
            self.perform(run, "quarantine_node", lambda session: red_if_stopped(aside(session)), node)
            run.has_set_aside = True

    # -- people and accidents ------------------------------------------------------------------------------

    def clear(self, run: Run, task: Task) -> None:
        """A person clears one task that was done: a new try of it, beside whatever is at work."""
        again = Task(run, task.step, task.node, task.work)
        run.tasks.append(again)
        run.extra += 1

        def work() -> None:
            with suppress(TaskFailed, TaskSkipped):
                self.try_all(again)
            run.extra -= 1

        self.hub.spawn(run.process, work)

    def _clear_failed(self, run: Run) -> None:
        """A person clears what failed, with downstream: no setup and no teardown runs."""
        failed = next(
            (
                t
                for t in run.tasks
                if t.step in NODE_STEPS and t.state not in ("success", "skipped", "running")
            ),
            None,
        )
        if failed is None or not run.plan:
            return
        run.is_marked = False
        run.ends.clear()
        run.extra += 1
        self.world.say(f"a person clears {failed.step}({failed.node}) of {run.owner} and what follows")

        def work() -> None:
            try:
                at, place, index = self._position(run, str(failed.node))
                self._node(run, place, index, str(failed.node), failed.step)
                self._work(run, at + 1)
            except TaskFailed as failure:
                self.world.say(f"{run.owner}: cleared, and {failure} failed")
            run.extra -= 1

        self.hub.spawn(run.process, work, self.world.rng.uniform(1, 90))

    def _position(self, run: Run, node: str) -> tuple[int, str, int]:
        """Where a node's place is among all places, and among its own kind."""
        slots, waves = run.plan["control_plane"], run.plan["waves"]
        for index, slot in enumerate(slots):
            if slot["node"] == node:
                return index, "control_plane", index
        index = next(index for index, wave in enumerate(waves) if node in wave)
        return len(slots) + index, "waves", index

    def mark_failed(self, task: Task) -> None:
        """A person marks a task as failed: its process lives on for some seconds."""
        process = task.process
        task.end(None, "marked")
        if process is not None:
            self.hub.after(self.world.rng.uniform(9, 14), process.end)

    def mark_run_failed(self, run: Run) -> None:
        """A person marks the run as failed: the teardown runs, nothing else does."""
        run.is_marked = True
        for task in run.tasks:
            if task.state == "running" and task.step != "release":
                self.mark_failed(task)

    def forget(self, run: Run) -> None:
        """The run is deleted: nothing of it runs any more, no teardown, no callback."""
        run.process.kill()
        run.state = "deleted"
        for task in run.tasks:
            if task.state == "running" and task.process is not None:
                self.hub.after(self.world.rng.uniform(1, 14), task.process.end)

    def down(self, seconds: float, *, forgets: bool) -> None:
        """The whole installation is away; what lived on of its processes is not known to it afterwards."""
        if not self.is_up:
            return
        self.is_up = False
        for process in self.world.processes:
            if process.airflow is self and process.is_alive and self.world.rng.random() < 0.7:
                process.end()
        for run in self.runs:
            if forgets:
                run.process.kill()
                run.state = "forgotten" if run.state == "running" else run.state
            elif run.process.is_alive:
                run.process.frozen_until = self.hub.now + seconds + 0.1
        if self.sweeper is not None:
            self.sweeper.state = "forgotten"
        self.hub.after(seconds, self._up)

    def _up(self) -> None:
        self.is_up = True
        for run in self.runs:
            for task in run.tasks:
                if task.state == "running" and run.process.is_alive:
                    task.end(None, "again")


class RedError(Exception):
    """A step that ended in red by its operator's word, not by an error of its own."""


def red_if_partial(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """As RecoverOperator has it: what is still owed is red."""
    if result["answer"] == "partial":
        raise RedError(result["sentence"])
    return result


def red_if_stopped(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """As QuarantineOperator has it: a node that is not set aside stops the night."""
    if result["answer"] == "stop":
        raise RedError(result["sentence"])
    return result


def quiet(work: Callable[[Session], Any], session: Session) -> Any:
    """As the failure callback has it: nothing is raised."""
    try:
        return work(session)
    except NightshiftError as error:
        session.log(str(error))
        return None


def node_work(
    step: str, node: str, choice: Mapping[str, Any], plan: Mapping[str, Any]
) -> Callable[[Session], Any]:
    """The step's function for a node."""
    steps: dict[str, Callable[..., Any]] = {
        "drain_node": drain_node,
        "upgrade_node": upgrade_node,
        "upgrade_kubelet": upgrade_kubelet,
        "verify_node": verify_node,
        "uncordon_node": uncordon_node,
    }
    more: dict[str, Any] = {} if step in ("drain_node", "uncordon_node") else {"choice": choice}
    if step in ("upgrade_node", "upgrade_kubelet"):
        more["addresses"] = plan["addresses"]
    return partial(steps[step], node_name=node, **more)


def _all_gates(session: Session, choice: Mapping[str, Any]) -> list[Any]:
    """The group of gates: every verdict is an answer."""
    first = gates.gather_etcd_samples(session)
    verdicts = [
        gates.check_disk_usage(session, choice),
        *gates.ask_night(session, _QUICK_GATES, choice)["verdicts"],
    ]
    session.sleep(session.policy.etcd_latency.window_seconds)
    return [*verdicts, gates.check_etcd_latency(session, first, gates.gather_etcd_samples(session))]


def _gate(session: Session, nodes: list[str], choice: Mapping[str, Any]) -> bool:
    """The gates in front of a place, with the trigger's renewals; False: the night ends here."""
    if may_go_on(session, nodes)["answer"] != Answer.GO:
        return False
    first = gates.gather_etcd_samples(session)
    for _ in range(int(session.policy.etcd_latency.window_seconds // 10) - 1):
        session.sleep(10.0)
        try:
            renew_if_ours(session)
            if held(session) is not None:
                break
        except NightshiftError as error:
            session.log(str(error))
    else:
        session.sleep(10.0)
    if may_go_on(session, nodes)["answer"] != Answer.GO:
        return False
    verdict = gates.check_etcd_latency(session, first, gates.gather_etcd_samples(session), nodes)
    if verdict["outcome"] in _OPEN:
        others = gates.ask_place(session, nodes, choice, _PLACE_GATES)["verdicts"]
        verdict = next((v for v in others if v["outcome"] not in _OPEN), verdict)
    if may_go_on(session, nodes)["answer"] != Answer.GO:
        return False
    if verdict["outcome"] not in _OPEN:
        raise GateClosedError(
            verdict["code"], verdict["message"], cause="The gate closed.", next_step="Wait."
        )
    return True


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("sentence") or value.get("answer") or "done")[:160]
    return str(value)[:160]
