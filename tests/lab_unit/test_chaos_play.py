"""Chaos: the course of a case over a night on paper, and the keeper and the killers with processes that only sleep."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from tests.lab.world import ENDED

from chaos import ground, play, strike
from chaos import keeper as keeper_module
from chaos.catalogue import CASES, Case, Fault, Moment, Strike
from chaos.ground import ChaosWorld
from chaos.keeper import Keeper, sessions_of
from chaos.play import Missed, Player, is_unsettled
from chaos.scene import Found, Scene, TaskSeen
from chaos.strike import Blow
from nightshift.domain.codes import CODES
from nsdemo.processes import COMMANDS, end_sessions, in_sessions, process_table, running_pid
from nsdemo.settings import Home

MOMENTS = {
    Moment.DRAIN: "control_plane.slot_01.drain_node",
    Moment.BEFORE_UNCORDON: "control_plane.slot_01.verify_node",
    Moment.TEARDOWN: "release",
}


@dataclass
class PaperNight:
    """A world, a stage and a journal in one: each night goes through its moments one after the other.

    `nights` says what each night still has to offer; a strike that ends the run ends the night.
    """

    nights: list[list[Moment]]
    answers: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)  # of the gates that are shut, while there is one
    version: str = "v1.35.4"
    away: int = 0  # how many questions get no answer once a run's end was told
    is_end_told: bool = False
    awaited: list[Moment] = field(default_factory=list)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    begun: int = 0
    state: str = "none"
    tries: int = 1
    is_safe: bool = True

    # World and API

    @property
    def api(self) -> PaperNight:
        return self

    @property
    def followers(self) -> list[Any]:
        return []

    def await_airflow(self) -> None:
        pass

    def start(self) -> str:
        self.begun += 1
        self.state, self.is_safe, self.tries = "running", False, 1
        return f"night {self.begun}"

    def run(self, _dag: str, run_id: str) -> dict[str, Any]:
        if self.is_end_told and self.away:
            self.away -= 1
            raise httpx.ConnectError("no answer")
        self._go_on()
        self.is_end_told = self.state in ENDED
        if self.state == "lost":
            request = httpx.Request("GET", "http://x")
            raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(404, request=request))
        return {"state": self.state, "note": f"of {run_id}", "end_date": "2026-11-24T00:00:00+00:00"}

    def ledger(self, _run_id: str) -> dict[str, Any]:
        answer = self.answers.pop(0) if self.answers else "upgraded"
        return {"answer": answer, "gates": [gate(code) for code in self.codes if answer != "upgraded"]}

    def is_just_busy(self, run: dict[str, Any]) -> bool:
        return bool(run["ledger"]["answer"] == "blocked" and not self.codes)

    def kubelet_versions(self) -> dict[str, str]:
        return {"cp1": self.version}

    def _go_on(self) -> None:
        """Without a strike a night passes: its next moment, and in the end its end."""
        if self.state == "running" and self.nights[self.begun - 1]:
            self.nights[self.begun - 1].pop(0)
        elif self.state == "running":
            self.end("success")

    def end(self, state: str) -> None:
        self.state, self.is_safe = state, True

    # Stage and journal

    @property
    def world(self) -> PaperNight:
        return self

    @property
    def journal(self) -> PaperNight:
        return self

    @property
    def scene(self) -> Scene:
        moments = self.nights[self.begun - 1] if self.state == "running" else []
        if not moments:
            return Scene()
        task = TaskSeen("id", MOMENTS[moments[0]], -1, "running", self.tries)
        return Scene((task,), cordoned=frozenset({"cp1"}), nodes={"cp1": play_node()})

    @contextmanager
    def awaiting(self, moment: Moment) -> Iterator[None]:
        self.awaited.append(moment)
        yield

    def keep_baseline(self) -> None:
        pass

    def follow(self, run_id: str) -> None:
        pass

    def tell(self, kind: str, /, at: float | None = None, **fields: Any) -> None:
        self.told.append((kind, fields))

    def notes(self) -> list[str]:
        return [fields["text"] for kind, fields in self.told if kind == "note"]


def gate(code: str, outcome: str = "block") -> dict[str, str]:
    return {"code": code, "outcome": outcome}


def play_node() -> Any:
    from chaos.scene import NodeSeen

    return NodeSeen(manifests={"etcd.yaml": "a"})


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_CALM_SECONDS", 0.0), ("_POLL_SECONDS", 0.0), ("_SETTLE_SECONDS", 3.0)):
        monkeypatch.setattr(play, name, seconds)
    monkeypatch.setattr(Player, "_has_seen_all", lambda _self: True)
    ticks = iter(range(10**9))
    monkeypatch.setattr(play.time, "monotonic", lambda: next(ticks) * 0.5)
    monkeypatch.setattr(play.time, "sleep", lambda _seconds: None)


def course(
    monkeypatch: pytest.MonkeyPatch,
    paper: PaperNight,
    strikes: tuple[Strike, ...],
    hit: Callable[[Blow], None] = lambda blow: None,
) -> list[tuple[str, str]]:
    """Play; returns which night each strike met and at which moment."""
    met: list[tuple[str, str]] = []

    def act(_ground: Any, blow: Blow) -> None:
        hit(blow)
        met.append((blow.run_id, blow.strike.moment.value))
        if paper.nights[paper.begun - 1]:
            paper.nights[paper.begun - 1].pop(0)

    monkeypatch.setattr(play, "strike", act)
    Player(paper, Case("paper", 1, strikes), paper).play()  # type: ignore[arg-type]  # the paper is all three
    return met


ATTACH = (Strike(Fault.TASK, Moment.DRAIN), Strike(Fault.TASK, Moment.TEARDOWN))
RECOVER = Strike(Fault.RUN_FAILED, Moment.DRAIN)


def test_strikes_that_the_run_survives_share_its_night(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN, Moment.BEFORE_UNCORDON, Moment.TEARDOWN]])
    assert course(monkeypatch, paper, ATTACH) == [("night 1", "during drain"), ("night 1", "teardown")]
    assert paper.told[-1] == ("target", {"reached": True, "versions": {"cp1": "v1.35.4"}})


def test_a_strike_that_ends_the_run_is_followed_by_another_night(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN], []], answers=["partial", "upgraded"])
    met = course(monkeypatch, paper, (RECOVER,), lambda _blow: paper.end("failed"))
    assert met == [("night 1", "during drain")]
    nights = [(f["run"], f["what"]) for kind, f in paper.told if kind == "night"]
    assert nights == [
        ("night 1", "began"),
        ("night 1", "ended"),
        ("night 2", "began"),
        ("night 2", "ended"),
    ]


def test_no_night_begins_before_the_cluster_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN], []])

    def hit(_blow: Blow) -> None:
        paper.state, paper.is_safe = "failed", False

    with pytest.raises(Missed, match="a safe cluster after"):
        course(monkeypatch, paper, (RECOVER,), hit)
    assert paper.begun == 1


def test_a_host_that_is_back_goes_on_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN, Moment.DRAIN, Moment.TEARDOWN, Moment.TEARDOWN]])
    strikes = (Strike(Fault.EVERYTHING, Moment.DRAIN), Strike(Fault.EVERYTHING, Moment.TEARDOWN))

    def hit(_blow: Blow) -> None:
        paper.tries += 1

    met = course(monkeypatch, paper, strikes, hit)
    assert [night for night, _ in met] == ["night 1", "night 1"]


def test_another_try_is_no_excuse_where_the_run_was_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN, Moment.DRAIN]])

    def hit(_blow: Blow) -> None:
        paper.tries += 1

    with pytest.raises(Missed, match="a safe cluster after"):
        course(monkeypatch, paper, (RECOVER,), hit)


def test_a_run_that_airflow_has_lost_is_over_when_the_cluster_is_safe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paper = PaperNight([[Moment.DRAIN], []])
    course(monkeypatch, paper, (Strike(Fault.DATABASE, Moment.DRAIN),), lambda _blow: paper.end("lost"))
    ends = [f["state"] for kind, f in paper.told if kind == "night" and f["what"] == "ended"]
    assert ends == ["lost", "success"]


def test_a_moment_that_does_not_come_is_waited_for_in_three_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[], [], []], version="v1.34.4")
    with pytest.raises(Missed, match="during drain"):
        course(monkeypatch, paper, (RECOVER,))
    assert paper.begun == 3


def test_a_moment_that_no_further_night_can_have_ends_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.TEARDOWN]])

    def hit(_blow: Blow) -> None:
        paper.end("success")
        raise LookupError("no process runs")

    with pytest.raises(
        Missed, match=r"teardown, .* the cluster is on target: no further night has this moment"
    ):
        course(monkeypatch, paper, (Strike(Fault.TASK, Moment.TEARDOWN),), hit)
    assert paper.begun == 1
    assert paper.told[-1] == ("target", {"reached": True, "versions": {"cp1": "v1.35.4"}})


def test_the_stage_is_told_which_moment_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN, Moment.BEFORE_UNCORDON, Moment.TEARDOWN]])
    course(monkeypatch, paper, ATTACH)
    assert paper.awaited == [Moment.DRAIN, Moment.TEARDOWN]


def test_a_blocked_last_night_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.TEARDOWN], []], answers=["blocked", "upgraded"])
    course(monkeypatch, paper, (Strike(Fault.TASK, Moment.TEARDOWN),))
    assert paper.begun == 2


@pytest.mark.parametrize(
    ("answer", "code", "nights"),
    [
        ("blocked", "NODE_NOT_SETTLED", 2),
        ("blind", "ETCD_RESTARTED", 2),
        ("blocked", "ETCD_LEADER_CHANGED", 2),
        ("blocked", "MANIFEST_NOT_RUNNING", 2),
        ("blocked", "NODE_NOT_READY", 1),
    ],
)
def test_a_last_night_that_came_too_early_after_a_strike_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, answer: str, code: str, nights: int
) -> None:
    paper = PaperNight([[Moment.TEARDOWN], []], answers=[answer, "upgraded"], codes=[code])
    course(monkeypatch, paper, (Strike(Fault.TASK, Moment.TEARDOWN),))
    assert paper.begun == nights


@pytest.mark.parametrize(
    ("answer", "gates", "is_so"),
    [
        ("blocked", [gate("NODE_NOT_SETTLED"), gate("ETCD_SLOW")], True),
        ("blocked", [gate("NODE_NOT_SETTLED"), gate("ALERT_FIRING", "warn")], True),
        ("blocked", [gate("NODE_NOT_SETTLED"), gate("ALERT_FIRING")], False),
        ("blind", [gate("ETCD_RESTARTED", "blind")], True),
        ("blind", [gate("NODE_NOT_SETTLED"), gate("NODE_STATE_UNKNOWN", "blind")], False),
        ("blocked", [gate("NODE_NOT_SETTLED", "warn")], False),
        ("blocked", [gate("ETCD_SLOW")], False),  # the world tells that one
        ("blind", [], False),
        ("failed", [gate("NODE_NOT_SETTLED")], False),
    ],
)
def test_only_what_settles_by_itself_is_unsettled(answer: str, gates: list[Any], is_so: bool) -> None:
    assert is_unsettled({"ledger": {"answer": answer, "gates": gates}}) is is_so


def test_a_night_without_a_ledger_entry_is_not_unsettled() -> None:
    assert not is_unsettled({"ledger": None})


def test_what_is_unsettled_has_codes_of_the_product() -> None:
    assert play._UNSETTLED | play._BUSY <= CODES


def test_the_end_of_a_night_is_asked_for_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[]], away=2)
    course(monkeypatch, paper, ())
    assert paper.away == 0
    assert [fields["state"] for _kind, fields in paper.told if fields.get("what") == "ended"] == ["success"]


def test_what_ended_just_before_the_strike_is_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = PaperNight([[Moment.DRAIN], [Moment.DRAIN]], version="v1.34.4")

    def hit(blow: Blow) -> None:
        if paper.begun == 1:
            paper.end("success")
            raise LookupError("no process runs")

    assert course(monkeypatch, paper, (ATTACH[0],), hit) == [("night 2", "during drain")]
    assert any(note.startswith("too late for SIGKILL of the task process") for note in paper.notes())


def test_airflow_is_started_with_the_cases_own_heartbeat_time_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    for name in ("rest_airflow", "stop_airflow"):
        monkeypatch.setattr(ground, name, lambda *_arguments: None)
    world, told = ChaosWorld(), []
    world.facts = {"NSLAB_REGISTRY": "10.0.0.1:5000"}

    def fresh(_profile: str) -> None:
        told.append(world.airflow_settings()["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])

    monkeypatch.setattr(world, "fresh", fresh)
    monkeypatch.setattr(world, "kubectl", lambda *_arguments: "")
    for case in CASES:
        world.fresh_for(case)
    assert told == [str(case.heartbeat_seconds) for case in CASES]
    assert set(told) == {"12", "15", "20"}


# Processes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An installation whose components are shells with one sleeping child each, in a group of its own."""
    made = Home(tmp_path)
    made.pids.mkdir()
    started: list[int] = []

    def start(home: Home, name: str, _environment: object) -> None:
        script = "import os, time\nif os.fork() == 0:\n    os.setpgid(0, 0)\ntime.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        started.append(process.pid)
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (home.pids / name).write_text(f"{process.pid} {stat}\n")

    monkeypatch.undo()  # these tests wait for real
    monkeypatch.setattr(keeper_module, "start_component", start)
    for name in COMMANDS:
        start(made, name, None)
    yield made
    end_sessions(set(started))


def keeping(home: Home, told: list[tuple[str, str]]) -> Keeper:
    def tell(_kind: str, component: str, what: str) -> None:
        told.append((component, what))

    return Keeper(home, {}, 0.2, tell)


def wait(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def in_session(leader: int | None) -> set[int]:
    assert leader is not None
    return in_sessions({leader})


def test_a_component_that_dies_is_started_again_and_a_schedulers_tasks_live_on(home: Home) -> None:
    told: list[tuple[str, str]] = []
    with keeping(home, told) as keeper:
        before = {name: running_pid(home, name) for name in COMMANDS}
        wait(lambda: len(in_session(before["scheduler"])) == 2)
        keeper.kill("scheduler")
        wait(lambda: running_pid(home, "scheduler") not in (None, before["scheduler"]))
        assert len(in_session(before["scheduler"])) == 1
        assert told == [("scheduler", "died"), ("scheduler", "started")]
        assert {name: running_pid(home, name) for name in COMMANDS if name != "scheduler"} == {
            name: pid for name, pid in before.items() if name != "scheduler"
        }
    keeper.end_leftovers()
    wait(lambda: not in_session(before["scheduler"]))


def test_what_another_dead_component_left_is_ended_with_it(home: Home) -> None:
    with keeping(home, []) as keeper:
        before = running_pid(home, "api-server")
        assert before is not None
        wait(lambda: len(in_session(before)) == 2)
        keeper.kill("api-server")
        wait(lambda: running_pid(home, "api-server") not in (None, before))
        wait(lambda: not in_session(before))


def test_after_everything_was_killed_nothing_comes_back_before_its_time(home: Home) -> None:
    with keeping(home, []) as keeper:
        sessions = sessions_of(home)
        wait(lambda: all(len(in_session(leader)) == 2 for leader in sessions))
        assert len(keeper.kill_everything()) == 2 * len(COMMANDS)
        wait(lambda: not any(in_session(leader) for leader in sessions))
        time.sleep(0.6)
        assert sessions_of(home) == set()
        keeper.release()
        wait(lambda: len(sessions_of(home)) == len(COMMANDS))


@pytest.mark.parametrize("is_there", [True, False])
def test_only_what_was_killed_was_struck(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    paper = PaperNight([[]])
    ground_ = strike.Ground(cast(Any, None), cast(Any, None), cast(Any, paper))
    blow = Blow(0, ATTACH[0], Found(TaskSeen("id-7", "drain_node", -1, "running", 1)), "night 1")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        if not is_there:
            process.kill()
            process.wait()
        monkeypatch.setattr(strike, "task_process", lambda instance: process.pid)
        try:
            with nullcontext() if is_there else pytest.raises(LookupError, match="ended a moment ago"):
                strike.strike(ground_, blow)
        finally:
            process.kill()
    assert [kind for kind, _fields in paper.told if kind == "strike"] == ["strike"] * is_there


def test_a_component_that_does_not_run_cannot_be_killed(home: Home) -> None:
    keeper = keeping(home, [])
    pid = keeper.kill("triggerer")
    wait(lambda: pid not in process_table())
    with pytest.raises(LookupError, match="triggerer does not run"):
        keeper.kill("triggerer")


def test_a_tasks_process_is_found_by_its_title_and_its_supervisor_is_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(strike, "_PROCESS_SECONDS", 5.0)
    script = "import time; from setproctitle import setproctitle; setproctitle('airflow worker -- id-7'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        try:
            assert strike.task_process("id-7") == process.pid
            assert process_table()[process.pid][0] == os.getpid()
        finally:
            process.kill()
    monkeypatch.setattr(strike, "_PROCESS_SECONDS", 0.1)
    with pytest.raises(LookupError, match="no process of task instance id-7"):
        strike.task_process("id-7")


@pytest.mark.parametrize("title", ["airflow worker -- LocalExecutor: a task", "some subreaper"])
def test_an_orphans_parent_is_no_supervisor(monkeypatch: pytest.MonkeyPatch, title: str) -> None:
    monkeypatch.undo()
    script = (
        "import os, sys, time; from setproctitle import setproctitle; pid = os.fork()\n"
        "if pid: setproctitle(sys.argv[1]); print(pid, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", script, title]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            task = int(process.stdout.readline())
            if "LocalExecutor" in title:
                assert strike.supervisor_of(task) == process.pid
            else:
                with pytest.raises(LookupError, match=f"parent {process.pid} is 'some subreaper'"):
                    strike.supervisor_of(task)
        finally:
            end_sessions({process.pid})


def test_a_process_that_is_gone_has_no_supervisor() -> None:
    with pytest.raises(LookupError):
        strike.supervisor_of(2**22 + 1)


def test_a_blow_names_what_it_found() -> None:
    found = Found(TaskSeen("id", "release", -1, "running", 1))
    assert Blow(0, ATTACH[0], found, "r").found.node == ""
