"""Builds the DAGs of one cluster: wiring only, no outside call, nothing heavy imported.

How Airflow really behaves decides the shape (docs/adr):

* Slots and waves are fixed places chained in order, filled from the plan at run time: only a chain keeps one node
  after the other and stops at the first failure. Pools and mapped groups do neither.
* `release` is the teardown of `claim`, `report` a teardown without setup, so that both also run when a person marks
  the run as failed. Teardowns are no leaves, hence `watcher`: the one leaf, red when anything failed.
* No `dagrun_timeout`: it would skip the teardowns. Every task has its own limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import (
    DAG,
    BaseOperator,
    CronTriggerTimetable,
    Param,
    TaskGroup,
    TriggerRule,
    WeightRule,
    chain,
    task,
    task_group,
)

from nightshift.domain.errors import ConfigError
from nightshift.domain.gates import GATES
from nightshift.domain.limits import look_seconds, task_seconds
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Answer
from nightshift.orchestration.callbacks import recover_failed_run
from nightshift.orchestration.docs import TASKS, invalid_doc, readiness_doc, recover_doc, upgrade_doc
from nightshift.orchestration.operators import (
    AskOperator,
    DecideOperator,
    Input,
    OpenNightOperator,
    QuarantineOperator,
    RecoverOperator,
    StepOperator,
    own_run_id,
    param,
    plan_begun,
    planned_addresses,
    pull,
    unless_ended,
)
from nightshift.orchestration.probe import ProbePodOperator
from nightshift.orchestration.reporting import InvalidFileOperator, NightShape, PlaceTasks, ReportOperator
from nightshift.orchestration.retries import retry_arguments
from nightshift.orchestration.sensors import DiskUsageSensor, EtcdLatencySensor, Place

if TYPE_CHECKING:
    from airflow.sdk import Context

# Airflow starts the last missed run as soon as a DAG is unpaused for the first time; a night waits for its hour.
# (Runs missed later are held by `open_night`.) That works only without a start date.
_NEVER_LATE = timedelta(0)
_LABEL = "{{ node_name | default('') }}"  # set by the task itself, see operators.label
_AFTER_PLACE = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS  # empty places before it are skipped, not failed
_FIRST = 10_000  # more than any night has tasks
# Task -> its name in the ledger.
_NODE_STEPS = {
    "drain_node": "drain",
    "upgrade_node": "kubeadm",
    "upgrade_kubelet": "kubelet",
    "verify_node": "verify",
    "uncordon_node": "uncordon",
}
_PATIENT_GATES = ("etcd_latency", "disk_usage")  # sensors of their own; all others are asked in one round


@dataclass
class _Night:
    """What the parts of one upgrade DAG share while it is being built."""

    policy: ClusterPolicy
    refusal: ConfigError | None = None  # the cluster's file cannot be read: no step runs, the recovery does
    phases: dict[str, list[str]] = field(default_factory=dict)
    places: list[PlaceTasks] = field(default_factory=list)
    is_dry: Any = (
        False  # does the run only say what it would do? True, or the input that reads it from the form
    )
    etcd_gates: list[str] = field(default_factory=list)  # task ids, in the order of the night
    enders: list[str] = field(default_factory=list)  # task ids: where brake or window may end the night

    def limit(self, step: str = "") -> timedelta:
        """The time limit of a step's task."""
        return timedelta(seconds=task_seconds(self.policy).get(step, look_seconds(self.policy)))

    def step(self, name: str, **arguments: Any) -> StepOperator:
        """Add the task of one step, called like it."""
        operator: type[StepOperator] = arguments.pop("operator", StepOperator)
        return operator(
            task_id=name,
            policy=self.policy,
            step=arguments.pop("step", name),
            refusal=self.refusal,
            doc_md=TASKS[name],
            execution_timeout=self.limit(name),
            **retry_arguments(),
            **arguments,
        )

    def remember(self, phase: str, *tasks: Any) -> None:
        """Note which tasks belong to a phase, for the report."""
        self.phases.setdefault(phase, []).extend(t.task_id for t in tasks)

    def remember_place(self, phase: str, gate: BaseOperator, tasks: Sequence[BaseOperator]) -> None:
        """Note a slot or wave with its gate, its node's steps and where there is one its quarantine, for the report."""
        self.remember(phase, gate, *tasks)
        steps, quarantine = tasks[: len(_NODE_STEPS)], tasks[len(_NODE_STEPS) :]
        self.enders += [gate.task_id, *(step.task_id for step in steps[:2])]  # until kubeadm begins
        ids = _by_step(steps)
        self.places.append(PlaceTasks(gate.task_id, ids, quarantine[0].task_id if quarantine else None))


def _by_step(steps: Sequence[BaseOperator]) -> dict[str, str]:
    """Step -> id of its task."""
    return dict(zip(_NODE_STEPS.values(), (step.task_id for step in steps), strict=True))


def build_upgrade_dag(policy: ClusterPolicy, error: ConfigError | None = None) -> DAG:
    """Return `upgrade_<cluster>`.

    Args:
        policy: the cluster's policy.
        error: why the cluster's file cannot be read; `policy` is then what could be salvaged from it. The DAG keeps
            its name and shape: Airflow would kill a live run's tasks, `release` included, if they were not in it
            any more (docs/adr/0011). Its steps refuse with this error; the recovery and the report do their work.
    """
    about = f"Upgrades {policy.name} to its next version, or says why not."
    with DAG(
        dag_id=f"upgrade_{policy.name}",
        description=about if error is None else f"Nothing is upgraded: {policy.name}.yaml is not valid.",
        doc_md=upgrade_doc(policy, error),
        schedule=_nightly(policy.schedule),
        catchup=False,
        max_active_runs=1,
        tags=["nightshift", policy.name, *(["invalid"] if error else [])],
        params=_upgrade_form(),
        on_failure_callback=partial(recover_failed_run, policy=policy),
        default_args={"owner": "nightshift"},
    ) as dag:
        night = _Night(policy, error, is_dry=param("dry_run"))
        decide = _opening(night)
        claim, *prepare, ready = _preparation(night)
        chain(decide, claim, *prepare, ready)
        last = _control_plane(night, ready)
        last = _workers(night, ready, last)
        probes = _postflight(night, ready, last)
        _closing(night, claim, probes)
    return dag


def _nightly(cron: str | None) -> CronTriggerTimetable | None:
    """The schedule in UTC; None: only by hand."""
    return CronTriggerTimetable(cron, timezone="UTC", run_immediately=_NEVER_LATE) if cron else None


def _upgrade_form() -> dict[str, Param]:
    """The fields people see when they trigger a run by hand; the defaults are what the schedule uses."""
    return {
        "target_version": Param(
            None,
            type=["null", "string"],
            pattern=r"^v?\d+\.\d+\.\d+$",
            title="Target version",
            description="Exactly this version, e.g. 1.35.4. Empty: the next one the policy allows. "
            "A downgrade, a skipped minor and what the policy's newest_minor forbids are refused.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Only say what it would do",
            description="Asks everything as a night does and begins nothing: order of nodes, what each drain evicts, "
            "minutes, and what would stop it. Nothing on the cluster is changed.",
        ),
        # An empty text counts as missing in the form, and its Trigger button stays grey: nothing is None.
        "reason": Param(
            None,
            type=["null", "string"],
            maxLength=200,
            title="Reason",
            description="Why you start this run; shown in its details.",
        ),
    }


def _opening(night: _Night) -> DecideOperator:
    """Everything that only looks, up to the decision."""
    with TaskGroup("opening", prefix_group_id=False, tooltip="May we, to which version, is there room?"):
        is_dry = {"dry_run": night.is_dry}
        open_night = night.step("open_night", operator=OpenNightOperator, inputs=is_dry)
        detect_target = night.step(
            "detect_target",
            inputs={"requested_version": param("target_version")},
            proceed_if=[pull("open_night")],
        )
        reclaim = night.step(
            "reclaim_scratch", inputs=is_dry, proceed_if=[pull("open_night"), pull("detect_target")]
        )
        chain(open_night, detect_target, reclaim)
    night.remember("opening", open_night, detect_target, reclaim)
    first, last = _gates(night)
    decide = DecideOperator(
        task_id="decide",
        policy=night.policy,
        step="decide",
        inputs={"choice": pull("detect_target"), "verdicts": _verdicts, **is_dry},
        proceed_if=[pull("open_night"), pull("detect_target")],
        earlier=[open_night.task_id, detect_target.task_id, reclaim.task_id],
        doc_md=TASKS["decide"],
        trigger_rule=TriggerRule.ALL_DONE,  # a gate that failed gave no verdict, and that is blind
        execution_timeout=night.limit(),
        **retry_arguments(),
    )
    chain(reclaim, first)
    chain(last, decide)
    night.remember("gates", decide)
    return decide


def _verdicts(context: Any) -> list[Any]:
    """The input with all gates' verdicts; what a gate or the round did not say is missed by `decide`."""
    patient = [pull(f"gates.{name}")(context) for name in _PATIENT_GATES]
    return [*patient, *(pull("gates.ask", "verdicts")(context) or ())]


def _gates(night: _Night) -> tuple[list[BaseOperator], list[BaseOperator]]:
    """All gates: what begins the group, and what ends it. A verdict is an answer, so none of them stops another.

    Two wait for themselves; the others are asked in one round, and each has a mark that is skipped when it is shut.
    """
    with TaskGroup("gates", tooltip="Is this a night on which the cluster may be touched? Only looks."):
        etcd = EtcdLatencySensor(
            task_id="etcd_latency",
            policy=night.policy,
            is_dry=night.is_dry,
            doc_md=GATES["etcd_latency"].doc,
            execution_timeout=night.limit(),
            **retry_arguments(),
        )
        disk = DiskUsageSensor(
            task_id="disk_usage",
            policy=night.policy,
            choice=pull("detect_target"),
            doc_md=GATES["disk_usage"].doc,
            execution_timeout=night.limit(),
            **retry_arguments(),
        )
        quick = [
            gate
            for gate in GATES.values()
            if gate.name not in _PATIENT_GATES and Moment.NIGHT in gate.moments
        ]
        ask = AskOperator(
            task_id="ask",
            policy=night.policy,
            step="gates:ask_night",
            gates=[gate.name for gate in quick],
            inputs={"choice": pull("detect_target")},
            doc_md=TASKS["ask"],
            execution_timeout=night.limit(),
            **retry_arguments(),
        )
        marks = [EmptyOperator(task_id=gate.name, doc_md=gate.doc) for gate in quick]
        chain(ask, marks)
    night.etcd_gates.append(etcd.task_id)
    night.remember("gates", etcd, disk, ask)
    return [etcd, disk, ask], [etcd, disk, *marks]


def _preparation(night: _Night) -> list[StepOperator]:
    """Take the cluster, make a way back, fetch everything, rehearse, tell kubeadm what runs; in the order of the night.

    Rehearsed is what kubeadm will write once it is told what runs: what fails there has changed nothing at all.
    """
    choice = {"choice": pull("detect_target")}
    with TaskGroup(
        "preparation", prefix_group_id=False, tooltip="Take the cluster, a way back, everything fetched."
    ):
        claim = night.step("claim", inputs=choice, proceed_if=[pull("decide")])
        claim.is_setup = True
        snapshot = night.step("snapshot", inputs=choice)
        stage = night.step("stage", inputs=choice)
        rehearse = night.step("rehearse", inputs={**choice, "plan": pull("decide", "plan")})
        reconcile = night.step("reconcile_drift")
    tasks = [claim, snapshot, stage, rehearse, reconcile]
    night.remember("preparation", *tasks)
    night.enders += [task.task_id for task in tasks]
    return tasks


def _node_steps(night: _Night, node: Any, place: Place) -> list[StepOperator]:
    """The five tasks of one node, chained."""
    choice: dict[str, Input] = {"choice": pull("detect_target")}
    with_job = {**choice, "addresses": planned_addresses}
    inputs = {"upgrade_node": with_job, "upgrade_kubelet": with_job, "verify_node": choice}
    tasks = [
        night.step(
            name,
            node=node,
            place=(place.list_name, place.index),
            map_index_template=_LABEL,
            inputs=inputs.get(name, {}),
        )
        for name in _NODE_STEPS
    ]
    chain(*tasks)
    return tasks


def _quarantine(night: _Night, node: Any, steps: Sequence[StepOperator]) -> StepOperator:
    """The task behind a node's steps that is skipped when they came to their end."""
    quarantine = night.step(
        "quarantine_node",
        operator=QuarantineOperator,
        node=node,
        steps=_by_step(steps),
        map_index_template=_LABEL,
        trigger_rule=TriggerRule.ONE_FAILED,
    )
    chain(steps[-1], quarantine)
    return quarantine


def _gate_in_front(night: _Night, task_id: str, place: Place) -> EtcdLatencySensor:
    """The gates before a slot or wave, in etcd's sensor; skipped when the plan leaves the place empty or the night ends here."""
    gate = EtcdLatencySensor(
        task_id=task_id,
        policy=night.policy,
        earlier=night.etcd_gates,
        enders=night.enders,
        place=place,
        plan=pull("decide", "plan"),
        choice=pull("detect_target"),
        doc_md=TASKS["check_etcd"],
        execution_timeout=night.limit("check_etcd"),
        trigger_rule=_AFTER_PLACE,
        map_index_template=_LABEL,
        **retry_arguments(),
    )
    night.etcd_gates.append(gate.task_id)
    return gate


def _if_quiesced(policy: ClusterPolicy) -> Input:
    """Return the input that says whether the policy makes anything quiet, or did so when this night began."""

    def read(context: Context, jinja_env: object = None) -> Any:
        if policy.quiesce or pull("control_plane.quiesce")(context):
            return {"answer": Answer.GO.value}
        return {"answer": Answer.NOTHING.value, "sentence": "The policy quiesces nothing."}

    return read


def _control_plane(night: _Night, ready: BaseOperator) -> BaseOperator:
    """Control-plane nodes, strictly one after the other; returns what comes last.

    What the policy quiesces is so from the first node's drain on: the gate in front of it may wait, or say no. The
    owner's word ends the night there as in the drain behind it, which is then skipped although the gate said yes.
    """
    last = ready
    with TaskGroup("control_plane", tooltip="One control-plane node at a time."):
        quiesce = night.step(
            "quiesce",
            node=pull("control_plane.slot_01.check_etcd"),
            proceed_if=[_if_quiesced(night.policy)],
        )
        night.remember("control_plane", quiesce)
        for index in range(night.policy.control_plane_slots):
            with TaskGroup(f"slot_{index + 1:02d}") as group:
                place = Place("control_plane", index)
                gate = _gate_in_front(night, "check_etcd", place)
                steps = _node_steps(night, pull(f"{group.group_id}.check_etcd"), place)
                chain(gate, steps[0])
            if index == 0:
                chain(gate, quiesce, steps[0])
                steps[0].trigger_rule = _AFTER_PLACE  # `quiesce` is skipped when there is nothing to quiesce
                steps[0].proceed_if = [unless_ended([quiesce.task_id])]
                night.enders.append(quiesce.task_id)  # not before: its own gate, cleared, asks anew
            _after(gate, ready, last)
            last = steps[-1]
            night.remember_place("control_plane", gate, steps)
        restore = night.step(
            "restore",
            step="quiesce:restore",
            proceed_if=[_if_quiesced(night.policy)],
            trigger_rule=_AFTER_PLACE,
        )
        _after(restore, ready, last)
        night.remember("control_plane", restore)
    return restore


def _workers(night: _Night, ready: BaseOperator, last: BaseOperator) -> BaseOperator:
    """Waves of workers, one wave after the other; the nodes of a wave go side by side.

    Behind the canary each node's failure is first asked whether it concerns the others: the next wave hangs on the
    answer, and not on the node.
    """
    with TaskGroup("workers", tooltip="Waves, the first one a canary. A failed canary stops all others."):
        for index in range(night.policy.workers.waves):
            number = f"{index + 1:02d}"
            place = Place("waves", index)
            gate = _gate_in_front(night, f"check_etcd_{number}", place)
            steps: list[StepOperator] = []

            @task_group(group_id=f"wave_{number}")
            def wave(
                node: str,
                steps: list[StepOperator] = steps,
                place: Place = place,
                is_canary: bool = index == 0,
            ) -> None:
                steps.extend(_node_steps(night, node, place))
                if not is_canary:
                    steps.append(_quarantine(night, node, steps))

            wave.expand(node=gate.output)
            _after(gate, ready, last)
            last = steps[-1]
            night.remember_place("workers", gate, steps)
    return last


def _after(gate: BaseOperator, ready: BaseOperator, last: BaseOperator) -> None:
    """Let a place begin when all before it is done; `ready` keeps it from being skipped along with empty places."""
    chain(list({ready.task_id: ready, last.task_id: last}.values()), gate)


def _postflight(night: _Night, ready: BaseOperator, last: BaseOperator) -> Any:
    """Look at the whole cluster, from outside and from a pod on each upgraded node."""
    begun = plan_begun(tuple(night.enders))

    @task(doc_md=TASKS["list_nodes"])
    def list_nodes(**context: Any) -> list[str]:
        plan = begun(context)
        aside = pull("postflight.verify_cluster", "quarantined")(context) or ()
        workers = [n for wave in plan["waves"] for n in wave if n not in aside]
        return [s["node"] for s in plan["control_plane"]] + workers

    with TaskGroup("postflight", tooltip="Is the whole cluster what it should be? Only looks."):
        verify = night.step(
            "verify_cluster",
            step="postflight",
            inputs={"choice": pull("detect_target"), "plan": begun},
            trigger_rule=_AFTER_PLACE,
        )
        names = list_nodes()
        probes = ProbePodOperator.partial(
            task_id="probe_pod",
            policy=night.policy,
            doc_md=TASKS["probe_pod"],
            map_index_template=_LABEL,
            execution_timeout=night.limit(),
            **retry_arguments(),
        ).expand(node=names)
        chain(verify, names)
    _after(verify, ready, last)
    night.remember("postflight", verify, probes)
    return probes


def _closing(night: _Night, claim: StepOperator, probes: Any) -> None:
    """Give the cluster back, write it down, and colour the run."""
    wait = night.policy.limits.kubeadm_job_seconds
    release = RecoverOperator(
        task_id="release",
        policy=night.policy,
        step="recover",
        inputs={"own_run_id": own_run_id, "reason": "the run ends", "wait_seconds": float(wait)},
        doc_md=TASKS["release"],
        execution_timeout=night.limit("release"),
        **retry_arguments(),
    ).as_teardown(setups=claim)
    night.remember("closing", release)
    report = ReportOperator(
        task_id="report",
        policy=night.policy,
        shape=NightShape(night.phases, night.places),
        doc_md=TASKS["report"],
        execution_timeout=night.limit(),
        **retry_arguments(),
    ).as_teardown()

    @task(trigger_rule=TriggerRule.ONE_FAILED, doc_md=TASKS["watcher"], retries=0)
    def watcher() -> None:
        raise RuntimeError(
            "A task of this run failed: see the first red one. This task only colours the run."
        )

    chain(probes, release, report)
    # Whatever fails before the probes reaches them as "upstream failed": three edges watch everything, but for a node
    # that is set aside, behind which the night goes on.
    get = claim.dag.get_task
    asides = [place for place in night.places if place.quarantine]
    chain([probes, release, report, *(get(place.steps["uncordon"]) for place in asides)], watcher())
    if night.policy.workers.max_unavailable > 1:
        # A wave's other nodes may still be at work when one fails: the cluster is given back after them.
        chain([get(place.quarantine or place.steps["uncordon"]) for place in night.places], release)


def build_recover_dag(policy: ClusterPolicy) -> DAG:
    """Return `recover_<cluster>`: the sweeper, and the manual button."""
    with DAG(
        dag_id=f"recover_{policy.name}",
        description=f"Takes back what a dead run left on {policy.name}; every minute.",
        doc_md=recover_doc(policy),
        schedule="* * * * *",
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        tags=["nightshift", policy.name],
        params={
            "run_id": Param(
                None,
                type=["null", "string"],
                title="Run",
                description="End this run's hold on the cluster although its Lease is alive: a run id of this Airflow, "
                "e.g. manual__2026-11-22T23:00:00+00:00, or a holder as the Lease shows it. "
                "Empty: only what nobody alive owns.",
            ),
            "dry_run": Param(
                False,
                type="boolean",
                title="Only say what it would do",
                description="Looks as it always does, writes nothing, and puts the answer into this run's note.",
            ),
        },
        default_args={"owner": "nightshift"},
    ) as dag:
        RecoverOperator(
            task_id="recover",
            policy=policy,
            step="recover:sweep",
            inputs={
                "own_run_id": param("run_id"),
                "reason": f"sweeper recover_{policy.name}",
                "dry_run": param("dry_run"),
            },
            doc_md=TASKS["recover"],
            execution_timeout=timedelta(seconds=look_seconds(policy)),
            retries=0,  # the next one comes in a minute
            # Without this the tasks of all nights, each weighted by what comes after it, would get a free slot first.
            priority_weight=_FIRST,
            weight_rule=WeightRule.ABSOLUTE,
        )
    return dag


def build_readiness_dag(policy: ClusterPolicy, error: ConfigError | None = None) -> DAG:
    """Return `readiness_<cluster>`: by day, everything that a night asks before it begins, and nothing else.

    Args:
        policy: the cluster's policy.
        error: why the cluster's file cannot be read, see `build_upgrade_dag`.
    """
    with DAG(
        dag_id=f"readiness_{policy.name}",
        description=f"Says what the next night would do on {policy.name}, and what would stop it; changes nothing.",
        doc_md=readiness_doc(policy, error),
        schedule=_nightly(policy.readiness_schedule),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,  # it only looks, and is of use from the first day on
        tags=["nightshift", policy.name, *(["invalid"] if error else [])],
        params={"target_version": _upgrade_form()["target_version"]},
        default_args={"owner": "nightshift"},
    ) as dag:
        night = _Night(policy, error, is_dry=True)
        decide = _opening(night)
        report = ReportOperator(
            task_id="report",
            policy=policy,
            shape=NightShape(night.phases, night.places),
            doc_md=TASKS["report"],
            execution_timeout=night.limit(),
            trigger_rule=TriggerRule.ALL_DONE,
            **retry_arguments(),
        )
        chain(decide, report)
    return dag


def build_invalid_dag(file_name: str, error: ConfigError) -> DAG:
    """Return `invalid_<file>`, for a file whose name is no cluster's: its nights are red and say why.

    An import error would take the nights of all other clusters away, and hide the reason from people who look at runs.
    """
    name = re.sub(r"[^\w.-]", "_", file_name.removesuffix(".yaml"))
    with DAG(
        dag_id=f"invalid_{name}",
        description=f"Nothing is upgraded: {file_name} is not valid.",
        doc_md=invalid_doc(file_name, error),
        schedule=_nightly(ClusterPolicy.schedule),
        catchup=False,
        tags=["nightshift", "invalid"],
        default_args={"owner": "nightshift"},
    ) as dag:
        InvalidFileOperator(
            task_id="read_policy",
            error=error,
            doc_md="Fails with what is wrong in the cluster's file.",
            execution_timeout=timedelta(minutes=1),
            retries=0,
        )
    return dag
