"""What is killed, when, and what must come of it: pure data, and the rules that keep the list whole.

A *strike* is one fault at one moment: one combination. A *case* is one fresh cluster and the strikes that it meets,
in the order of the night. Several strikes share a case where each of them is over, and judged by its own bound,
before the next one comes: a reset and the nodes' upgrades are most of the time. What a case's later nights have to
put up with is harder for that, never easier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

RETRY_SECONDS = 30  # from a death to the try that attaches, with tries left
SAFE_SECONDS = 30  # from the end of what outlived the run (and the API's being ready) to a safe cluster
RAISE_SECONDS = 15  # the same when a task merely raises
HOST_SECONDS = 300  # from the return of a whole Airflow host
DOWN_SECONDS = 150  # how long "everything" stays away: longer than a Lease lives
OUTAGE_SECONDS = 30  # of SSH, of the API, of etcd
POWER_SECONDS = 20  # a node's power
RESTART_SECONDS = 3  # a supervisor's pause before it starts one component again
HEARTBEAT_SECONDS = 15  # Airflow's time-out: nothing else notices a dead supervisor within RETRY_SECONDS
# Where the api-server itself is killed: it is back after 9 to 13 s, and a supervisor asks again up to 8 s later.
API_SERVER_HEARTBEAT_SECONDS = 20
# Where a supervisor is killed in front of a job: of the 30 s until its next try follows that job, noticing takes most.
SUPERVISOR_HEARTBEAT_SECONDS = 12


class Fault(StrEnum):
    """What happens; the values are what people read."""

    TASK = "SIGKILL of the task process"
    SUPERVISOR = "SIGKILL of the task's supervisor"
    SCHEDULER = "SIGKILL of the scheduler, its tasks live on"
    TRIGGERER = "SIGKILL of the triggerer"
    API_SERVER = "SIGKILL of Airflow's api-server"
    DAG_PROCESSOR = "SIGKILL of the dag-processor"
    EVERYTHING = "SIGKILL of everything of Airflow, back minutes later"
    DATABASE = "Airflow's database deleted and made anew"
    JOB = "SIGKILL of the job on the node: the task raises"
    SSH = "SSH to the node cut"
    POWER = "node's power off and on"
    API = "Kubernetes API down"
    ETCD = "etcd member stopped"
    RUN_FAILED = "a person marks the run as failed"
    TASK_FAILED = "a person marks the task as failed"
    CLEAR = "a person clears the running task"
    DUPLICATE = "a person triggers a second run"
    SECOND_AIRFLOW = "a run of a second Airflow on the same cluster"


class Moment(StrEnum):
    """When it happens; recognised from outside, see scene.py."""

    BEFORE_DRAIN = "before drain"
    GATE = "while the etcd gate waits"
    DRAIN = "during drain"
    ETCD_STEP = "kubeadm's etcd step"
    APISERVER_STEP = "kubeadm's apiserver step"
    KUBELET_PACKAGE = "kubelet package"
    BEFORE_UNCORDON = "before uncordon"
    TEARDOWN = "teardown"


# GATE is one of ours: the only moment in which the night lies in the triggerer's hands.
ASKED_MOMENTS = frozenset(Moment) - {Moment.GATE}


class Expect(StrEnum):
    """How a strike must end."""

    ATTACH = "the same run ends on target; a lost try is followed by one that attaches within its bound"
    RECOVER = "safe within its bound; the next run ends on target"
    REFUSE = "the second run is refused politely and touches nothing"


# Without a task of its own that dies, the same run must simply go on.
KILLS_THE_TRY = frozenset({Fault.TASK, Fault.SUPERVISOR, Fault.CLEAR})
# What comes back after a time of its own: bounds count from there.
OUTAGES = frozenset({Fault.EVERYTHING, Fault.DATABASE, Fault.SSH, Fault.POWER, Fault.API, Fault.ETCD})
ATTACHED = frozenset(
    {Fault.TASK, Fault.SUPERVISOR, Fault.SCHEDULER, Fault.TRIGGERER, Fault.API_SERVER, Fault.DAG_PROCESSOR}
    | {Fault.SSH, Fault.API, Fault.ETCD, Fault.CLEAR}
)
REFUSED = frozenset({Fault.DUPLICATE, Fault.SECOND_AIRFLOW})
WHOLE_HOST = frozenset({Fault.EVERYTHING, Fault.DATABASE})


@dataclass(frozen=True)
class Strike:
    """One fault at one moment.

    Args:
        place: whose moment: "control_plane.slot_01" or "workers.wave_01" (the task group of the place); "gates" for
            the gate before the night's decision, because later ones may open at once (docs/adr/0010).
    """

    fault: Fault
    moment: Moment
    place: str = "control_plane.slot_01"

    @property
    def expect(self) -> Expect:
        """What must come of it."""
        if self.fault in REFUSED:
            return Expect.REFUSE
        return Expect.ATTACH if self.fault in ATTACHED else Expect.RECOVER

    @property
    def bound(self) -> int | None:
        """Seconds it may take; None: its time is published, nothing more."""
        if self.expect is Expect.REFUSE:
            return None
        if self.fault in WHOLE_HOST:
            return HOST_SECONDS
        if self.fault is Fault.JOB:
            return RAISE_SECONDS
        return RETRY_SECONDS if self.expect is Expect.ATTACH else SAFE_SECONDS

    @property
    def ends_the_run(self) -> bool:
        """Tell whether a later strike of the case meets another night."""
        return self.expect is Expect.RECOVER


@dataclass(frozen=True)
class Case:
    """One fresh cluster and what it meets.

    Args:
        minutes: estimate on 2 cores, for the list and for continuous integration.
        foreign_cordon: a person has put this worker aside; it must stay so.
        heartbeat_seconds: Airflow's time-out for the heartbeats of a task's supervisor.
    """

    name: str
    minutes: int
    strikes: tuple[Strike, ...]
    profile: str = "small"
    foreign_cordon: str | None = None
    heartbeat_seconds: int = HEARTBEAT_SECONDS

    @property
    def needs_second_airflow(self) -> bool:
        """Tell whether a second Airflow stands ready."""
        return any(s.fault is Fault.SECOND_AIRFLOW for s in self.strikes)


def _at(fault: Fault, *moments: Moment) -> tuple[Strike, ...]:
    """The same fault at several moments of the first control-plane node."""
    return tuple(Strike(fault, moment) for moment in moments)


_WAVE, _SECOND_WAVE = "workers.wave_01", "workers.wave_02"
_M = Moment

# The weakest first: what Airflow notices late, then what takes everything away, then the plain deaths.
CASES = (
    # Once per task: 11 to 14 s until it is noticed, and Airflow's back-off is 6 to 8 s after a task's first try, but 12 to
    # 17 s after its second one. "ha" has the apiserver step.
    Case(
        "supervisor", 10, _at(Fault.SUPERVISOR, _M.BEFORE_DRAIN, _M.DRAIN, _M.ETCD_STEP, _M.TEARDOWN),
        heartbeat_seconds=SUPERVISOR_HEARTBEAT_SECONDS,
    ),
    Case(
        "scheduler", 10,
        _at(Fault.SCHEDULER, _M.BEFORE_DRAIN, _M.DRAIN, _M.ETCD_STEP, _M.BEFORE_UNCORDON, _M.TEARDOWN),
        foreign_cordon="w2",
    ),
    Case("everything", 17, _at(Fault.EVERYTHING, _M.ETCD_STEP, _M.BEFORE_UNCORDON, _M.TEARDOWN)),
    # The worker put aside is the canary: without the shop and with CoreDNS rolled out elsewhere it has no pods. Its cordon
    # is not ours, so that a drain is to be seen in the wave after it only.
    Case(
        "database", 16,
        (Strike(Fault.DATABASE, _M.APISERVER_STEP), Strike(Fault.DATABASE, _M.DRAIN, _SECOND_WAVE)),
        foreign_cordon="w2",
    ),
    Case(
        "person", 20,
        (
            Strike(Fault.RUN_FAILED, _M.BEFORE_DRAIN),
            Strike(Fault.TASK_FAILED, _M.DRAIN),
            Strike(Fault.RUN_FAILED, _M.APISERVER_STEP),
            Strike(Fault.TASK_FAILED, _M.KUBELET_PACKAGE),
            Strike(Fault.RUN_FAILED, _M.BEFORE_UNCORDON, _WAVE),
            Strike(Fault.RUN_FAILED, _M.TEARDOWN),
        ),
        foreign_cordon="w2",
    ),
    # Cleared in the midst of kubeadm, a night goes on only when the API is back; nothing is struck in the steps between.
    Case("clear", 11, _at(Fault.CLEAR, _M.BEFORE_DRAIN, _M.DRAIN, _M.ETCD_STEP, _M.KUBELET_PACKAGE)),
    Case("raises", 16, _at(Fault.JOB, _M.BEFORE_DRAIN, _M.ETCD_STEP, _M.APISERVER_STEP, _M.KUBELET_PACKAGE)),
    Case("power", 20, _at(Fault.POWER, _M.ETCD_STEP, _M.APISERVER_STEP, _M.KUBELET_PACKAGE)),
    Case(
        "outage", 11,
        (
            Strike(Fault.ETCD, _M.BEFORE_DRAIN),
            Strike(Fault.API, _M.DRAIN),
            Strike(Fault.ETCD, _M.APISERVER_STEP),
            Strike(Fault.API, _M.KUBELET_PACKAGE),
            Strike(Fault.API, _M.TEARDOWN),
        ),
    ),
    Case("ssh", 10, _at(Fault.SSH, _M.BEFORE_DRAIN, _M.ETCD_STEP, _M.APISERVER_STEP, _M.KUBELET_PACKAGE)),
    Case(
        "components", 10,
        (
            Strike(Fault.TRIGGERER, _M.GATE, "gates"),
            Strike(Fault.DAG_PROCESSOR, _M.DRAIN),
            Strike(Fault.API_SERVER, _M.ETCD_STEP),
            Strike(Fault.API_SERVER, _M.BEFORE_UNCORDON),
            Strike(Fault.TRIGGERER, _M.GATE, _WAVE),
            Strike(Fault.DAG_PROCESSOR, _M.TEARDOWN),
        ),
        heartbeat_seconds=API_SERVER_HEARTBEAT_SECONDS,
    ),
    Case(
        "polite", 12,
        (
            Strike(Fault.SECOND_AIRFLOW, _M.BEFORE_DRAIN),
            Strike(Fault.DUPLICATE, _M.ETCD_STEP),
            Strike(Fault.SECOND_AIRFLOW, _M.APISERVER_STEP),
            Strike(Fault.SECOND_AIRFLOW, _M.DRAIN, _WAVE),
            Strike(Fault.DUPLICATE, _M.TEARDOWN),
        ),
    ),
    Case(
        "task", 10,
        _at(
            Fault.TASK,
            *(_M.BEFORE_DRAIN, _M.DRAIN, _M.ETCD_STEP, _M.APISERVER_STEP, _M.KUBELET_PACKAGE),
            *(_M.BEFORE_UNCORDON, _M.TEARDOWN),
        ),
    ),
    Case(
        "ha", 24,
        (
            Strike(Fault.SUPERVISOR, _M.APISERVER_STEP),
            Strike(Fault.SCHEDULER, _M.APISERVER_STEP, "control_plane.slot_02"),
            Strike(Fault.RUN_FAILED, _M.ETCD_STEP, "control_plane.slot_03"),
        ),
        profile="ha",
        heartbeat_seconds=SUPERVISOR_HEARTBEAT_SECONDS,
    ),
)  # fmt: skip

# A strike by itself at most, estimated: a fresh cluster, the struck night, and another one where the strike ends it.
ALONE_MINUTES = 12


def case_named(name: str) -> Case:
    """Return a case, or one strike of a case by itself ("power.2").

    Raises:
        KeyError: there is none, with the known names.
    """
    for case in (*CASES, *(alone for whole in CASES for alone in _alone(whole))):
        if case.name == name:
            return case
    raise KeyError(f"there is no case {name!r}; the cases are {', '.join(c.name for c in CASES)}")


def strikes_alone() -> list[tuple[Case, Case]]:
    """Every strike that is short enough for a change to run it: its whole case, and a case with nothing but it."""
    return [(case, alone) for case in CASES if case.profile == "small" for alone in _alone(case)]


def _alone(case: Case) -> list[Case]:
    """Each strike of a case on a cluster of its own, as in the case otherwise."""
    return [
        replace(case, name=f"{case.name}.{number}", minutes=ALONE_MINUTES, strikes=(strike,))
        for number, strike in enumerate(case.strikes, 1)
    ]


def combinations(cases: Iterable[Case]) -> list[tuple[Fault, Moment, str]]:
    """Every combination of fault, moment and place, each once."""
    return sorted({(s.fault, s.moment, s.place) for case in cases for s in case.strikes})


def nights(strikes: Sequence[Strike]) -> list[list[Strike]]:
    """Which strikes meet the same night; the last night is the one that must end on target."""
    made: list[list[Strike]] = [[]]
    for strike in strikes:
        made[-1].append(strike)
        if strike.ends_the_run:
            made.append([])
    return made
