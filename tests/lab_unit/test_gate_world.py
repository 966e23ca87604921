"""The judge of the gates' lab cases, without a lab."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, etcd_text, make_session
from tests.lab import gate_round, gate_world, test_gates
from tests.lab.gate_cases import GateCase
from tests.lab.gate_world import (
    CLUSTER_FILE,
    GateWorld,
    RoundSaid,
    ask_until,
    changed_policy,
    collect_cases,
    not_as_said,
    not_healthy,
)

from nightshift.clients.cluster_config import load_cluster
from nightshift.domain.facts import PackageFacts
from nightshift.domain.gates import GATES
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Answer

HEALTHY = {"a": ("pass", "OK"), "b": ("pass", "OK"), "c": ("warn", "OLD")}
CASE = GateCase(
    "one", (("node-off", "w1"), ("node-off", "w2")), "a", "block", "BAD", ("w1", "3 %"), {"b": "blind"}
)


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where GateWorld puts its files, so that nothing stays behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def verdict(gate: str, outcome: str, code: str = "OK", message: str = "") -> dict[str, Any]:
    return {"gate": gate, "outcome": outcome, "code": code, "message": message}


def said(*verdicts: dict[str, Any], detected: str = "go") -> RoundSaid:
    found = {"answer": detected, "sentence": "what it says"}
    return RoundSaid.from_dict(
        {"verdicts": verdicts, "seconds": 70.0, "round_seconds": 2.0, "detected": found}
    )


AS_SAID = (
    verdict("a", "block", "BAD", "w1 has 3 %"),
    verdict("b", "blind", "AWAY"),
    verdict("c", "warn", "OLD"),
)


def test_a_round_as_the_case_has_it() -> None:
    assert not_as_said(CASE, HEALTHY, said(*AS_SAID)) == []


@pytest.mark.parametrize(
    ("index", "instead", "problem"),
    [
        (0, verdict("a", "blind", "BAD", "w1 has 3 %"), "a says blind"),
        (0, verdict("a", "block", "OTHER", "w1 has 3 %"), "a says block (OTHER)"),
        (0, verdict("a", "block", "BAD", "w1 is bad"), "does not name ['3 %']"),
        (0, verdict("z", "pass"), "a was not asked"),
        (1, verdict("b", "pass"), "b says pass (OK), expected blind"),
        (2, verdict("c", "pass"), "c says pass (OK), expected warn"),
        (2, verdict("c", "block", "OLD"), "c says block (OLD), expected warn"),
        (2, verdict("c", "warn", "NEW"), "c says warn (NEW)"),
    ],
)
def test_a_round_that_says_something_else(index: int, instead: dict[str, Any], problem: str) -> None:
    verdicts = [*AS_SAID]
    verdicts[index] = instead
    assert any(problem in found for found in not_as_said(CASE, HEALTHY, said(*verdicts)))


def test_what_target_detection_says_is_part_of_a_case() -> None:
    problem = "the target: blind, expected go: what it says"
    assert not_as_said(CASE, HEALTHY, said(*AS_SAID, detected="blind")) == [problem]
    assert not_healthy(said(verdict("a", "pass"), detected="blind")) == [problem]
    blind = replace(CASE, detected="blind")
    assert not_as_said(blind, HEALTHY, said(*AS_SAID, detected="blind")) == []
    assert not_as_said(blind, HEALTHY, said(*AS_SAID)) == ["the target: go, expected blind: what it says"]


def test_healthy_means_that_every_gate_passes() -> None:
    assert not_healthy(said(verdict("a", "pass"))) == []
    assert len(not_healthy(said(verdict("a", "pass"), verdict("b", "warn"), verdict("c", "blind")))) == 2


@pytest.mark.parametrize(("rounds", "asked"), [(0, 1), (2, 3), (100, 5)])
def test_it_is_asked_until_it_is_right_or_the_time_is_over(rounds: int, asked: int) -> None:
    now = [0.0]
    answers: list[RoundSaid] = []

    def ask() -> RoundSaid:
        answers.append(said(verdict("a", "block" if len(answers) < rounds else "pass")))
        return answers[-1]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    _, left = ask_until(ask, not_healthy, 20, lambda: now[0], sleep)
    assert len(answers) == asked
    assert bool(left) is (rounds == 100)


def test_a_policy_is_changed_section_by_section(tmp_path: Path) -> None:
    text = changed_policy(
        CLUSTER_FILE.read_text(encoding="utf-8"), {"workers": {"waves": 5}, "disk": {"margin_percent": 30}}
    )
    (tmp_path / "lab.yaml").write_text(text)
    policy = load_cluster(tmp_path / "lab.yaml")
    assert (policy.workers.waves, policy.workers.stage_at_once, policy.disk.margin_percent) == (5, 1, 30)


def test_every_case_is_about_gates_that_there_are(tmp_path: Path) -> None:
    cases = collect_cases()
    names = [case.name for case in cases]
    assert len(names) == len(set(names))
    for case in cases:
        assert {case.gate, *case.dependants} <= set(GATES), case.name
        assert {case.outcome, *case.dependants.values()} <= {"pass", "warn", "hold", "block", "blind"}, (
            case.name
        )
        assert case.detected in {*Answer, gate_round.FAILED}, case.name
        assert not (case.no_window and "etcd_latency" in (case.gate, *case.dependants)), case.name
        text = changed_policy(CLUSTER_FILE.read_text(encoding="utf-8"), case.policy)
        (tmp_path / "lab.yaml").write_text(text)
        load_cluster(tmp_path / "lab.yaml")


def test_a_whole_round_asks_every_gate_of_the_night(tmp_path: Path, choice: dict[str, Any]) -> None:
    cluster = FakeCluster()
    session = make_session(cluster, tmp_path)
    first = [True]

    def busy(seconds: float) -> None:
        cluster.sleep(seconds)
        if first.pop() if first else False:  # quiet in the first window, then busy
            return
        for node in cluster.fakes.values():
            node.etcd = etcd_text(observations=500)

    session.sleep = busy
    found = gate_round.ask_all(session, is_quick=False, kept=choice)
    at_night = {gate.name for gate in GATES.values() if Moment.NIGHT in gate.moments}
    assert {v["gate"] for v in found["verdicts"]} == at_night
    etcd = next(v for v in found["verdicts"] if v["gate"] == "etcd_latency")
    assert etcd["outcome"] == "pass", "a quiet etcd is watched longer"
    assert found["choice"] == choice, "nobody offers anything, so the kept answer is asked about"
    assert found["detected"]["answer"] == "blind", "and what a night would say is said"
    quick = gate_round.ask_all(session, is_quick=True, kept=choice)
    assert {v["gate"] for v in quick["verdicts"]} == at_night - {"etcd_latency"}


def test_the_settle_window_alone_is_not_counted_as_work(
    tmp_path: Path, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster()
    session = make_session(cluster, tmp_path)

    def busy(seconds: float) -> None:
        cluster.sleep(seconds)
        for node in cluster.fakes.values():
            node.etcd = etcd_text(observations=cluster.now - 1_800_000_000 + 500)

    session.sleep = busy

    def slow(module: Any, name: str, seconds: float) -> None:
        asked = getattr(module, name)

        def take_time(*args: Any, **named: Any) -> Any:
            cluster.sleep(seconds)
            return asked(*args, **named)

        monkeypatch.setattr(module, name, take_time)

    light = gate_round.ask_all(session, is_quick=False, kept=choice)
    cluster.sleep(500)
    slow(gate_round, "detect_target", 7)
    slow(gate_round.gates, "check_disk_usage", 30)
    slow(gate_round.gates, "gather_etcd_samples", 2)
    found = gate_round.ask_all(session, is_quick=False, kept=choice)
    assert light["round_seconds"] < 1
    assert found["round_seconds"] == pytest.approx(light["round_seconds"] + 7 + 30 + 2 + 2, abs=0.5)
    assert found["seconds"] == pytest.approx(7 + 2 + 60 + 2, abs=1), (
        "disks are asked while the window is open"
    )


def test_a_window_goes_on_from_the_round_before(tmp_path: Path, choice: dict[str, Any]) -> None:
    cluster = FakeCluster()
    session = make_session(cluster, tmp_path)
    quick = gate_round.ask_all(session, is_quick=True, kept=choice)
    cluster.sleep(40)
    for node in cluster.fakes.values():
        node.etcd = etcd_text(observations=500)
    opened = json.loads(json.dumps(quick["sample"]))
    found = gate_round.ask_all(session, is_quick=False, kept=choice, opened=opened)
    etcd = next(v for v in found["verdicts"] if v["gate"] == "etcd_latency")
    assert (etcd["outcome"], etcd["evidence"]["cp1"]["window_seconds"]) == ("pass", pytest.approx(60, abs=1))
    assert found["seconds"] == pytest.approx(20, abs=1)


def test_a_target_that_is_found_is_the_one_that_is_asked_about(
    tmp_path: Path, choice: dict[str, Any]
) -> None:
    cluster = FakeCluster()
    for node in cluster.fakes.values():
        node.offers = {
            "1.34": PackageFacts("1.34", ("1.34.4-1.1",)),
            "1.35": PackageFacts("1.35", ("1.35.9-1.1",)),
        }
    found = gate_round.ask_all(make_session(cluster, tmp_path), is_quick=True, kept=choice)
    assert (found["detected"]["answer"], found["choice"]["target"]["version"]) == ("go", "1.35.9")


@pytest.fixture
def choice() -> dict[str, Any]:
    target = {
        "kind": "minor",
        "sentence": "1.34.4 to 1.35.4.",
        "version": "1.35.4",
        "package_version": "1.35.4-1.1",
        "minor": "1.35",
        "running": "1.34.4",
        "nodes_behind": ["cp1", "w1", "w2"],
    }
    return {"answer": "go", "sentence": "1.34.4 to 1.35.4.", "target": target}


class FakeWorld:
    """A lab that does what it is told; its rounds are given."""

    def __init__(self, home: Path, rounds: list[RoundSaid]) -> None:
        self.home = SimpleNamespace(path=home)
        self.facts: dict[str, str] = {}
        self.used = False
        self.done: list[str] = []
        self.asked: list[str] = []
        self.rounds = rounds

    def up(self, profile: str) -> None:
        self.done.append(f"up {profile}")

    def lab(self, *words: str) -> str:
        self.done.append(" ".join(words))
        return ""


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*rounds: RoundSaid) -> tuple[GateWorld, FakeWorld]:
        world = FakeWorld(tmp_path, list(rounds))
        made = GateWorld(world)  # type: ignore[arg-type]
        monkeypatch.setattr(gate_world, "enrol_lab", lambda home, facts: world.done.append("enrol"))
        monkeypatch.setattr(gate_world, "TURN_SECONDS", 0)
        monkeypatch.setattr(gate_world, "WINDOW_SECONDS", 0)
        monkeypatch.setattr(gate_world, "HEAL_SECONDS", 0)
        monkeypatch.setattr(gate_world, "READY_SECONDS", 0)

        def ask(policy: Any = None, *, is_quick: bool = False, goes_on: bool = False) -> RoundSaid:
            world.asked.append("quick" if is_quick else "goes on" if goes_on else "whole")
            return world.rounds.pop(0)

        monkeypatch.setattr(made, "ask", ask)
        return made, world

    return make


WELL = said(verdict("a", "pass"), verdict("b", "pass"), verdict("c", "pass"), verdict("etcd_latency", "pass"))
QUICK = said(verdict("a", "block", "BAD", "w1 has 3 %"), verdict("b", "blind", "AWAY"), verdict("c", "pass"))
BROKEN = said(*QUICK.verdicts.values(), verdict("etcd_latency", "pass"))
SLOW = said(*QUICK.verdicts.values(), verdict("etcd_latency", "block", "ETCD_SLOW"))


def test_a_case_breaks_asks_heals_and_asks_again(make_world: Any, tmp_path: Path) -> None:
    made, world = make_world(WELL, QUICK, BROKEN, WELL, QUICK, BROKEN, WELL)
    made.play(CASE)
    assert world.done == ["up small", "enrol", "break node-off w1", "break node-off w2", "heal node-off"]
    made.play(CASE)
    assert world.done.count("up small") == 1, "a cluster that is healthy again serves the next case"
    rows = [json.loads(line) for line in (tmp_path / "gate-cases.jsonl").read_text().splitlines()]
    assert [row["broken_closed"] for row in rows] == [["a", "b"]] * 2
    assert rows[0]["healed_ok"]
    assert (rows[0]["broken_round_seconds"], rows[0]["broken_detected"]) == (2.0, "go")


def test_etcds_window_is_asked_in_every_case(make_world: Any) -> None:
    made, world = make_world(WELL, QUICK, BROKEN, WELL)
    made.play(CASE)
    assert world.asked == ["whole", "quick", "goes on", "quick"]


def test_a_fault_that_makes_etcd_slow_and_does_not_say_so_fails(make_world: Any) -> None:
    made, world = make_world(WELL, QUICK, SLOW, WELL)
    with pytest.raises(AssertionError, match=r"etcd_latency says block \(ETCD_SLOW\)"):
        made.play(CASE)
    assert world.done[-1] == "heal node-off"


def test_a_disk_that_was_busy_for_a_window_gets_a_fresh_one(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, world = make_world(WELL, QUICK, SLOW, BROKEN, WELL)
    monkeypatch.setattr(gate_world, "WINDOW_SECONDS", 60)
    monkeypatch.setattr(gate_world, "_POLL_SECONDS", 0)
    made.play(CASE)
    assert world.asked == ["whole", "quick", "goes on", "whole", "quick"]


def test_a_round_that_is_wrong_without_a_window_waits_for_none(make_world: Any) -> None:
    made, world = make_world(WELL, WELL, WELL)
    with pytest.raises(AssertionError, match="a says pass"):
        made.play(CASE)
    assert world.asked == ["whole", "quick", "quick"]


def test_a_case_that_cannot_have_the_window_says_why(make_world: Any) -> None:
    made, world = make_world(WELL, QUICK, WELL)
    made.play(replace(CASE, no_window="nothing is written"))
    assert world.asked == ["quick", "quick", "quick"]


def test_etcds_own_cases_wait_for_the_window_at_once_and_after_healing(make_world: Any) -> None:
    slow = said(verdict("etcd_latency", "block", "ETCD_SLOW"), verdict("c", "pass"))
    well = said(verdict("etcd_latency", "pass"), verdict("c", "pass"))
    made, world = make_world(well, slow, well, well)
    made.play(GateCase("slow", (("etcd-slow", "200"),), "etcd_latency", "block", "ETCD_SLOW", ()))
    assert world.asked == ["whole", "whole", "quick", "whole"]


def test_a_case_that_fails_is_healed_all_the_same(make_world: Any) -> None:
    made, world = make_world(WELL, WELL, WELL)
    with pytest.raises(AssertionError, match="a says pass"):
        made.play(CASE)
    assert world.done[-1] == "heal node-off"


def test_a_cluster_that_does_not_come_back_is_not_used_again(make_world: Any) -> None:
    made, world = make_world(WELL, QUICK, BROKEN, BROKEN, WELL)
    with pytest.raises(AssertionError, match="after healing"):
        made.play(CASE)
    made.ready("small")
    assert world.done.count("up small") == 2


def test_a_round_that_breaks_shows_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = GateWorld(SimpleNamespace(home=None, airflow_settings=dict))  # type: ignore[arg-type]
    monkeypatch.setattr(gate_world, "airflow_environment", lambda home, extra: {})
    monkeypatch.setattr(
        gate_world.subprocess,
        "run",
        lambda *args, **named: subprocess.CompletedProcess(args, 1, "", "ConfigError: CONNECTION_MISSING"),
    )
    with pytest.raises(AssertionError, match="CONNECTION_MISSING"):
        made.ask()


def test_a_target_that_was_not_found_is_kept_for_no_later_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: dict[str, Any]
) -> None:
    made = GateWorld(SimpleNamespace(home=None, airflow_settings=dict))  # type: ignore[arg-type]
    commands: list[list[str]] = []
    answers = [
        {"answer": answer, "choice": choice | {"sentence": answer}, "sample": {"taken": taken}}
        for taken, answer in enumerate(("go", "blind"))
    ]

    def run(command: list[str], **named: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        answer = answers[len(commands) - 1]
        detected = {"answer": answer.pop("answer"), "sentence": ""}
        line = json.dumps(
            {"verdicts": [], "seconds": 1.0, "round_seconds": 1.0, "detected": detected, **answer}
        )
        return subprocess.CompletedProcess(command, 0, line, "")

    monkeypatch.setattr(gate_world, "airflow_environment", lambda home, extra: {})
    monkeypatch.setattr(gate_world.subprocess, "run", run)
    made.ask(is_quick=True)
    made.ask(goes_on=True)
    files = [Path(command[command.index("--choice") + 1]) for command in commands]
    assert files[0] == files[1]
    assert json.loads(files[0].read_text())["sentence"] == "go"
    assert ("--quick" in commands[0], "--opened" in commands[0]) == (True, False)
    assert ("--quick" in commands[1], "--opened" in commands[1]) == (False, True)
    sample = Path(commands[1][commands[1].index("--opened") + 1])
    assert json.loads(sample.read_text()) == {"taken": 1}


@pytest.mark.parametrize(("slow", "was_slow"), [(0, False), (1, False), (2, True)])
def test_a_round_is_the_disks_fault_when_etcd_counted_what_shuts_the_gate(slow: int, was_slow: bool) -> None:
    before = {"fsync": (1000, 990), "apply": (5000, 5000)}
    after = {"fsync": (1150, 990 + 150 - slow), "apply": (6000, 6000)}
    assert test_gates.was_slow(before, after) is was_slow
