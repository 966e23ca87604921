"""One seed: a cluster, an Airflow, a plan of faults, and the watch over all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.simulation.airflow import RECOVERIES, SIMULATED_GATES, Airflow, RedError, TaskFailed, TaskSkipped
from tests.simulation.faults import FAULTS, Call, Plan, person_gives_back
from tests.simulation.hub import START, Event, Executor, Gone, Hub, Process, Thread
from tests.simulation.model import (
    NEW,
    MemoryStore,
    SimCluster,
    SimGauges,
    SimKube,
    SimNode,
    SimSsh,
    unreachable,
)
from tests.simulation.watch import Watch

from nightshift.clients import node_ssh
from nightshift.domain import debts
from nightshift.domain.errors import NightshiftError, UnreachableError
from nightshift.domain.facts import ScratchEntry, WorkloadName
from nightshift.domain.policy import ClusterPolicy, EtcdLatencyPolicy, LimitPolicy, WorkerPolicy
from nightshift.steps import decide, drain_node, hold
from nightshift.steps import session as session_module
from nightshift.steps.look import gathering
from nightshift.steps.session import Session

NIGHTS_WITH_FAULTS = 2
NIGHTS_AFTER = 3  # within so many nights the target must be reached when faults have stopped
_LIMIT_SECONDS = 8 * 3600.0
_SETTLE_SECONDS = 400.0
_COMPARED = ("set_workload", "record_debt", "forget_debt")  # writes that the model compares and swaps itself
_MEAN_REST = (60.0, 400.0)  # between two nights
_IMPORTER, _BACKUP = WorkloadName("Deployment", "shop", "importer"), WorkloadName("CronJob", "shop", "backup")


@dataclass
class Result:
    """What became of one seed."""

    seed: int
    breaches: list[str]
    hit: set[tuple[str, str]]
    events: int
    seconds: float  # of virtual time
    nights: int
    nights_after: int
    longest_debt: float
    trace: list[str] = field(default_factory=list)


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        self.seed, self.rng = seed, Random(seed)
        self.is_traced = is_traced
        self.trace: list[str] = []
        self.hub = Hub()
        self.actor: Process | None = None  # whose call is being done right now
        self.processes: list[Process] = []
        self.breaches: list[str] = []
        self.gauges: dict[str, float] = {}
        self.gauges_away_until = 0.0
        self.is_over = False
        self.watch = Watch(self)
        self.plan = Plan(self.rng)
        self.planned = str(self.plan)
        members = self.rng.choice((1, 3, 3))
        workers = 2 if self.plan.has_bad_worker else self.rng.choice((1, 2, 2))
        self.cluster = SimCluster(self, members, workers)
        self.workloads: dict[
            WorkloadName, int | bool
        ] = {}  # what the policy quiesces, and its setting before
        if self.plan.quiesces or self.rng.random() < 0.3:
            self.workloads = {_IMPORTER: self.rng.randrange(1, 4), _BACKUP: False}
        for name, setting in self.workloads.items():
            self.cluster.add_workload(name.kind, name.name, setting, name.namespace)
        self.policy = _policy(members, self.rng, tuple(self.workloads))
        self.kube, self.pushgateway = SimKube(self), SimGauges(self)
        self.stores: dict[str, MemoryStore] = {}
        self._furnish()
        self.airflows: list[Airflow] = [Airflow(self, "airflow")]
        self.nights_after = 0
        self._settled_since: float | None = None
        self._is_resting = False

    def _furnish(self) -> None:
        for index, name in enumerate(self.cluster.nodes):
            for number in range(self.rng.randrange(3)):
                self.cluster.add_pod(name, f"web-{index}-{number}")
        if self.plan.has_bad_worker:
            workers = [name for name, facts in self.cluster.nodes.items() if not facts.is_control_plane]
            last = max(
                workers, key=lambda name: (len(self.cluster.pods[name]), name)
            )  # the first is the canary
            self.cluster.fakes[last].bad_upgrades = self.rng.choice((1, 2))
        self.cluster.pod_seconds = self.rng.choice((1.0, 1.0, 3.0, self.rng.uniform(30, 240)))
        if self.rng.random() < 0.3:
            names = [f"kubeadm-backup-etcd-2026-01-0{day}-10-00-00" for day in (1, 2)]
            self.cluster.fakes["cp1"].scratch = tuple(ScratchEntry(n, START - 9e5, 1000, True) for n in names)

    # -- one seed ------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Play it to its end."""
        self.hub.on_event, self.hub.on_error = self._after_event, self._judge_error
        self.airflows[0].start_night()
        try:
            is_done = self.hub.run(self._is_done, START + _LIMIT_SECONDS)
            if not self.breaches and not is_done:
                self.breach("no end: nights go on and the target is not reached")
            if not self.breaches:
                self.watch.at_the_end()
        finally:
            self.is_over = True
            self.hub.close()
        return Result(
            self.seed,
            self.breaches,
            self.plan.hit,
            self.hub.events,
            self.hub.now - START,
            self.airflows[0].nights,
            self.nights_after,
            self.watch.longest_debt,
            self.trace,
        )

    def _after_event(self) -> None:
        self.watch.look()
        if self.hub.events % 8:
            return
        if self.hub.events % 256 == 0:
            self.processes = [p for p in self.processes if p.is_alive]
        if self._is_resting:
            return
        main = self.airflows[0]
        if main.is_up and not any(run.is_active for run in main.runs):
            self._is_resting = True
            self.hub.after(self.rng.uniform(*_MEAN_REST), self._next_night)

    def _next_night(self) -> None:
        """A night ended a while ago: the next one, unless there is nothing to do any more."""
        self._is_resting = False
        main = self.airflows[0]
        if self.is_target_reached or not main.is_up or any(run.is_active for run in main.runs):
            return
        if main.nights >= NIGHTS_WITH_FAULTS and not self.plan.is_off:
            self._stop_faults()
        if self.plan.is_off and self._is_calm:
            self.nights_after += 1
            if self.nights_after > NIGHTS_AFTER:
                self.breach(f"no convergence: target not reached {NIGHTS_AFTER} nights after the last fault")
                return
        main.start_night()

    def _stop_faults(self) -> None:
        self.plan.is_off = True
        self.cluster.paused = None
        for name in sorted(self.watch.foreign):
            if self.cluster.nodes[name].is_control_plane:
                person_gives_back(self, name)
        for node in self.cluster.fakes.values():
            node.fails = node.slow = node.bad_upgrades = 0
        self.say("faults stop")

    @property
    def _is_calm(self) -> bool:
        """Tell whether all that a fault took away is back, and nobody else is at the cluster."""
        nodes = self.cluster.fakes.values()
        return (
            self.cluster.is_api_up
            and not any(run.is_active for other in self.airflows[1:] for run in other.runs)
            and all(
                n.is_reachable
                and n.is_member_up == n.is_cp
                and n.by_hand_until < self.hub.now
                and not n.is_held_up
                for n in nodes
            )
            and all(n.is_ready for n in self.cluster.nodes.values())
        )

    @property
    def is_target_reached(self) -> bool:
        """Tell whether every node runs the target."""
        cluster = self.cluster
        return cluster.config_version == NEW and all(
            {node.kubelet_version, *cluster.components.get(name, {}).values()} == {NEW}
            for name, node in cluster.nodes.items()
        )

    def _is_done(self) -> bool:
        """A breach, or everything is at rest for a while."""
        if self.breaches:
            return True
        if self.hub.events % 8:
            return False
        at_work = (
            not self.is_target_reached
            or any(run.is_active for airflow in self.airflows for run in airflow.runs)
            or any(p.is_alive and (p.step not in RECOVERIES or p.is_frozen) for p in self.processes)
            or any(not n.is_reachable for n in self.cluster.fakes.values())
            or not self.cluster.is_api_up
            or not all(a.is_up for a in self.airflows)
        )
        if at_work:
            self._settled_since = None
            return False
        if self._settled_since is None:
            self._settled_since = self.hub.now
            self.processes = [p for p in self.processes if p.is_alive]
        return self.hub.now - self._settled_since > _SETTLE_SECONDS

    # -- what processes do ---------------------------------------------------------------------------------

    def session(self, process: Process) -> Session:
        """A session as `orchestration/runtime.py` opens one."""
        installation = process.airflow.installation
        return Session(
            policy=self.policy,
            kube=self.kube,
            ssh=lambda node: SimSsh(self, self.cluster.fakes[node.name]),
            store=self.stores.setdefault(installation, MemoryStore(self)),
            pushgateway=self.pushgateway,
            run_id=process.ti.run.run_id,
            installation=installation,
            began=process.began,
            clock=self.cluster.clock,
            log=partial(self.said, process) if self.is_traced else _unheard,
            sleep=self.hub.sleep,
        )

    def call(self, channel: str, machine: SimNode | None, what: str, apply: Callable[[], Any]) -> Any:
        """One call of a client: the one place where time passes, others get their turn, and faults strike.

        Raises:
            UnreachableError: nobody answered.
        """
        fiber = self.hub.current
        if fiber is None:
            raise Gone
        process = fiber.process
        self.hub.sleep(self.rng.random() * (0.3 if channel == "ssh" else 0.04))
        for fault in self.plan.due(process.step, what):
            self._strike(fault, Call(self, process, channel, machine, what, apply))
        if process.delay:
            seconds, process.delay = process.delay, 0.0
            self.hub.sleep(seconds)
        after, process.after = process.after, None
        if after == "refuse":
            self.hub.sleep(self.rng.uniform(1.0, 5.0))
            raise self._lost(channel, machine, what, "connection reset")
        self.actor = process
        try:
            answer = apply()
        except NightshiftError as error:
            self.actor = None
            if self.is_traced:
                self.said(process, f"{channel} {machine.name if machine else ''} {what}: {error.code}")
            self.hub.sleep(4.0 if channel == "ssh" else 1.0)
            raise
        finally:
            self.actor = None
        if self.is_traced:
            self.said(process, f"{channel} {machine.name if machine else ''} {what} -> {_brief(answer)}")
        if after == "kill":
            FAULTS["kill"](Call(self, process, channel, machine, what, apply))
            self.hub.sleep(0.0)
        if after == "lose":
            self.hub.sleep(self.rng.uniform(1.0, 10.0))
            raise self._lost(channel, machine, what, "the answer did not come")
        return answer

    def _strike(self, fault: str, call: Call) -> None:
        self.plan.hit.add((call.process.step, fault))
        self.say(f"*** {fault} at {call.process.name}: {call.channel} {call.what}")
        FAULTS[fault](call)
        if not call.process.is_alive or call.process.is_frozen:
            self.hub.sleep(0.0)  # never comes back, or when it thaws

    def _lost(self, channel: str, machine: SimNode | None, what: str, cause: str) -> UnreachableError:
        who = machine.name if machine is not None else channel
        return unreachable(
            "NODE_UNREACHABLE" if channel == "ssh" else "API_UNREACHABLE", f"{who} ({what})", cause
        )

    def apply_late(self, call: Call, seconds: float) -> None:
        """Do a request after its sender gave up. The API refuses it when the object has changed meanwhile.

        What is about workloads and the ledger asks for itself whether they have; for all else Node and Lease tell.
        """
        nodes, lease = dict(self.cluster.nodes), self.cluster.lease

        def apply() -> None:
            is_asking = call.what.startswith(_COMPARED)
            has_changed = lease is not self.cluster.lease or nodes != dict(self.cluster.nodes)
            if call.channel == "api" and has_changed and not is_asking:
                return
            self.actor = call.process
            try:
                call.apply()
                self.say(f"late: {call.process.name}: {call.what}")
            except NightshiftError:
                pass
            finally:
                self.actor = None

        self.hub.after(seconds, apply)

    def keep_gauges(self, gauges: Mapping[str, float]) -> None:
        """The Pushgateway takes gauges, or is away."""
        if "k8s_upgrade_in_flight" in gauges:
            self.cluster.changes += 1
        if self.hub.now < self.gauges_away_until:
            raise unreachable("PUSHGATEWAY_UNREACHABLE", "the Pushgateway", "connection refused")
        self.gauges.update(gauges)

    def by_hand(self, name: str, **changes: Any) -> None:
        """A person writes a Node object."""
        self.cluster.nodes[name] = replace(self.cluster.nodes[name], **changes)
        self.say(f"a person: {name} {changes}")

    def second_airflow(self) -> None:
        """Another installation starts a run."""
        if len(self.airflows) == 1:
            self.airflows.append(Airflow(self, "there"))
        other = self.airflows[1]
        if not any(run.is_active for run in other.runs):
            other.start_night()

    def death(self) -> None:
        """A process died: whatever it owned has no owner from now on."""
        self.watch.debt_since = self.hub.now

    # -- said ----------------------------------------------------------------------------------------------

    def breach(self, text: str) -> None:
        """An invariant does not hold."""
        self.breaches.append(text)
        self.say(f"BREACH {text}")

    def _judge_error(self, process: Process, error: Exception) -> None:
        """An error that nobody raised on purpose is a bug, in whatever thread."""
        if not isinstance(error, (NightshiftError, RedError, TaskFailed, TaskSkipped)):
            self.breach(f"bug: {process.name}: {error!r}")

    def say(self, line: str) -> None:
        """One line of the trace."""
        if self.is_traced:
            self.trace.append(f"{self.hub.now - START:9.2f} {line}")

    def said(self, process: Process, line: str) -> None:
        """One line of a process."""
        if self.is_traced:
            self.trace.append(f"{self.hub.now - START:9.2f}   {process.name}: {line}")


def _policy(members: int, rng: Random, quiesce: tuple[WorkloadName, ...]) -> ClusterPolicy:
    return ClusterPolicy(
        "lab",
        "kube",
        "ssh",
        "store",
        accept_api_outage=members < 3,
        quiesce=quiesce,
        etcd_latency=EtcdLatencyPolicy(window_seconds=20, longest_window_seconds=20),
        workers=WorkerPolicy(max_unavailable=rng.choice((1, 1, 2))),
        limits=LimitPolicy(kubeadm_job_seconds=900, package_job_seconds=600, snapshot_job_seconds=300),
    )


def _unheard(line: str) -> None:
    """A line that nobody reads."""


def _brief(answer: Any) -> str:
    text = str(answer)
    return text if len(text) < 120 else text[:117] + "..."


@contextmanager
def installed(hub: Hub) -> Iterator[None]:
    """Let the product's threads be fibers of this hub."""
    kept = (
        hold.threading,
        session_module.ThreadPoolExecutor,
        gathering.ThreadPoolExecutor,
        drain_node.ThreadPoolExecutor,
        node_ssh._POLL_SECONDS,
        node_ssh._FIRST_POLL_SECONDS,
        drain_node._POLL_SECONDS,
        session_module._AWAY_POLL_SECONDS,
        debts.LATE_SECONDS,
        node_ssh.uuid,
        decide.GATES,
    )
    requests = count(1)

    def thread(target: Callable[..., None], args: tuple[Any, ...] = (), daemon: bool = True) -> Thread:
        return Thread(hub, target, args)

    hold.threading = SimpleNamespace(Thread=thread, Event=lambda: Event(hub))
    executor = partial(Executor, hub)
    session_module.ThreadPoolExecutor = gathering.ThreadPoolExecutor = executor
    drain_node.ThreadPoolExecutor = executor
    node_ssh._POLL_SECONDS, node_ssh._FIRST_POLL_SECONDS = 4.0, 2.0  # fewer looks, the same decisions
    drain_node._POLL_SECONDS, session_module._AWAY_POLL_SECONDS = 3.0, 3.0
    debts.LATE_SECONDS = 120.0  # nights are minutes apart here, and machines stand still for longer than this
    node_ssh.uuid = SimpleNamespace(uuid4=lambda: f"request-{next(requests)}")
    decide.GATES = {name: decide.GATES[name] for name in SIMULATED_GATES}  # the others have no facts here
    try:
        yield
    finally:
        (
            hold.threading,
            session_module.ThreadPoolExecutor,
            gathering.ThreadPoolExecutor,
            drain_node.ThreadPoolExecutor,
            node_ssh._POLL_SECONDS,
            node_ssh._FIRST_POLL_SECONDS,
            drain_node._POLL_SECONDS,
            session_module._AWAY_POLL_SECONDS,
            debts.LATE_SECONDS,
            node_ssh.uuid,
            decide.GATES,
        ) = kept


def play(seed: int, *, is_traced: bool = False) -> Result:
    """Run one seed."""
    world = World(seed, is_traced=is_traced)
    with installed(world.hub):
        return world.run()
