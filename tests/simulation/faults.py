"""What may go wrong at a call, and the plan of one seed: which fault at which call of which step."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.airflow import HEARTBEAT_TIMEOUT, MUTATING, NODE_STEPS, STEPS, Airflow, Run
from tests.simulation.hub import Process
from tests.simulation.model import SimNode

from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.domain import debts
from nightshift.domain.brake import Brake, BrakeMode
from nightshift.domain.debts import OWNER_ANNOTATION

if TYPE_CHECKING:
    from tests.simulation.world import World


_OUTLIVES_RECORD_SECONDS = 200.0  # longer than a record is watched here, and a recovery comes round meanwhile


class Call:
    """The call at which a fault strikes."""

    def __init__(
        self,
        world: World,
        process: Process,
        channel: str,
        machine: SimNode | None,
        what: str,
        apply: Callable[[], Any],
    ) -> None:
        self.world, self.process, self.channel, self.machine = world, process, channel, machine
        self.what, self.apply = what, apply
        self.rng = world.rng

    @property
    def airflow(self) -> Airflow:
        """The installation whose process this is."""
        return self.process.airflow

    @property
    def node(self) -> SimNode:
        """The node it is about, or any."""
        if self.machine is not None:
            return self.machine
        name = self.process.node or self.rng.choice(sorted(self.world.cluster.nodes))
        return self.world.cluster.fakes[name]

    @property
    def run(self) -> Run | None:
        """The run it belongs to, or else the last one."""
        run = self.process.ti.run
        if run in self.airflow.runs:
            return run
        return self.airflow.runs[-1] if self.airflow.runs else None


def _is_let_live(process: Process) -> bool:
    """Tell whether its death may be what docs/adr/0018 leaves: it outlives its record, makes its change, and dies at once."""
    return process.step == "quiesce" and process.frozen_longest > debts.LATE_SECONDS


def _kill(call: Call) -> None:
    """SIGKILL of the task's process, noticed within seconds."""
    if _is_let_live(call.process):
        return
    call.process.kill()
    call.world.death()
    call.airflow.process_died(call.process, call.rng.uniform(0.5, 6.0))


def _kill_after(call: Call) -> None:
    """The same, when the call was done and nobody has read the answer."""
    if not _is_let_live(call.process):
        call.process.after = "kill"


def _kill_supervisor(call: Call) -> None:
    """The process and its supervisor, noticed after the heartbeat timeout."""
    if _is_let_live(call.process):
        return
    call.process.kill()
    call.world.death()
    call.airflow.process_died(call.process, HEARTBEAT_TIMEOUT + call.rng.uniform(0, 10))


def _orphan(call: Call) -> None:
    """The supervisor only: the process lives on beside its next try."""
    call.airflow.process_died(call.process, HEARTBEAT_TIMEOUT + call.rng.uniform(0, 10))


def _duplicate(call: Call) -> None:
    """The scheduler restarts and runs a live task again."""
    process = call.process
    if process.ti.ended is None:  # sweeps and callbacks are not run again
        process.ti.state = "forgotten"
    call.airflow.run_beside(process.ti, call.rng.uniform(0.1, 5.0))
    if call.rng.random() < 0.5:
        call.world.hub.after(call.rng.uniform(5, 15), process.end)


def _freeze(call: Call) -> None:
    """Its whole machine stands still: nobody can end it there, and it goes on where it was."""
    short, long = call.rng.uniform(5, 60), call.rng.uniform(60, 500)
    seconds = call.rng.choice((short, long))
    if call.world.plan.stands_long:
        seconds = max(long, _OUTLIVES_RECORD_SECONDS)
    call.process.is_out_of_reach = True
    call.process.frozen_until = call.world.hub.now + seconds
    call.process.frozen_longest = max(call.process.frozen_longest, seconds)
    if seconds > HEARTBEAT_TIMEOUT and call.process.ti is not None:
        call.airflow.process_died(call.process, HEARTBEAT_TIMEOUT + 5)


def _delay(call: Call) -> None:
    """The request travels for seconds, and others overtake it."""
    call.process.delay = call.rng.uniform(0.5, 9.0)


def _late(call: Call) -> None:
    """The request is done after its sender has given up."""
    call.world.apply_late(call, call.rng.uniform(0.5, 40.0))
    call.process.after = "refuse"


def _drop(call: Call) -> None:
    """The connection breaks before the request arrives."""
    call.process.after = "refuse"


def _lose_answer(call: Call) -> None:
    """The request is done, its answer never comes."""
    call.process.after = "lose"


def _power(call: Call) -> None:
    """A node loses power, and has it again after a while."""
    call.node.power_off(call.rng.choice((call.rng.uniform(10, 60), call.rng.uniform(60, 700))))


def _cut(call: Call) -> None:
    """Airflow does not reach a node; its work goes on."""
    node = call.node
    node.is_cut = True
    node.note_reach()

    def mend() -> None:
        node.is_cut = False
        node.note_reach()

    call.world.hub.after(call.rng.choice((call.rng.uniform(3, 60), call.rng.uniform(60, 700))), mend)


def _api_away(call: Call) -> None:
    """No API server answers."""
    cluster = call.world.cluster
    away = call.rng.choice((call.rng.uniform(2, 40), call.rng.uniform(40, 400)))
    cluster.api_away_until = max(cluster.api_away_until, call.world.hub.now + away)


def _etcd_away(call: Call) -> None:
    """A member stops for a while."""
    cluster = call.world.cluster
    cluster.fakes[call.rng.choice(cluster.members)].stop_member(call.rng.uniform(10, 600))


def _person_cordons(call: Call) -> None:
    """A person puts a node aside; a control plane is given back before the night is over."""
    world, name = call.world, call.node.name
    node = world.cluster.nodes[name]
    if node.is_unschedulable or node.annotations:
        name = world.rng.choice(sorted(world.cluster.nodes))
        node = world.cluster.nodes[name]
    if node.is_unschedulable or node.annotations:
        return
    _put_aside(world, name, call.rng)


def _put_aside(world: World, name: str, rng: Random) -> None:
    world.by_hand(name, is_unschedulable=True, cordoned_by="kubectl")
    world.watch.foreign.add(name)
    if world.cluster.nodes[name].is_control_plane or rng.random() < 0.3:
        world.hub.after(rng.uniform(30, 600), lambda: person_gives_back(world, name))


def person_gives_back(world: World, name: str) -> None:
    """A person lifts their own cordon; of a control plane once no job of ours works under it."""
    if name not in world.watch.foreign:
        return
    node = world.cluster.fakes[name]
    if node.is_cp and node.active:
        # Without cordon and our mark nothing tells of that job while the node is out of reach: docs/safety.md, Not yet.
        world.hub.after(10.0, lambda: person_gives_back(world, name))
    else:
        world.watch.foreign.discard(name)
        world.by_hand(name, is_unschedulable=False, cordoned_by="")


def _person_uncordons(call: Call) -> None:
    """A person gives back what we cordoned, and may cordon it for work of their own; our mark stays on the node."""
    world = call.world
    name = min(world.watch.ours, default=None)
    if name is None:
        return
    world.by_hand(name, is_unschedulable=False, cordoned_by="")
    own = Random(f"{world.seed} {world.hub.now}")  # what else happens does not hang on it
    if own.random() < 0.7:
        world.hub.after(own.uniform(0.1, 20), lambda: _cordons_anew(world, name, own))


def _cordons_anew(world: World, name: str, rng: Random) -> None:
    node = world.cluster.nodes[name]
    if not world.plan.is_off and not node.is_unschedulable and OWNER_ANNOTATION in node.annotations:
        _put_aside(world, name, rng)


def _kubeadm_by_hand(call: Call) -> None:
    """A person runs kubeadm on a node, where nothing of ours is at work."""
    if not call.node.active:
        call.node.by_hand_until = call.world.hub.now + call.rng.uniform(5, 120)


def _mark_task_failed(call: Call) -> None:
    """A person marks the task as failed."""
    if call.run is not None:
        for task in call.run.tasks:
            if task.state == "running":
                call.airflow.mark_failed(task)


def _mark_run_failed(call: Call) -> None:
    """A person marks the run as failed."""
    if call.run is not None:
        call.airflow.mark_run_failed(call.run)


def _delete_run(call: Call) -> None:
    """The run is deleted."""
    if call.run is not None:
        call.airflow.forget(call.run)


def _clear(call: Call) -> None:
    """A person clears one task of the run that was done."""
    done = [t for t in call.run.tasks if t.step in MUTATING and t.state == "success"] if call.run else []
    done = [task for task in done if task.node] or done
    if done and call.run is not None and call.run.process.is_alive:
        call.airflow.clear(call.run, call.rng.choice(done))


def _clear_failed(call: Call) -> None:
    """The task is failed, and when the run has ended a person clears it with what follows."""
    if call.run is not None and call.run.process.is_alive:
        call.run.clear_after = True
        _mark_task_failed(call)


def _recover_by_hand(call: Call) -> None:
    """A person starts the recovery DAG with the run's name."""
    if call.run is not None:
        call.airflow.recover_by_hand(call.run)


def _second(call: Call) -> None:
    """Another Airflow, with a run of the same name, comes to this cluster."""
    call.world.second_airflow()


def _host_down(call: Call) -> None:
    """The whole Airflow is away for a while."""
    call.airflow.down(call.rng.uniform(5, 500), forgets=False)


def _memory_lost(call: Call) -> None:
    """Airflow comes back without its database."""
    call.airflow.down(call.rng.uniform(5, 300), forgets=True)


def _job_fails(call: Call) -> None:
    """The next job on a node ends half-way."""
    call.node.fails += 1


def _job_slow(call: Call) -> None:
    """The next job on a node takes minutes."""
    call.node.slow += 1


def _budget(call: Call) -> None:
    """Budgets allow nothing for a while, and pods take long to end."""
    cluster = call.world.cluster
    most = call.rng.choice((6, 80))
    busy = Eviction(EvictionOutcome.BUDGET_BLOCKED, "no disruption allowed")
    for pods in cluster.pods.values():
        for pod in pods:
            cluster.eviction_answers[pod.name] = [busy] * call.rng.randrange(most // 2, most)
    cluster.pod_seconds = call.rng.uniform(5, 250)


def _brake(call: Call) -> None:
    """A person pulls the brake, this hard or that, and releases it later."""
    cluster = call.world.cluster
    mode = call.rng.choice(tuple(BrakeMode))
    cluster.brake = Brake(mode, "a reason", "a person").to_data()
    call.world.watch.brake_since = call.world.hub.now
    call.world.hub.after(call.rng.uniform(20, 400), lambda: setattr(cluster, "brake", {}))


def _pushgateway(call: Call) -> None:
    """The Pushgateway is away."""
    call.world.gauges_away_until = call.world.hub.now + call.rng.uniform(5, 300)


FAULTS: dict[str, Callable[[Call], None]] = {
    "kill": _kill,
    "kill after": _kill_after,
    "kill supervisor": _kill_supervisor,
    "orphan": _orphan,
    "duplicate": _duplicate,
    "freeze": _freeze,
    "delay": _delay,
    "late": _late,
    "drop": _drop,
    "lose answer": _lose_answer,
    "power": _power,
    "cut": _cut,
    "api away": _api_away,
    "etcd away": _etcd_away,
    "person cordons": _person_cordons,
    "person uncordons": _person_uncordons,
    "kubeadm by hand": _kubeadm_by_hand,
    "mark task failed": _mark_task_failed,
    "mark run failed": _mark_run_failed,
    "delete run": _delete_run,
    "clear": _clear,
    "clear failed": _clear_failed,
    "recover by hand": _recover_by_hand,
    "second airflow": _second,
    "host down": _host_down,
    "memory lost": _memory_lost,
    "job fails": _job_fails,
    "job slow": _job_slow,
    "budget": _budget,
    "brake": _brake,
    "pushgateway": _pushgateway,
}


_REPAYING = (
    *("fence_lease", "fence", "uncordon", "set_workload", "forget_debt"),
    *("release_lease", "set_namespace"),
)
# Calls at which a death or a delay matters most; the others are hit by counting.
_MOMENTS = {
    "claim": ("claim_lease", "set_namespace"),
    "snapshot": ("start-job", "job-poll"),
    "stage": ("start-job", "job-poll"),
    "quiesce": ("record_debt", "set_workload", "workload"),
    "drain_node": ("cordon", "evict", "brake"),
    "upgrade_node": ("start-job", "start-job", "job-poll", "cordon"),
    "upgrade_kubelet": ("start-job", "start-job", "job-poll", "cordon"),
    "uncordon_node": ("uncordon",),
    "quarantine_node": ("annotate_node", "uncordon"),
    "restore": ("set_workload", "forget_debt", "workload"),
    "release": _REPAYING,
    "callback": ("fence_lease", "fence", "uncordon", "set_workload", "release_lease"),
    "sweep": _REPAYING,
}
_ON_NODES = ("gate", *NODE_STEPS)
_HIDES = ("freeze", "orphan", "cut", "power", "late")
_ENDS = ("mark run failed", "mark task failed", "delete run", "memory lost", "recover by hand", "kill")


class Plan:
    """The faults of one seed, by step; each waits for its call."""

    def __init__(self, rng: Random) -> None:
        self.pending: dict[str, list[list[Any]]] = {}
        self.hit: set[tuple[str, str]] = set()
        self.is_off = self.quiesces = self.stands_long = False
        for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 5))):
            step, fault = rng.choice(STEPS), rng.choice(tuple(FAULTS))
            calls, verb = int(rng.expovariate(1 / 5)), ""
            if rng.random() < 0.4 and step in _MOMENTS:
                calls, verb = rng.choice((0, 0, 1, 2)), rng.choice(_MOMENTS[step])
            elif rng.random() < 0.5 and step in _ON_NODES:
                calls += rng.randrange(60)  # at a later node
            self._add(step, fault, calls, verb)
            if fault in _HIDES and rng.random() < 0.6:
                self._add(step, rng.choice(_ENDS), calls, verb)  # whoever cannot be seen is given up
            elif rng.random() < 0.3:
                self._add(step, rng.choice(tuple(FAULTS)), calls + rng.randrange(3), verb)
            if step == "callback":  # a run must fail first
                self._add(rng.choice(MUTATING), "mark task failed", int(rng.expovariate(1 / 5)))

        if rng.random() < 0.5:
            self._add_story(rng)
        self.has_bad_worker = "quarantine_node" in self.pending
        self.quiesces |= bool({"quiesce", "restore"} & set(self.pending)) or self._is_about_quiet()

    def _is_about_quiet(self) -> bool:
        """A fault at a call that only a ledger of debts has."""
        return any(
            verb in ("set_workload", "forget_debt") for found in self.pending.values() for _, _, verb in found
        )

    def _add_story(self, rng: Random) -> None:
        """Two accidents that are known to be bad together; by chance alone they would meet once in a thousand seeds."""
        acting = rng.choice(("snapshot", "stage", "upgrade_node", "upgrade_kubelet"))
        nth = rng.choice((0, 0, 1, 2))
        story = rng.choice(
            ("zombie", "zombie", "unseen", "member", "cleared", "aside", "told", "loose", "blind", "hushed")
        )
        if story == "zombie":  # a command that comes when its run has long been given up
            self._add(acting, rng.choice(("freeze", "late")), nth, "start-job")
            self._add(
                acting, rng.choice(("mark run failed", "mark task failed", "delete run")), nth, "start-job"
            )
        elif story == "unseen":  # a job that goes on where nobody can see it
            self._add("upgrade_node", rng.choice(("cut", "power")), nth, "job-poll")
            self._add("upgrade_node", rng.choice(_ENDS), nth, "job-poll")
        elif story == "member":  # etcd's quorum hangs on the node that is next
            self._add(rng.choice(("gate", "drain_node")), "etcd away", rng.randrange(25))
        elif story == "cleared":  # an earlier node's task, while the night is at another
            self._add(rng.choice(("gate", "drain_node", "upgrade_node")), "clear", 12 + rng.randrange(24))
        elif story == "told":  # the owner's word while a drain waits
            self._add("drain_node", "budget", nth, "cordon")
            self._add("drain_node", "brake", nth + rng.randrange(6), "evict")
        elif story == "loose":  # a workload made quiet when its record has been given up
            for fault in rng.choice(((rng.choice(_ENDS[:3]), "freeze"), ("late", "mark run failed", "kill"))):
                self._add("quiesce", fault, nth % 2, "set_workload")
            self.stands_long = True
        elif story == "blind":
            self._add_blind_story(rng, nth)
        elif story == "hushed":  # the same at a control plane for which workloads are quiet, and for long
            self._add("upgrade_node", "job slow", 0, "start-job")
            self._add("upgrade_node", "cut", 1 + nth, "job-poll")
            self._add("upgrade_node", rng.choice(_ENDS), 1 + nth, "job-poll")
            self.quiesces = True
        else:  # a person's cordon on a node that comes later
            self._add(rng.choice(("claim", "snapshot", "stage", "gate")), "person cordons", rng.randrange(5))

    def _add_blind_story(self, rng: Random, nth: int) -> None:
        """A retry that finds its own job at work and no API."""
        acting = rng.choice(("upgrade_node", "upgrade_kubelet"))
        self._add(acting, "job slow", 0, "start-job")
        for fault in ("api away", "kill"):
            self._add(acting, fault, 2 + nth, "job-poll")  # it has looked twice before it starts its job
        if rng.random() < 0.7:  # while it follows
            self._add(acting, rng.choice((*_HIDES, *_ENDS)), 3 + nth + rng.randrange(6), "job-poll")

    def _add(self, step: str, fault: str, calls: int, verb: str = "") -> None:
        self.pending.setdefault(step, []).append([calls, fault, verb])

    def due(self, step: str, what: str) -> list[str]:
        """Return what strikes at this call of the step."""
        waiting = self.pending.get(step)
        if not waiting or self.is_off:
            return []
        due = []
        for entry in list(waiting):
            if not what.startswith(entry[2]):
                continue
            entry[0] -= 1
            if entry[0] < 0:
                waiting.remove(entry)
                due.append(entry[1])
        return due

    def __str__(self) -> str:
        """For people."""
        return "; ".join(
            f"{step}+{n}{' ' + verb if verb else ''}: {fault}"
            for step, found in self.pending.items()
            for n, fault, verb in found
        )
