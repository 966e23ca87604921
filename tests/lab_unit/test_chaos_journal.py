"""Chaos: what observers and strikes write is what the judge reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos import strike
from chaos.catalogue import Case, Fault, Moment, Strike
from chaos.judge import judge
from chaos.observe import Journal, Observers, Stage, manifests_of, read_tries
from chaos.scene import Found, NodeSeen, TaskSeen
from chaos.strike import Blow, Ground
from chaos.timeline import Event, parse

RUN = "manual__1"
TASK = TaskSeen("id-1", "control_plane.slot_01.upgrade_node", -1, "running", 1)
FOUND = Found(TASK, "cp1")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "case.jsonl")
    yield made
    made.close()


class PaperWorld:
    """Writes down what is asked of lab and Airflow."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.facts = {"NSLAB_NODES": "cp1=control-plane", "NSLAB_API": "https://x"}

    @property
    def api(self) -> PaperWorld:
        return self

    def lab(self, *words: str) -> str:
        self.asked.append(" ".join(words))
        return ""

    def on_node(self, node: str, command: str) -> str:
        return self.lab(node, command)

    def mark_failed(self, dag: str, run_id: str) -> None:
        self.lab("failed", dag, run_id)

    def mark_task_failed(self, run_id: str, task: str, map_index: int) -> None:
        self.lab("failed", run_id, task, str(map_index))

    def clear(self, run_id: str, task: str, map_index: int) -> None:
        self.lab("cleared", run_id, task, str(map_index))

    # A second run

    def start(self) -> str:
        return "other"

    def run(self, run_id: str) -> dict[str, Any]:
        return {"state": "success", "end_date": "1970-01-01T00:03:20+00:00", "note": f"who: {RUN}"}

    def tasks(self, _dag: str, _run_id: str) -> list[dict[str, Any]]:
        return [{"start_date": None}, {"start_date": "1970-01-01T00:03:10+00:00"}]

    def ledger(self, _run_id: str) -> dict[str, Any]:
        return {"answer": "held"}

    def tries(self, run_id: str) -> list[dict[str, Any]]:
        known = {"task_id": TASK.task, "map_index": -1, "end_date": None, "state": "running"}
        return [{**known, "try_number": 2, "start_date": "2100-01-01T00:00:00+00:00"}]


class PaperKeeper:
    def __init__(self, world: PaperWorld) -> None:
        self.kill = lambda component: world.asked.append(f"kill {component}")


def hit(journal: Journal, one: Strike) -> tuple[Ground, PaperWorld]:
    world = PaperWorld()
    ground = Ground(world, PaperKeeper(world), journal)  # type: ignore[arg-type]  # on paper
    strike.strike(ground, Blow(0, one, FOUND, RUN))
    return ground, world


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strike.time, "sleep", lambda _seconds: None)


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (Fault.TRIGGERER, ["kill triggerer"]),
        (Fault.API_SERVER, ["kill api-server"]),
        (Fault.SSH, ["break ssh-cut cp1", "heal ssh-cut"]),
        (Fault.POWER, ["break node-power-off cp1", "heal node-power-off"]),
        (Fault.API, ["break api-down cp1", "heal api-down"]),
        (Fault.ETCD, ["break etcd-stopped cp1", "heal etcd-stopped"]),
        (Fault.JOB, ["cp1 systemctl kill -s KILL nightshift-kubeadm-upgrade.service"]),
        (Fault.RUN_FAILED, [f"failed upgrade_lab {RUN}"]),
        (Fault.TASK_FAILED, [f"failed {RUN} {TASK.task} -1"]),
        (Fault.CLEAR, [f"cleared {RUN} {TASK.task} -1"]),
    ],
)
def test_each_fault_is_done_as_it_is_called(journal: Journal, fault: Fault, asked: list[str]) -> None:
    _, world = hit(journal, Strike(fault, Moment.ETCD_STEP))
    assert world.asked == asked
    assert journal.events()[0].kind == "strike"


@pytest.mark.parametrize(("fault", "victim"), [(Fault.TASK, 42), (Fault.SUPERVISOR, 41)])
def test_a_task_and_its_supervisor_are_told_apart(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, fault: Fault, victim: int
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(strike, "task_process", {"id-1": 42}.__getitem__)
    monkeypatch.setattr(strike, "supervisor_of", {42: 41}.__getitem__)
    monkeypatch.setattr(strike, "_kill", killed.append)
    hit(journal, Strike(fault, Moment.ETCD_STEP))
    assert killed == [victim]


def test_an_orphans_parent_is_not_struck(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strike, "task_process", lambda _instance: os.getpid())  # pytest has no supervisor
    monkeypatch.setattr(strike, "_kill", lambda pid: pytest.fail(f"struck {pid}"))
    with pytest.raises(LookupError, match="no supervisor any more"):
        hit(journal, Strike(Fault.SUPERVISOR, Moment.ETCD_STEP))
    assert journal.events() == []


def test_the_judge_finds_a_strike_its_end_and_its_next_try(journal: Journal, tmp_path: Path) -> None:
    one = Strike(Fault.SSH, Moment.DRAIN)
    hit(journal, one)
    read_tries(PaperWorld(), [RUN], journal)  # type: ignore[arg-type]  # on paper
    events = list(parse((tmp_path / "case.jsonl").read_text().splitlines(keepends=True)))
    assert [e.kind for e in events] == ["strike", "over", "note", "attempt"]
    outcome = judge(Case("one", 1, (one,)), events).outcomes[0]
    assert outcome.how == "attached"
    assert outcome.seconds is not None
    assert outcome.seconds > 10**9  # the paper's next try comes in 2100


def test_a_second_run_is_followed_with_airflows_own_times(journal: Journal) -> None:
    one = Strike(Fault.DUPLICATE, Moment.ETCD_STEP)
    ground, _ = hit(journal, one)
    for thread in ground.followers:
        thread.join(5)
    seen = [e for e in journal.events() if e.kind == "second"]
    assert [(e["what"], e["owner"]) for e in seen] == [
        ("began", "other"),
        ("at work", "other"),
        ("ended", "other"),
    ]
    assert [e.at for e in seen[1:]] == [190, 200]
    outcome = judge(Case("one", 1, (one,)), journal.events()).outcomes[0]
    assert "a task of the second run ran beside the first run" in outcome.problems


def test_without_a_second_airflow_there_is_no_such_strike(journal: Journal) -> None:
    with pytest.raises(LookupError, match="no second Airflow"):
        hit(journal, Strike(Fault.SECOND_AIRFLOW, Moment.ETCD_STEP))


def stage(journal: Journal) -> Stage:
    return Stage(PaperWorld(), journal)  # type: ignore[arg-type]  # on paper


def test_only_what_changed_is_written(journal: Journal) -> None:
    seen = stage(journal)
    seen.follow(RUN)
    for _ in range(2):
        seen.see_cordons(frozenset())
        seen.see_in_flight(1.0, True)
        seen.see_node("cp1", NodeSeen(manifests={"etcd.yaml": "a" * 64}))
        seen.see_task(RUN, TASK, None)
    seen.see_task("another run", TASK, None)
    assert [e.kind for e in journal.events()] == ["cordons", "gauge", "node", "task"]


def test_a_stage_is_safe_when_all_three_say_so(journal: Journal) -> None:
    seen = stage(journal)
    seen.foreign = frozenset({"w2"})
    steps = [
        (lambda: None, False),  # nothing was seen yet
        (lambda: seen.see_cordons(frozenset({"w2"})), False),
        (lambda: seen.see_lease("", 3), False),
        (lambda: seen.see_in_flight(0.0, True), True),
        (lambda: seen.see_in_flight(None, False), False),
        (lambda: seen.see_in_flight(0.0, True), True),
        (lambda: seen.see_lease("somebody", 4), False),
    ]
    for act, is_safe in steps:
        act()
        assert seen.is_safe is is_safe
    seen.see_cordons(frozenset({"w1", "w2"}))
    assert seen.scene.cordoned == {"w1"}


def test_tasks_are_looked_at_more_often_while_a_short_moment_is_awaited(journal: Journal) -> None:
    seen = stage(journal)
    pause = {look.__name__: pause for pause, look in Observers(seen)._looks()}["_look_at_tasks"]
    assert pause() == 0.7
    with seen.awaiting(Moment.DRAIN):
        assert pause() == 0.7
    with seen.awaiting(Moment.TEARDOWN):
        assert pause() == 0.3
    assert pause() == 0.7


def test_each_look_waits_as_long_as_it_is_told_then(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, waited = iter([0.7, 0.3]), []

    class Ended:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) == 2

    observers = Observers(stage(journal))
    monkeypatch.setattr(observers, "_ended", Ended())
    observers._repeat(lambda: next(told), lambda: None)
    assert waited == [0.7, 0.3]


def test_a_baseline_is_what_was_there(journal: Journal) -> None:
    seen = stage(journal)
    seen.see_node("cp1", NodeSeen(manifests={"etcd.yaml": "a"}))
    seen.keep_baseline()
    assert not seen.scene.has_changed("cp1", "etcd.yaml")
    seen.see_node("cp1", NodeSeen(manifests={"etcd.yaml": "b"}))
    assert seen.scene.has_changed("cp1", "etcd.yaml")
    seen.see_node("cp1", NodeSeen(is_on=False))
    assert not seen.scene.has_changed("cp1", "etcd.yaml")


def test_manifests_are_read_from_the_nodes_disk(tmp_path: Path) -> None:
    directory = tmp_path / "etc/kubernetes/manifests"
    directory.mkdir(parents=True)
    assert manifests_of(tmp_path) == {}
    (directory / "etcd.yaml").write_text("one")
    before = manifests_of(tmp_path)
    (directory / "etcd.yaml").write_text("two")
    assert before.keys() == {"etcd.yaml"}
    assert manifests_of(tmp_path) != before


def test_many_threads_write_whole_lines(journal: Journal, tmp_path: Path) -> None:
    def tell() -> None:
        for number in range(50):
            journal.tell("lease", holder="x" * 200, token=number)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(parse((tmp_path / "case.jsonl").read_text().splitlines(keepends=True)))
    assert len(events) == 200
    assert all(isinstance(e, Event) for e in events)
