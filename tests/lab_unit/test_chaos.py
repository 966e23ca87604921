"""Chaos: the catalogue is whole, moments are told apart, and a journal that shows a broken promise is never passed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lab import results as lab_results
from tests.lab import test_chaos
from tests.lab.world import World

from chaos import pages, results
from chaos.catalogue import (
    ASKED_MOMENTS,
    CASES,
    Case,
    Expect,
    Fault,
    Moment,
    Strike,
    case_named,
    combinations,
    nights,
    strikes_alone,
)
from chaos.judge import Verdict, judge, summary
from chaos.observe import JOBS, attempt_fields, journal_event, lease_of, node_seen
from chaos.scene import NodeSeen, Scene, TaskSeen, find, task_id
from chaos.timeline import Event, parse

PROJECT = Path(__file__).parents[2]
SLOT = "control_plane.slot_01"
UPGRADE = f"{SLOT}.upgrade_node"
RUN = "manual__1"
HOLDER = f"nightshift-a/lab/{RUN}"
Mutation = Callable[[list[Event]], Iterable[Event]]


# The catalogue


def test_every_fault_and_every_moment_is_met() -> None:
    met = combinations(CASES)
    assert len(met) >= 30
    assert {fault for fault, _, _ in met} == set(Fault)
    assert {moment for _, moment, _ in met} >= ASKED_MOMENTS
    assert {case.profile for case in CASES} == {"small", "ha"}
    assert any(case.foreign_cordon for case in CASES)


def test_every_moment_of_the_catalogue_has_a_task_in_the_real_dag() -> None:
    golden = (PROJECT / "tests/airflow/golden/upgrade_small.txt").read_text(encoding="utf-8")
    tasks = {word.strip(",:") for line in golden.splitlines() for word in line.split()}
    for case in CASES:
        for strike in case.strikes:
            assert task_id(strike).replace("slot_03", "slot_02") in tasks, strike


def test_a_strike_that_ends_the_run_leaves_the_last_night_alone() -> None:
    assert [len(night) for night in nights(case_named("raises").strikes)] == [1, 1, 1, 1, 0]
    assert [len(night) for night in nights(case_named("task").strikes)] == [7]


def test_no_two_strikes_of_a_night_are_at_the_same_place_and_moment() -> None:
    for case in CASES:
        for night in nights(case.strikes):
            assert len({(s.moment, s.place) for s in night}) == len(night), case.name


def test_a_supervisor_is_struck_in_the_first_try_of_its_task_only() -> None:
    """Noticed after 15 s, the back-off after a second try would be longer than what is left of 30 s."""
    for case in CASES:
        for night in nights(case.strikes):
            tasks = [task_id(strike) for strike in night]
            for number, strike in enumerate(night):
                if strike.fault is Fault.SUPERVISOR:
                    assert tasks[number] not in tasks[:number], (case.name, strike)


def test_no_drain_is_awaited_of_a_worker_that_a_person_put_aside() -> None:
    """It has the fewest pods, hence it is the canary; and its cordon is none of ours."""
    for case in CASES:
        if case.foreign_cordon:
            drained = {strike.place for strike in case.strikes if strike.moment is Moment.DRAIN}
            assert "workers.wave_01" not in drained, case.name


def test_the_heartbeats_time_out_outlives_an_api_server_where_it_is_killed() -> None:
    for case in CASES:
        faults = {strike.fault for strike in case.strikes}
        wanted = 20 if Fault.API_SERVER in faults else 12 if Fault.SUPERVISOR in faults else 15
        assert case.heartbeat_seconds == wanted, case.name
        assert not faults >= {Fault.API_SERVER, Fault.SUPERVISOR}, case.name


@pytest.mark.parametrize(
    ("strike", "expect", "bound"),
    [
        (Strike(Fault.TASK, Moment.DRAIN), Expect.ATTACH, 30),
        (Strike(Fault.JOB, Moment.ETCD_STEP), Expect.RECOVER, 15),
        (Strike(Fault.RUN_FAILED, Moment.ETCD_STEP), Expect.RECOVER, 30),
        (Strike(Fault.EVERYTHING, Moment.TEARDOWN), Expect.RECOVER, 300),
        (Strike(Fault.DATABASE, Moment.DRAIN), Expect.RECOVER, 300),
        (Strike(Fault.DUPLICATE, Moment.DRAIN), Expect.REFUSE, None),
    ],
)
def test_bounds_are_the_issues(strike: Strike, expect: Expect, bound: int | None) -> None:
    assert (strike.expect, strike.bound) == (expect, bound)


def test_an_unknown_case_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="the cases are supervisor"):
        case_named("nobody")


def test_a_strike_alone_is_the_one_of_its_case_and_found_by_name() -> None:
    for case, alone in strikes_alone():
        assert case.profile == alone.profile == "small"
        number = int(alone.name.rpartition(".")[2])
        assert alone.strikes == (case.strikes[number - 1],)
        assert replace(alone, name=case.name, minutes=case.minutes, strikes=case.strikes) == case
        assert case_named(alone.name) == alone
    assert len({alone.name for _, alone in strikes_alone()}) == len(strikes_alone()) >= 30


def test_a_strike_alone_is_no_case_of_a_round() -> None:
    """`make chaos` and chaos.json know whole cases only."""
    assert not {alone.name for _, alone in strikes_alone()} & {case.name for case in CASES}


def test_a_change_plays_only_strikes_of_cases_that_have_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "chaos.json"
    rows = {"power": {"outcome": "passed"}, "task": {"outcome": "failed"}}
    file.write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setattr(test_chaos, "FILE", file)
    given = test_chaos.single_strikes()
    assert {name for name, is_played in given.items() if is_played} == {"power.1", "power.2", "power.3"}
    assert set(given) == {alone.name for _, alone in strikes_alone()}


def test_what_a_change_plays_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, Path]] = []

    class Ground:
        def close(self) -> None:
            pass

    def play(_: Any, case: Case, journal: Path) -> Verdict:
        played.append((case.name, journal))
        return verdict(ATTACHED)

    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path))
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(test_chaos, "ChaosWorld", Ground)
    monkeypatch.setattr(test_chaos, "play", play)
    before = results.FILE.read_bytes()
    test_chaos.test_what_is_struck_is_safe_in_time_and_converges(World(), "power.1")
    assert played == [("power.1", tmp_path / "chaos/ci/power.1.jsonl")]
    assert results.FILE.read_bytes() == before


def test_the_policy_differs_from_the_labs_in_what_its_comment_says() -> None:
    chaos, lab = (
        yaml.safe_load((PROJECT / path / "lab.yaml").read_text(encoding="utf-8"))
        for path in ("lab/chaos/clusters", "lab/clusters")
    )
    assert {key for key in chaos.keys() | lab.keys() if chaos.get(key) != lab.get(key)} == {"etcd_latency"}
    assert "schedule" in chaos
    assert chaos["schedule"] is None


# Moments


def task(name: str = UPGRADE, state: str = "running", number: int = 1) -> TaskSeen:
    return TaskSeen("id-1", name, -1, state, number)


MANIFESTS = {"etcd.yaml": "a", "kube-apiserver.yaml": "b", "kube-controller-manager.yaml": "c"}


def scene(*tasks: TaskSeen, cordoned: Iterable[str] = ("cp1",), **cp1: Any) -> Scene:
    node = replace(NodeSeen(manifests=MANIFESTS), **cp1)
    return Scene(tasks, {"cp1": node, "w1": NodeSeen()}, {"cp1": MANIFESTS}, frozenset(cordoned))


KUBEADM = frozenset({7})
NEW_ETCD = {**MANIFESTS, "etcd.yaml": "A"}
NEW_API = {**NEW_ETCD, "kube-apiserver.yaml": "B"}
NEW_NEXT = {**NEW_API, "kube-controller-manager.yaml": "C"}


@pytest.mark.parametrize(
    ("seen", "moments"),
    [
        (scene(task(), kubeadm=KUBEADM), set()),  # kubeadm has changed nothing yet
        (scene(task(), kubeadm=KUBEADM, manifests=NEW_ETCD), {Moment.ETCD_STEP}),
        (scene(task(), kubeadm=KUBEADM, manifests=NEW_API), {Moment.APISERVER_STEP}),
        (scene(task(), kubeadm=KUBEADM, manifests=NEW_NEXT), set()),
        (scene(task(), manifests=NEW_ETCD), set()),  # left by an earlier night, no kubeadm
        (scene(task(state="up_for_retry"), kubeadm=KUBEADM, manifests=NEW_ETCD), set()),
        (scene(task(f"{SLOT}.drain_node")), {Moment.DRAIN}),
        (scene(task(f"{SLOT}.drain_node"), cordoned=()), set()),
        (
            scene(task(f"{SLOT}.upgrade_kubelet"), jobs=frozenset({"kubelet-upgrade"}), dpkg=True),
            {Moment.KUBELET_PACKAGE},
        ),
        (scene(task(f"{SLOT}.upgrade_kubelet"), jobs=frozenset({"kubelet-upgrade"})), set()),
        (scene(task(f"{SLOT}.upgrade_kubelet"), dpkg=True), set()),
        (scene(task("stage"), jobs=frozenset({"stage"}), cordoned=()), {Moment.BEFORE_DRAIN}),
        (scene(task("stage"), cordoned=()), set()),
        (scene(task(f"{SLOT}.verify_node")), {Moment.BEFORE_UNCORDON}),
        (scene(task("release")), {Moment.TEARDOWN}),
        (scene(task(f"{SLOT}.check_etcd", "deferred")), {Moment.GATE}),
        (scene(task(f"{SLOT}.check_etcd", "running")), set()),
        (scene(task("workers.wave_01.drain_node")), set()),  # another place
    ],
)
def test_a_moment_is_told_from_all_others(seen: Scene, moments: set[Moment]) -> None:
    assert {m for m in Moment if find(Strike(Fault.TASK, m), seen)} == moments


def test_a_moment_names_its_task_and_node() -> None:
    found = find(Strike(Fault.TASK, Moment.ETCD_STEP), scene(task(), kubeadm=KUBEADM, manifests=NEW_ETCD))
    assert found is not None
    assert (found.task.id, found.node) == ("id-1", "cp1")


def test_places_have_their_gates() -> None:
    assert task_id(Strike(Fault.TRIGGERER, Moment.GATE, "workers.wave_02")) == "workers.check_etcd_02"
    assert task_id(Strike(Fault.TRIGGERER, Moment.GATE, "gates")) == "gates.etcd_latency"


# What observers read


def entry(**fields: Any) -> str:
    return json.dumps({"__REALTIME_TIMESTAMP": "1700000000500000", "_BOOT_ID": "b1", **fields})


UNIT = {"SYSLOG_IDENTIFIER": "systemd", "UNIT": "nightshift-kubeadm-upgrade.service"}


@pytest.mark.parametrize(
    ("message_id", "what"),
    [
        ("39f53479d3a045ac8e11786248231fbf", "started"),
        ("7ad2d189f7e94e70a38c781354912448", "ended"),
        ("d9b373ed55a64feb8242e02dbe79a49c", "ended"),
    ],
)
def test_systemds_own_messages_tell_when_a_job_ran(message_id: str, what: str) -> None:
    event = journal_event("cp1", entry(**UNIT, MESSAGE_ID=message_id))
    assert event == Event(
        1700000000.5, "unit", {"node": "cp1", "unit": "kubeadm-upgrade", "what": what, "boot": "b1"}
    )


@pytest.mark.parametrize(
    "line",
    [
        entry(**UNIT, MESSAGE_ID="ae8f7b866b0347b9af31fe1c80b127c0"),  # "Consumed 1s CPU time"
        entry(SYSLOG_IDENTIFIER="systemd", UNIT="kubelet.service", MESSAGE_ID="39f53479d3a045ac8e11786248231fbf"),
        entry(SYSLOG_IDENTIFIER="systemd", UNIT="kubelet-upgrade", MESSAGE_ID="39f53479d3a045ac8e11786248231fbf"),
        pytest.param(
            entry(**{**UNIT, "UNIT": "nightshift-recorder.service"}, MESSAGE_ID="39f53479d3a045ac8e11786248231fbf"),
            id="the recorder beside a job only looks",
        ),
        entry(SYSLOG_IDENTIFIER="sudo", MESSAGE="pam_unix(sudo:session): session closed for user root"),
        '{"__REALTIME',
    ],
)  # fmt: skip
def test_other_lines_of_a_nodes_journal_are_none(line: str) -> None:
    assert journal_event("cp1", line) is None


def test_every_step_of_a_node_is_a_job() -> None:
    script = (PROJECT / "include/scripts/node/lib/jobs.sh").read_text(encoding="utf-8")
    steps = re.search(r"^readonly STEPS=\((.*)\)$", script, re.MULTILINE)
    assert steps is not None
    assert set(JOBS) == set(steps[1].split())


def test_sudo_tells_what_was_asked_of_a_node() -> None:
    said = "nightshift : PWD=/x ; USER=root ; COMMAND=/usr/local/lib/nightshift/nightshift-node start-job stage 4 r"
    event = journal_event("w1", entry(SYSLOG_IDENTIFIER="sudo", MESSAGE=said))
    assert event is not None
    assert (event.kind, event["verb"], event["step"]) == ("command", "start-job", "stage")


@pytest.mark.parametrize("cursor", ["-", "s=ab;i=1f;b=cd"])
def test_sudo_tells_from_where_a_job_was_read(cursor: str) -> None:
    said = (
        f"nightshift : USER=root ; COMMAND=/usr/local/lib/nightshift/nightshift-node job-poll stage {cursor}"
    )
    event = journal_event("w1", entry(SYSLOG_IDENTIFIER="sudo", MESSAGE=said))
    assert event is not None
    assert event.data == {"node": "w1", "verb": "job-poll", "step": "stage", "cursor": cursor}


@pytest.mark.parametrize(
    ("line", "lease"),
    [
        ("7       nightshift-a/lab/r1 (recovery)", ("nightshift-a/lab/r1 (recovery)", 7)),
        ("7       ", ("", 7)),
        ("7       <none>", ("", 7)),
        ("<none>  <none>", ("", 0)),
    ],
)
def test_a_line_of_the_lease(line: str, lease: tuple[str, int]) -> None:
    assert lease_of(line) == lease


def test_only_an_upgrade_counts_as_kubeadm_at_work() -> None:
    seen = node_seen(
        [
            (7, "kubeadm", ["kubeadm", "upgrade", "apply"]),
            (8, "kubeadm", ["kubeadm", "version"]),
            (9, "stage", []),
        ],
        {},
    )
    assert (seen.kubeadm, seen.jobs, seen.dpkg) == ({7}, {"stage"}, False)


def test_a_try_keeps_airflows_own_times() -> None:
    row = {"task_id": "release", "map_index": -1, "try_number": 2, "state": "success"}
    fields = attempt_fields(RUN, {**row, "end_date": "1970-01-01T00:01:40+00:00"})
    assert (fields["number"], fields["ended"]) == (2, 100.0)


# The judge


def event(at: float, kind: str, **fields: Any) -> Event:
    return Event(at, kind, fields)


def unit(at: float, node: str, step: str, what: str, boot: str = "b1") -> Event:
    return event(at, "unit", node=node, unit=step, what=what, boot=boot)


def node(at: float, name: str, *kubeadm: int) -> Event:
    return event(at, "node", node=name, on=True, jobs=[], kubeadm=list(kubeadm), dpkg=False, manifests={})


def struck(at: float, strike: Strike) -> Event:
    return event(
        at, "strike", number=0, fault=strike.fault.value, moment=strike.moment.value, place=strike.place,
        run=RUN, task=UPGRADE, map=-1, attempt=1, node="cp1",
    )  # fmt: skip


def attempt(at: float, number: int = 2, until: float | None = None, task: str = UPGRADE) -> Event:
    return event(at, "attempt", run=RUN, task=task, map=-1, number=number, ended=until, state="success")


def ended(at: float, run: str = RUN, state: str = "success", answer: str | None = "upgraded") -> Event:
    return event(at, "night", run=run, what="ended", state=state, answer=answer, note="")


def kubelets(at: float) -> list[Event]:
    made = []
    for number, name in enumerate(("w1", "w2")):
        made += [
            unit(at + 4 * number, name, "kubelet-upgrade", "started"),
            unit(at + 4 * number + 2, name, "kubelet-upgrade", "ended"),
        ]
    return made


TARGET = event(400, "target", reached=True, versions=dict.fromkeys(("cp1", "w1", "w2"), "v1.35.4"))
OPENING = [
    event(0, "cordons", names=[]), event(0, "gauge", known=True, value=0.0), event(0, "api", ready=True),
    node(0, "cp1"), node(0, "w1"), event(10, "night", run=RUN, what="began"),
    event(12, "lease", holder=HOLDER, token=1), event(12, "gauge", known=True, value=1.0),
    event(50, "cordons", names=["cp1"]), unit(51, "cp1", "kubeadm-upgrade", "started"), node(52, "cp1", 7),
    event(51, "command", node="cp1", verb="start-job", step="kubeadm-upgrade"),
]  # fmt: skip
CP1_DONE = [node(150, "cp1"), unit(150, "cp1", "kubeadm-upgrade", "ended")]
CP1_KUBELET = [unit(160, "cp1", "kubelet-upgrade", "started"), unit(165, "cp1", "kubelet-upgrade", "ended")]
TASK = Strike(Fault.TASK, Moment.ETCD_STEP)
ATTACHED = [
    *OPENING, struck(60, TASK), attempt(72),
    event(74, "command", node="cp1", verb="start-job", step="kubeadm-upgrade"),
    *CP1_DONE, *CP1_KUBELET, event(170, "cordons", names=[]), *kubelets(180),
    event(200, "lease", holder="", token=2), event(200, "gauge", known=True, value=0.0), ended(201), TARGET,
]  # fmt: skip


def verdict(events: Iterable[Event], strike: Strike = TASK) -> Verdict:
    return judge(Case("one", 1, (strike,)), list(events))


def test_a_retry_that_attaches_in_time_passes() -> None:
    made = verdict(ATTACHED)
    assert made.problems == []
    assert (made.outcomes[0].how, made.outcomes[0].seconds) == ("attached", 14)


def looks(*moments: tuple[float, str]) -> list[Event]:
    """Polls of kubeadm on cp1, with the cursor each asks from."""
    return [
        event(at, "command", node="cp1", verb="job-poll", step="kubeadm-upgrade", cursor=cursor)
        for at, cursor in moments
    ]


LATE_START = [e if e.at != 74 else replace(e, at=140) for e in ATTACHED]  # the API was away until then


def test_a_retry_that_follows_its_job_before_it_may_start_one_has_attached() -> None:
    zombie = looks((59, "s=1"), (61, "s=1"), (72.5, "s=1"))  # the process that was struck, still alive
    made = verdict([*LATE_START, *zombie, *looks((73, "-"), (74.5, "s=1"))])
    assert made.problems == []
    assert made.outcomes[0].seconds == 14.5


@pytest.mark.parametrize(
    "polls",
    [
        pytest.param([], id="nobody looks"),
        pytest.param([(73, "-")], id="it looks and goes away"),
        pytest.param([(73, "s=1"), (75, "s=1")], id="somebody else who follows it already"),
        pytest.param([(61, "-"), (62, "s=1")], id="before its try began"),
    ],
)
def test_a_look_is_no_attaching(polls: list[tuple[float, str]]) -> None:
    made = verdict([*LATE_START, *looks(*polls)])
    assert any("after 80.0 s, and 30 s were allowed" in p for p in made.problems), made


CLEAR = Strike(Fault.CLEAR, Moment.ETCD_STEP)


def cleared(*api: tuple[float, bool], claimed: float | None = 95.0) -> list[Event]:
    """A running task is cleared at 60; `claim` runs anew from 66, the task's next try attaches at 110."""
    setup = event(66, "attempt", run=RUN, task="claim", map=-1, number=2, ended=claimed, state="success")
    return [
        *(e for e in ATTACHED if e.kind not in ("strike", "attempt") and e.at != 74),
        struck(60, CLEAR), setup, attempt(100), *(event(at, "api", ready=ready) for at, ready in api),
        event(110, "command", node="cp1", verb="start-job", step="kubeadm-upgrade"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        pytest.param(cleared((55, False), (90, True)), 20, id="away when it is cleared"),
        pytest.param(cleared((55, False), (70, True), (72, False), (90, True)), 20, id="away twice"),
        pytest.param(cleared((55, False), (90, True), (97, False), (108, True)), 20, id="away again after claim"),
        pytest.param(cleared((55, False), (97, True)), 15, id="claim is through before it is ready"),
        pytest.param(cleared(), 50, id="the API was there: the clear counts"),
        pytest.param(cleared((40, False), (58, True)), 50, id="back before the clear"),
        pytest.param(cleared((55, False), (90, True), claimed=None), 50, id="claim has not ended"),
    ],
)  # fmt: skip
def test_after_a_clear_the_setup_task_may_wait_for_the_api(events: list[Event], seconds: float) -> None:
    made = verdict(events, CLEAR)
    assert made.outcomes[0].seconds == seconds
    assert made.has_passed is (seconds <= 30), made.problems


def test_the_setup_task_may_need_two_tries_for_it() -> None:
    second = event(90, "attempt", run=RUN, task="claim", map=-1, number=3, ended=95, state="success")
    api = (55, False), (70, True), (82, False), (92, True)
    made = verdict([*cleared(*api, claimed=80.0), second], CLEAR)
    assert made.outcomes[0].seconds == 18


def test_only_a_clear_waits_for_the_api() -> None:
    task_died = [e if e.kind != "strike" else struck(60, TASK) for e in cleared((55, False), (90, True))]
    assert verdict(task_died).outcomes[0].seconds == 50


def without(*kinds: str) -> Mutation:
    return lambda events: [e for e in events if e.kind not in kinds]


def plus(*more: Event) -> Mutation:
    return lambda events: [*events, *more]


def only(keep: Callable[[Event], bool], *more: Event) -> Mutation:
    return lambda events: [*filter(keep, events), *more]


BROKEN: dict[str, tuple[Mutation, str]] = {
    "two kubeadm on one node": (plus(node(60, "cp1", 7, 8)), "kubeadm ran 2 times at once"),
    "kubeadm on two control planes": (plus(node(60, "cp2", 9)), "kubeadm ran on cp1, cp2 at once"),
    "a job started twice": (
        plus(unit(75, "cp1", "kubeadm-upgrade", "started")),
        "kubeadm-upgrade was started while kubeadm-upgrade ran",
    ),
    "another job beside it": (
        plus(unit(75, "cp1", "kubelet-upgrade", "started"), unit(76, "cp1", "kubelet-upgrade", "ended")),
        "kubelet-upgrade was started while kubeadm-upgrade ran",
    ),
    "jobs on two control planes": (
        plus(unit(75, "cp2", "kubeadm-upgrade", "started"), unit(76, "cp2", "kubeadm-upgrade", "ended")),
        "was started while cp1 was being upgraded",
    ),
    "two control planes cordoned": (
        plus(event(80, "cordons", names=["cp1", "cp2"]), event(81, "cordons", names=["cp1"])),
        "cp1, cp2 were cordoned at once",
    ),
    "the token fell": (plus(event(80, "lease", holder=HOLDER, token=0)), "token fell from 1 to 0"),
    "a foreign cordon was lifted": (
        plus(event(13, "foreign", node="w2", what="placed"), event(14, "cordons", names=["w2"])),
        "w2 was uncordoned, and not by the person",
    ),
    "the node's journal is silent": (without("unit"), "nothing of kind 'unit' was seen"),
    "a worker's journal is silent": (
        only(lambda e: not (e.kind == "unit" and e["node"] == "w2")),
        "the journal of w2 names no kubelet-upgrade",
    ),
    "nobody watched the cordons": (without("cordons"), "nothing of kind 'cordons' was seen"),
    "nobody read the gauge": (without("gauge"), "nothing of kind 'gauge' was seen"),
    "the end was not reached": (without("target"), "did not end on target"),
    "not on target": (
        only(lambda e: e.kind != "target", event(400, "target", reached=False, versions={"cp1": "v1"})),
        "did not end on target",
    ),
    "a cordon is left": (plus(event(300, "cordons", names=["w1"])), "did not end safe"),
    "the gauge is left": (plus(event(300, "gauge", known=True, value=1.0)), "did not end safe"),
    "the gauge is unknown": (plus(event(300, "gauge", known=False, value=None)), "did not end safe"),
    "a holder is left": (plus(event(300, "lease", holder=HOLDER, token=3)), "did not end safe"),
    "the retry attaches late": (
        only(lambda e: not (e.kind == "command" and e.at == 74), event(91, "command", node="cp1", verb="start-job", step="kubeadm-upgrade")),
        "after 31.0 s, and 30 s were allowed",
    ),
    "the retry never asks the node": (
        only(lambda e: not (e.kind == "command" and e.at == 74)), "never asked the node for kubeadm-upgrade"
    ),
    "there is no retry": (without("attempt"), "no other try followed"),
    "the moment did not come": (without("strike"), "its moment did not come"),
    "the run ends red": (only(lambda e: e.kind != "night" or e["what"] == "began", ended(201, state="failed", answer="failed")), "its run ended failed"),
    "Airflow is green and the ledger is not": (only(lambda e: e.kind != "night" or e["what"] == "began", ended(201, answer="partial")), "answer partial"),
    "the run does not end": (only(lambda e: e.kind != "night" or e["what"] == "began"), "its run did not end"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_never_passed(name: str) -> None:
    mutate, words = BROKEN[name]
    problems = verdict(mutate(ATTACHED)).problems
    assert any(words in problem for problem in problems), problems


def test_a_component_that_dies_needs_no_retry() -> None:
    strike = Strike(Fault.TRIGGERER, Moment.ETCD_STEP)
    events = [e for e in ATTACHED if e.kind not in ("attempt", "strike")]
    made = verdict([*events, struck(60, strike)], strike)
    assert (made.problems, made.outcomes[0].how) == ([], "went on")


def test_a_deferred_task_that_goes_on_is_no_other_try() -> None:
    events = [e for e in ATTACHED if e.kind != "attempt"]
    assert any("no other try followed" in p for p in verdict([*events, attempt(72, number=1)]).problems)


def test_a_foreign_cordon_that_stays_is_safe() -> None:
    events = [
        replace(e, data={"names": sorted([*e["names"], "w2"])}) if e.kind == "cordons" else e
        for e in ATTACHED
    ]
    made = verdict([*events, event(1, "foreign", node="w2", what="placed")])
    assert made.problems == []


def test_a_job_that_went_with_the_power_is_no_second_one() -> None:
    lost = [
        e
        for e in ATTACHED
        if not (e.kind == "unit" and e["unit"] == "kubeadm-upgrade" and e["what"] == "ended")
    ]
    again = [
        replace(e, data={**e.data, "boot": "b2"}) if e.kind == "unit" and e.at > 100 else e for e in lost
    ]
    assert any("while kubeadm-upgrade ran" in p for p in verdict(lost).problems)
    assert verdict(again).problems == []


MARKED = Strike(Fault.RUN_FAILED, Moment.ETCD_STEP)
NEXT_NIGHT = [
    event(200, "night", run="manual__2", what="began"), event(205, "lease", holder="x/lab/2", token=4),
    event(205, "gauge", known=True, value=1.0), *[replace(e, at=e.at + 50) for e in CP1_KUBELET], *kubelets(240),
    event(300, "lease", holder="", token=4), event(300, "gauge", known=True, value=0.0),
    ended(301, run="manual__2"), TARGET,
]  # fmt: skip


def marked(safe: float = 160.0, api_back: float | None = None) -> list[Event]:
    """Marked as failed at 60, kubeadm ends at 150, the cluster is safe at `safe`."""
    away = [event(api_back - 9, "api", ready=False), event(api_back, "api", ready=True)] if api_back else []
    return [
        *OPENING, struck(60, MARKED), event(61, "lease", holder=f"{HOLDER} (recovery)", token=2), *CP1_DONE, *away,
        event(safe - 1, "cordons", names=[]), event(safe - 1, "gauge", known=True, value=0.0),
        event(safe, "lease", holder="", token=2), ended(safe + 1, answer="partial"), *NEXT_NIGHT,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("safe", "api_back", "seconds", "is_fine"),
    [(160, None, 10, True), (181, None, 31, False), (195, 170, 25, True), (198, 160, 38, False)],
)
def test_safe_is_counted_from_what_outlived_the_run(
    safe: float, api_back: float | None, seconds: float, is_fine: bool
) -> None:
    made = verdict(marked(safe, api_back), MARKED)
    assert made.outcomes[0].seconds == seconds
    assert made.has_passed is is_fine, made.problems


def test_a_task_that_raises_has_half_the_time() -> None:
    strike = Strike(Fault.JOB, Moment.ETCD_STEP)
    for safe, is_fine in ((164, True), (166, False)):
        events = [e for e in marked(safe) if e.kind != "strike"]
        assert verdict([*events, struck(60, strike)], strike).has_passed is is_fine


RAISED = Strike(Fault.JOB, Moment.ETCD_STEP)


@pytest.mark.parametrize(
    ("tries", "seconds"),
    [
        pytest.param([attempt(40, 1, until=170)], 10, id="it saved evidence before it raised"),
        pytest.param([attempt(40, 1, until=190)], 0, id="safe before it raised"),
        pytest.param([attempt(40, 1, until=140)], 30, id="its job ended after it"),
        pytest.param([attempt(40, 1)], 30, id="it has not ended"),
        pytest.param([attempt(170, 2, until=175)], 30, id="another try"),
        pytest.param([attempt(40, 1, until=170, task="stage")], 30, id="another task"),
        pytest.param([], 30, id="its end was not seen"),
    ],
)
def test_a_raise_is_counted_from_the_end_of_the_struck_try(tries: list[Event], seconds: float) -> None:
    events = [e for e in marked(180) if e.kind != "strike"]
    made = verdict([*events, struck(60, RAISED), *tries], RAISED)
    assert made.outcomes[0].seconds == seconds
    assert made.has_passed is (seconds <= 15), made.problems


def test_only_a_killed_job_waits_for_the_end_of_its_try() -> None:
    assert verdict([*marked(180), attempt(40, 1, until=170)], MARKED).outcomes[0].seconds == 30


def test_what_begins_after_the_death_does_not_lengthen_the_bound() -> None:
    late = [unit(170, "w1", "stage", "started"), unit(180, "w1", "stage", "ended")]
    made = verdict([*marked(185), *late], MARKED)
    assert made.outcomes[0].seconds == 35


def test_safe_for_a_moment_is_not_safe() -> None:
    back = [event(165, "cordons", names=["cp1"]), event(199, "cordons", names=[])]
    made = verdict([*marked(160), *back], MARKED)
    assert made.outcomes[0].seconds == 49
    assert not made.has_passed


def test_not_safe_before_the_next_night_is_a_problem() -> None:
    events = [
        e for e in marked(160) if not (e.kind == "gauge" and e.at < 200 and e["value"] == 0.0 and e.at > 12)
    ]
    assert any("not safe before the next night" in p for p in verdict(events, MARKED).problems)


HOST = Strike(Fault.EVERYTHING, Moment.ETCD_STEP)


def test_a_host_that_comes_back_may_go_on_or_give_back() -> None:
    over = event(100, "over", number=0)
    resumed = verdict(
        [e if e.kind != "strike" else struck(60, HOST) for e in [*ATTACHED, over, attempt(130)]
         if not (e.kind == "attempt" and e.at == 72)]
        + [event(135, "command", node="cp1", verb="start-job", step="kubeadm-upgrade")],
        HOST,
    )  # fmt: skip
    assert (resumed.problems, resumed.outcomes[0].how, resumed.outcomes[0].seconds) == ([], "resumed", 35)
    given_back = verdict([over, *(e if e.kind != "strike" else struck(60, HOST) for e in marked(190))], HOST)
    assert (given_back.problems, given_back.outcomes[0].how, given_back.outcomes[0].seconds) == (
        [],
        "recovered",
        40,
    )


def test_a_host_that_does_not_come_back_proves_nothing() -> None:
    events = [e if e.kind != "strike" else struck(60, HOST) for e in marked(190)]
    assert any("did not come back" in p for p in verdict(events, HOST).problems)


def test_a_try_lost_in_an_outage_counts_from_its_end() -> None:
    strike = Strike(Fault.SSH, Moment.ETCD_STEP)
    events = [e if e.kind != "strike" else struck(30, strike) for e in ATTACHED]
    made = verdict([*events, event(60, "over", number=0)], strike)
    assert (made.problems, made.outcomes[0].seconds) == ([], 14)


SECOND = Strike(Fault.SECOND_AIRFLOW, Moment.ETCD_STEP)
DUPLICATE = Strike(Fault.DUPLICATE, Moment.ETCD_STEP)


def second(
    strike: Strike,
    at: float = 75.0,
    state: str = "success",
    answer: str = "held",
    note: str = f"Somebody is at this cluster: {HOLDER}",
) -> list[Event]:
    known = {"number": 0, "run": "other", "owner": "nightshift-b" if strike is SECOND else "other"}
    return [
        *(e if e.kind != "strike" else struck(60, strike) for e in ATTACHED if e.kind != "attempt"),
        event(at - 5, "second", **known, what="at work"),
        event(at, "second", **known, what="ended", state=state, answer=answer, note=note),
    ]


def test_a_second_run_is_refused_politely() -> None:
    made = verdict(second(SECOND), SECOND)
    assert (made.problems, made.outcomes[0].how, made.outcomes[0].seconds) == ([], "refused", 15)
    later = verdict(second(DUPLICATE, 230, answer="nothing", note="Nothing newer."), DUPLICATE)
    assert later.problems == []


def assert_told(words: str, strike: Strike, events: list[Event]) -> None:
    problems = verdict(events, strike).problems
    assert any(words in p for p in problems), problems


@pytest.mark.parametrize(
    ("strike", "events", "words"),
    [
        (SECOND, second(SECOND, state="failed", answer="blind"), "ended failed, its answer was blind"),
        (SECOND, second(SECOND, answer="nothing"), "its answer was nothing"),
        (SECOND, second(SECOND, note="Held."), "does not say who"),
        (SECOND, [*second(SECOND), event(70, "lease", holder="nightshift-b/lab/other", token=2)], "it took the Lease"),
        (SECOND, [e for e in second(SECOND) if e.kind != "second"], "did not end"),
        (DUPLICATE, second(DUPLICATE, answer="nothing"), "ran beside the first run"),
    ],
)  # fmt: skip
def test_a_second_run_that_is_not_refused_politely_is_a_problem(
    strike: Strike, events: list[Event], words: str
) -> None:
    assert_told(words, strike, events)


BLIND_NOTE = "open_night failed (API_UNREACHABLE): The API server does not answer."
AWAY = [event(55, "api", ready=False), event(90, "api", ready=True)]
BACK = [event(40, "api", ready=False), event(58, "api", ready=True)]  # before the strike


def blind(strike: Strike, *api: Event, note: str = BLIND_NOTE) -> list[Event]:
    return [*second(strike, state="failed", answer="blind", note=note), *api]


def test_a_second_airflow_that_could_not_ask_may_end_blind() -> None:
    made = verdict(blind(SECOND, *AWAY), SECOND)
    assert (made.problems, made.outcomes[0].how, made.outcomes[0].seconds) == ([], "blind", 15)
    later = verdict(blind(SECOND, event(65, "api", ready=False), event(68, "api", ready=True)), SECOND)
    assert later.problems == []


@pytest.mark.parametrize(
    ("strike", "events", "words"),
    [
        pytest.param(SECOND, blind(SECOND), "its answer was blind", id="the API was there"),
        pytest.param(SECOND, blind(SECOND, *BACK), "its answer was blind", id="the API was back"),
        pytest.param(
            SECOND, blind(SECOND, event(77, "api", ready=False), event(90, "api", ready=True)), "its answer was blind",
            id="the API went away afterwards",
        ),
        pytest.param(SECOND, blind(SECOND, *AWAY, note="open_night failed (NODE_UNREACHABLE)"), "its answer was blind", id="another code"),
        pytest.param(
            SECOND, [*second(SECOND, state="failed", answer="failed", note=BLIND_NOTE), *AWAY], "its answer was failed",
            id="another answer",
        ),
        pytest.param(
            SECOND, [*blind(SECOND, *AWAY), event(70, "lease", holder="nightshift-b/lab/other", token=2)],
            "it took the Lease", id="it took something",
        ),
        pytest.param(DUPLICATE, blind(DUPLICATE, *AWAY), "its answer was blind", id="a duplicate has no such excuse"),
    ],
)  # fmt: skip
def test_blindness_is_an_excuse_only_for_who_could_not_ask(
    strike: Strike, events: list[Event], words: str
) -> None:
    assert_told(words, strike, events)


def test_a_run_that_a_later_strike_ends_need_not_end_green() -> None:
    case = Case("two", 1, (replace(TASK, moment=Moment.APISERVER_STEP), MARKED))
    first = [struck(55, TASK), attempt(57), event(58, "command", node="cp1", verb="start-job", step="kubeadm-upgrade")]  # fmt: skip
    later = [
        replace(e, data={**e.data, "number": 1, "attempt": 2}) if e.kind == "strike" else e for e in marked()
    ]
    assert judge(case, [*first, *later]).problems == []


# Journals, results, pages


def test_a_journal_is_read_as_it_was_written_without_a_line_that_was_cut() -> None:
    lines = [e.line() + "\n" for e in ATTACHED]
    assert list(parse([*lines, '{"clock": "00:0'])) == ATTACHED
    assert lines[0].startswith('{"clock": "00:00:00.000", "at": 0')


def row(outcome: str, commit: str, made: Verdict) -> results.Row:
    return {
        "outcome": outcome, "seconds": 600.0, "commit": commit, "on": commit, "day": "2026-11-24",
        "profile": "small", "strikes": summary(made), "breaches": list(made.breaches),
    }  # fmt: skip


def test_what_passed_on_this_code_is_not_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "fingerprint", lambda: "today")
    good, bad = verdict(ATTACHED), verdict([*ATTACHED, node(60, "cp1", 7, 8)])
    case, other, third = CASES[:3]
    file = tmp_path / "chaos.json"
    results.keep(file, case, good, 600.0, "today")
    results.keep(file, third, bad, 600.0, "today")
    rows = results.load(file)
    assert results.due([case, other, third], rows, "today") == [other, third]
    assert results.due([case], rows, "tomorrow") == [case]
    assert results.due([case], rows, None) == [case]


@pytest.mark.parametrize(
    ("before", "after", "now"),
    [(None, None, None), ("old", "new", "old"), ("old", "new", "new"), (None, "new", "new")],
    ids=["never committed", "changed meanwhile", "changed meanwhile, asked later", "committed meanwhile"],
)
def test_what_was_not_the_same_code_all_the_time_is_never_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None, now: str | None
) -> None:
    file = tmp_path / "chaos.json"
    monkeypatch.setattr(results, "fingerprint", lambda: after)
    results.keep(file, CASES[0], verdict(ATTACHED), 600.0, before)
    assert results.due([CASES[0]], results.load(file), now) == [CASES[0]]


def test_what_came_of_a_case_ages_no_case() -> None:
    played_on = [*lab_results.PRODUCT, *(path for reads in lab_results.READS.values() for path in reads)]
    assert not any(results.FILE.is_relative_to(lab_results.ROOT / path) for path in played_on)


def test_pages_show_every_strike_and_what_is_broken() -> None:
    bad = verdict([*ATTACHED, node(60, "cp1", 7, 8), event(300, "cordons", names=["w1"])])
    played = [
        (CASES[0], row("passed", "abc", verdict(ATTACHED))),
        (CASES[1], row("failed", "abc", bad)),
    ]
    shown = pages.outcomes(played)
    assert "2 of 2 combinations ended as expected; promises broken at any time: 2" in shown
    assert "- **scheduler**: 00:01:00 cp1: kubeadm ran 2 times at once" in shown
    assert "| SIGKILL of the task process | kubeadm's etcd step | same run goes on | attached | 14.0 s | 30 s |" in shown  # fmt: skip
    assert "| SIGKILL of the task process | 2 | 14.0 s | 14.0 s | 30 s |" in pages.times(played)


def test_a_page_keeps_what_is_not_between_its_markers() -> None:
    page = f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n"
    assert pages.put(page, "new") == f"before\n{pages.BEGIN}\nnew\n{pages.END}\nafter\n"
    with pytest.raises(pages.NoMarkersError):
        pages.put("nothing here", "new")


@pytest.mark.parametrize("name", ["safety.md", "benchmarks.md"])
def test_the_pages_have_their_markers(name: str) -> None:
    page = (PROJECT / "docs" / name).read_text(encoding="utf-8")
    assert pages.put(page, "new") != page
