"""The invariants: what must hold after each event, and at the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.simulation.airflow import MUTATING, RECOVERIES, Run
from tests.simulation.hub import Process
from tests.simulation.model import NEW, UPGRADES, Job, SimNode

from nightshift.domain import debts as ledger
from nightshift.domain.brake import BrakeMode, read_brake
from nightshift.domain.debts import OWNER_ANNOTATION, Debt, quiet_setting, workload_subject
from nightshift.domain.facts import LeaseFacts, NodeFacts, WorkloadName
from nightshift.domain.owner import is_recovery
from nightshift.domain.versions import Version
from nightshift.steps.hold import RUN_ANNOTATION

if TYPE_CHECKING:
    from tests.simulation.world import World

DEBT_SECONDS = 300.0  # promise 3
_BLINK_SECONDS = 30.0  # two control planes that come at once see each other, and both are given back
_KEEPS_THE_LEASE = (*MUTATING, "postflight")  # while such a try lives, even frozen, its run has the cluster
_WORD_SECONDS = 60.0  # a drain asks for the brake every 5 s; calls may be slow or late
_LIVE_SECONDS = 150.0  # a Lease's life and a few renewals
_AGAIN_SECONDS = (
    20.0  # after the API's return a live run has renewed by then; who takes its Lease watches for longer
)
_HOLDING = (
    "snapshot",
    "stage",
    "quiesce",
    "drain_node",
    "upgrade_node",
    "upgrade_kubelet",
    "verify_node",
    "uncordon_node",
    "restore",
)


class Watch:
    """Sees every write to the cluster, and every event."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ours: dict[str, Process | None] = {}  # nodes we cordoned, and which process did
        self.busy: set[str] = set()  # control planes that were worked on: by evictions, or a job
        self.foreign: set[str] = set()  # nodes a person cordoned
        self.brake_since = 0.0  # of the brake that is on
        self.api_down_last = -1e9
        self.debt_since = 0.0
        self.longest_debt = 0.0
        self.two_since = 0.0
        self.quieters: dict[WorkloadName, Process | None] = {}  # workloads, and which process made them quiet
        self.recorded_last = 0.0  # when everything that is quiet was recorded
        self._unrecorded: list[WorkloadName] = []
        self._two = False  # two control planes are cordoned by us
        self._seen = -1
        self._owed = ""
        self._excuse: Run | None = None
        self._watched_until = math.inf  # when the next record need not be watched any more

    # -- told by the model ---------------------------------------------------------------------------------

    def node_changed(self, name: str, old: NodeFacts, new: NodeFacts) -> None:
        """A Node object was written."""
        self.world.cluster.changes += 1
        actor = self.world.actor
        if new.is_unschedulable and not old.is_unschedulable and actor is not None:
            self.ours[name] = actor
            self._may_begin(self.world.cluster.fakes[name], actor, "cordons")
        if old.is_unschedulable and not new.is_unschedulable:
            if actor is not None:
                self._uncordoned(name, actor)
            self.ours.pop(name, None)
            self.busy.discard(name)

    def _uncordoned(self, name: str, actor: Process) -> None:
        node = self.world.cluster.fakes[name]
        if name in self.foreign:
            self.world.breach(f"foreign cordon: {actor.name} uncordoned {name}, which a person had cordoned")
        busy = [
            job.step for job in node.units.values() if job.is_running and job.step in UPGRADES and node.is_on
        ]
        if busy:
            self.world.breach(
                f"uncordoned under work: {actor.name} uncordoned {name} while {busy[0]} runs there"
            )
        if actor.step in RECOVERIES and node.away_since is not None and node.away_since <= actor.began:
            self.world.breach(
                f"unreachable is not dead: {actor.name} uncordoned {name}, which nobody could see"
            )

    def lease_changed(self, old: LeaseFacts, new: LeaseFacts) -> None:
        """The Lease was written."""
        if not hasattr(self.world, "cluster"):
            return
        self.world.cluster.changes += 1
        if new.token < old.token:
            self.world.breach(f"token went back: {old.token} to {new.token}")
        actor = self.world.actor
        if actor is None:
            return
        if new.holder == actor.owner and actor.step not in RECOVERIES:
            actor.has_lease = True
        if new.holder not in ("", old.holder) and old.holder and not is_recovery(old.holder):
            self._taken(old, actor)

    def _taken(self, old: LeaseFacts, actor: Process) -> None:
        """The Lease was taken from a run: by its own end, or by a person; by all others from the dead.

        The failure callback comes for what its run left, not for what a person has resumed since.
        """
        world = self.world
        is_late = actor.step == "callback"
        if actor.own is not None and not is_late:
            return
        if world.hub.now - self.api_down_last < _AGAIN_SECONDS:
            return
        for process in world.processes:
            if (
                process.is_alive
                and process.owner == old.holder
                and process.step in _HOLDING
                and (process.has_lease or self._should_have_renewed(process))
                and (not is_late or process.began > (process.ti.run.ended or math.inf))
                and process.ti.process is process
                and not process.is_frozen
                and world.hub.now - process.frozen_last > _LIVE_SECONDS
            ):
                world.breach(f"took the cluster from a live run: {actor.name} took it from {process.name}")

    def _should_have_renewed(self, process: Process) -> bool:
        """A try that only looks takes no Lease. It renews the one of its run, and has had time for it."""
        return process.step == "verify_node" and self.world.hub.now - process.began > _AGAIN_SECONDS

    def command_taken(self, node: SimNode, token: int) -> None:
        """A node took a mutating command."""
        if token < node.reached:
            actor = self.world.actor
            who = actor.name if actor else "?"
            self.world.breach(
                f"old token: {node.name} took {token} from {who} after {node.reached} had reached it"
            )

    def job_starts(self, node: SimNode, job: Job) -> None:
        """A node begins a job."""
        world, now = self.world, self.world.hub.now
        world.cluster.changes += 1
        if job.step in UPGRADES and node.by_hand_until > now:
            world.breach(f"two kubeadm: {job.step} starts on {node.name} beside a person's")
        at_work = [(other, unit) for other in world.cluster.fakes.values() for unit in other.active]
        for other, unit in at_work:
            if other is node:
                world.breach(f"two jobs: {job.step} starts on {node.name} beside {unit.step}")
            if "reclaim-scratch" not in (job.step, unit.step) and unit.owner != job.owner:
                world.breach(
                    f"two hands: {job.step} of {job.owner} starts on {node.name} while {unit.step} of "
                    f"{unit.owner} is at work on {other.name}"
                )
        job.starter = world.actor

    def job_acts(self, node: SimNode, job: Job) -> None:
        """A job found that something is to be done; one that finds everything done touches nothing."""
        self._alone(node, f"{job.step} works on")
        if job.starter is not None:
            self._may_begin(node, job.starter, f"starts {job.step} on", job)
        if job.step == "kubeadm-upgrade" and node.is_cp and job.starter is not None:
            self._keeps_quorum(node, job.starter)
            self._is_quiet(node)

    def _may_begin(self, node: SimNode, actor: Process, what: str, job: Job | None = None) -> None:
        """A brake that was on when a try began lets it begin no node; "stop now" no job on a begun one either."""
        brake = read_brake(self.world.cluster.brake, self.world.hub.now)
        if brake is None or self.brake_since >= actor.began:
            return
        if not self._is_begun(node, actor, job) or (brake.mode is BrakeMode.STOP and job is not None):
            self.world.breach(f"brake: {actor.name} {what} {node.name} under a brake that is on")

    @staticmethod
    def _is_begun(node: SimNode, actor: Process, job: Job | None) -> bool:
        """Tell whether the run had begun this node's kubeadm before: then it is carried to its end."""
        if job is not None:
            return job.step != "kubeadm-upgrade" or job.is_again
        kubeadm = node.units.get("kubeadm-upgrade")
        is_known = kubeadm is not None and (kubeadm.is_running or kubeadm.owner == actor.owner)
        return is_known or actor.step == "upgrade_kubelet"

    def _is_quiet(self, node: SimNode) -> None:
        """What the policy quiesces is so while kubeadm changes a control-plane node; no person plays with it here."""
        for name in self.world.policy.quiesce:
            if self.world.cluster.workloads[name].setting != quiet_setting(name.kind):
                self.world.breach(f"loud: kubeadm works on {node.name} while {name} is not quiet")

    def workload_set(self, name: WorkloadName, setting: int | bool) -> None:
        """Somebody of ours set a workload."""
        if setting == quiet_setting(name.kind):
            self.quieters[name] = self.world.actor
            return
        for member in self.world.cluster.members:
            node = self.world.cluster.fakes[member]
            if any(job.acts and job.step == "kubeadm-upgrade" for job in node.active):
                actor = self.world.actor
                self.world.breach(
                    f"loud: {actor.name if actor else '?'} gives {name} back while kubeadm works on {member}"
                )

    def _keeps_quorum(self, node: SimNode, starter: Process) -> None:
        """Of three members none may be missing when we stop another, as far as the try could have seen."""
        cluster = self.world.cluster
        if len(cluster.members) < 3:
            return
        for name in cluster.members:
            down = cluster.fakes[name].member_down_since
            if name != node.name and down is not None and down < starter.began:
                self.world.breach(
                    f"quorum: {starter.name} upgrades {node.name} while {name}'s member is down for "
                    f"{self.world.hub.now - down:.0f} s"
                )

    def job_ended(self, node: SimNode, job: Job) -> None:
        """A job is over."""
        self.world.cluster.changes += 1

    def kubelet_starts(self, node: SimNode, version: str) -> None:
        """A kubelet of this version talks to the API servers."""
        servers = [Version.parse(c["kube-apiserver"]) for c in self.world.cluster.components.values()]
        if Version.parse(version) > max(servers):
            self.world.breach(f"skew: kubelet {version} on {node.name} is newer than every API server")

    def evicted(self, node: SimNode) -> None:
        """A pod of this node goes."""
        self._alone(node, "evicts from")
        actor, now = self.world.actor, self.world.hub.now
        if (
            actor is None
            or read_brake(self.world.cluster.brake, now) is None
            or self._is_begun(node, actor, None)
        ):
            return
        if now - max(self.brake_since, self.api_down_last, actor.frozen_last) > _WORD_SECONDS:
            self.world.breach(
                f"brake: {actor.name} goes on with the drain of {node.name}, {now - self.brake_since:.0f} s after it"
            )

    # -- after each event ----------------------------------------------------------------------------------

    def look(self) -> None:
        """Everything that must hold now."""
        world = self.world
        cluster, now = world.cluster, world.hub.now
        if not cluster.is_api_up:
            self.api_down_last = now
        if cluster.changes != self._seen or now >= self._watched_until:
            self._seen = cluster.changes
            ends = [e + ledger.LATE_SECONDS for d in cluster.debts.values() if (e := d.ended) is not None]
            self._watched_until = min((end for end in ends if end > now), default=math.inf)
            self._owed = self.owes()
            self._recorded()
            self._two = sum(name in self.ours for name in cluster.members) > 1
        if self._unrecorded:
            self._is_recorded_soon(now)
        if not self._two or now == self.api_down_last:
            self.two_since = now
        elif now - self.two_since > _BLINK_SECONDS and not self._is_cut_short():
            world.breach(f"control plane: {', '.join(self.ours)} are cordoned by us at once")
        # No debt without an owner for longer than promise 3 allows; what the promise excepts starts the clock anew.
        excuse = self._excuse  # mostly that of the last event
        if not self._owed or (excuse is not None and _is_at_work(excuse)) or self._is_excused(now):
            self.debt_since = now
            return
        age = now - self.debt_since
        self.longest_debt = max(self.longest_debt, age)
        if age > DEBT_SECONDS:
            world.breach(f"debt: {self._owed} for {age:.0f} s without an owner")

    def _is_cut_short(self) -> bool:
        """Tell whether one of two was cordoned by a process that died or stood still before it could look again."""
        cordoners = [
            p for name, p in self.ours.items() if p is not None and name in self.world.cluster.members
        ]
        return any(p.is_killed or p.is_frozen or p.frozen_last > self.two_since for p in cordoners)

    def _recorded(self) -> None:
        for name in self.ours:
            node = self.world.cluster.nodes[name]
            if node.is_unschedulable and OWNER_ANNOTATION not in node.annotations:
                self.world.breach(f"unrecorded: {name} is cordoned by us and carries no mark")
        recorded = {debt.subject for debt in self.world.cluster.debts.values()}
        self._unrecorded = [name for name in self._quiet() if workload_subject(name) not in recorded]
        if not self._unrecorded:
            self.recorded_last = self.world.hub.now

    def _is_recorded_soon(self, now: float) -> None:
        """A try that a recovery overtook between record and change records it again; until then there is a blink."""
        for name in self._unrecorded:
            actor = self.quieters.get(name)
            since = max(self.recorded_last, self.api_down_last, actor.frozen_last if actor else 0.0)
            is_loose = actor is None or actor.is_killed or now - since > _BLINK_SECONDS
            if is_loose and not (actor is not None and actor.is_frozen):
                self.world.breach(f"unrecorded: {name} is quiet and the ledger does not say so")

    def _quiet(self) -> list[WorkloadName]:
        """Workloads that we made quiet."""
        cluster = self.world.cluster
        return [
            name for name, before in self.world.workloads.items() if cluster.workloads[name].setting != before
        ]

    def _alone(self, node: SimNode, what: str) -> None:
        """Whatever is done to a control-plane node is done to one at a time.

        A cordon alone is not counted here: of two that come at once both may be cordoned for the blink in which they
        see each other, and a process that was given up may cordon once more (docs/adr/0008). Two cordons are a debt.
        """
        if not node.is_cp:
            return
        cluster = self.world.cluster
        for name in cluster.members:
            other = cluster.fakes[name]
            if other is node:
                continue
            if any(job.acts for job in other.active):
                self.world.breach(f"control plane: {what} {node.name} while {name} is upgraded")
            elif name in self.busy and name in self.ours:
                self.world.breach(f"control plane: {what} {node.name} while {name} is drained or half-done")
        self.busy.add(node.name)

    def owes(self) -> str:
        """What is left on the cluster by anybody of ours; "" = nothing."""
        cluster = self.world.cluster
        if cluster.lease.holder:
            return f"the Lease is held by {cluster.lease.holder}"
        if self.ours:
            return f"{', '.join(self.ours)} cordoned"
        if cluster.marks.get(RUN_ANNOTATION):
            return "the namespace is marked"
        for name, node in cluster.nodes.items():
            if OWNER_ANNOTATION in node.annotations:
                return f"{name} is marked"
        if due := [key for key, debt in cluster.debts.items() if self._is_due(debt)]:
            return f"recorded: {', '.join(due)}"
        is_away = self.world.hub.now < self.world.gauges_away_until
        if self.world.gauges.get("k8s_upgrade_in_flight") and not is_away:
            return "in_flight is 1"
        return ""

    def _is_due(self, debt: Debt) -> bool:
        """Tell whether there is more to do about a record than to watch it."""
        found = self.world.cluster.workloads[debt.workload]
        is_over = debt.ended is not None and self.world.hub.now >= debt.ended + ledger.LATE_SECONDS
        return debt.ended is None or is_over or found.setting == quiet_setting(found.name.kind)

    def _is_excused(self, now: float) -> bool:
        world = self.world
        if not world.airflows[0].is_up or now == self.api_down_last:
            return True
        for airflow in world.airflows:
            for run in reversed(airflow.runs):
                if _is_at_work(run):
                    self._excuse = run
                    return True
        for node in world.cluster.fakes.values():
            if not node.is_reachable or node.active or node.by_hand_until > now:
                return True
        for process in world.processes:
            if process.is_alive and (
                process.is_frozen if process.step in RECOVERIES else process.step in _KEEPS_THE_LEASE
            ):
                return True
        return False

    # -- at the end ----------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Faults have stopped, nights have ended."""
        cluster, breach = self.world.cluster, self.world.breach
        for name, node in cluster.nodes.items():
            versions = {node.kubelet_version, *cluster.components.get(name, {}).values()}
            if versions != {NEW}:
                breach(f"not on target: {name} runs {', '.join(sorted(versions))}")
            if node.is_unschedulable != (name in self.foreign):
                breach(
                    f"cordon: {name} is {'cordoned' if node.is_unschedulable else 'schedulable'} at the end"
                )
        if cluster.config_version != NEW:
            breach(f"not on target: kubeadm-config says {cluster.config_version}")
        if self.owes():
            breach(f"left behind: {self.owes()}")
        for name in self._quiet():
            breach(f"left behind: {name} is {cluster.workloads[name].setting}")


def _is_at_work(run: Run) -> bool:
    """Tell whether a run owns something: more is left of it than its teardown."""
    return run.process.is_alive and (run.extra > 0 or (run.state == "running" and not run.is_ending))
