"""The comparison: what is timed, what counts as waiting, which requests count, and that the page keeps what is not its own."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench import compare, disk_waits, spent, tables
from bench.cordons import Cordons
from bench.runs import PHASES, NodeTimes, Run, keep, load
from nslab.nodes import state
from nslab.probe import Request
from nslab.settings import PROFILES
from nslab.shell import LabError


def node(name: str, kind: str, seconds: float, **phases: float) -> NodeTimes:
    return NodeTimes(
        name, kind, seconds, {phase: phases.get(phase.replace(" ", "_"), 0.0) for phase in PHASES}
    )


RUN = Run(
    side="bash",
    pair=1,
    origin="2026-11-24 at commit `abc`",
    wall=200.0,
    gates=0.0,
    whole=210.0,
    api_requests=600,
    api_failed=3,
    api_gap=0.9,
    web_requests=600,
    web_failed=1,
    web_gap=0.6,
    nodes=(
        node("cp1", "first control plane", 120.0, kubeadm_upgrade=90.0, drain=30.0),
        node("w1", "workers", 40.0, kubelet=30.0, verify=9.0),
        node("w2", "workers", 39.0, kubelet=30.0, verify=9.0),
    ),
)
DAG = replace(RUN, side="dag", wall=310.0, gates=100.0)


def seen(*observations: tuple[float, bool]) -> Cordons:
    cordons = Cordons()
    for at, cordoned in observations:
        cordons.see(at, cordoned)
    return cordons


@pytest.mark.parametrize(
    ("observations", "wall"),
    [
        ([(1, False), (2, True), (9, False)], 7),
        (
            [(2, True), (5, False), (6, True), (20, False), (21, False)],
            18,
        ),  # free for a moment between two nodes
    ],
)
def test_wall_is_first_cordon_to_last_uncordon(observations: list[tuple[float, bool]], wall: float) -> None:
    cordons = seen(*observations)
    assert cordons.complete
    assert cordons.last_uncordon - cordons.first_cordon == wall


@pytest.mark.parametrize("observations", [[(1, False)], [(1, True)], [(1, True), (2, False), (3, True)]])
def test_unfinished_watch_is_refused(observations: list[tuple[float, bool]]) -> None:
    with pytest.raises(LabError, match="pair 1, dag: no node was cordoned"):
        compare.require_cordons("pair 1, dag", seen(*observations))


def request(at: float, ok: bool = True, target: str = "api") -> Request:
    return Request(at, target, "u", ok, 1.0)


def test_failures_outside_the_upgrade_do_not_count() -> None:
    asked = [request(50, ok=False), *(request(100 + n) for n in range(100)), request(300, ok=False)]
    web = [
        request(at=120, target="web"),
        request(at=121, ok=False, target="web"),
        request(at=122, target="web"),
    ]
    own = compare.Spent(12.0, RUN.nodes)
    made = compare.assemble("dag", 2, "today", seen((110, True), (160, False)), 90.0, [*asked, *web], own)
    assert (made.wall, made.net, made.api_failed, made.web_failed, made.web_gap) == (50.0, 38.0, 0, 1, 2.0)
    assert made.nodes == RUN.nodes


# What the sides say of themselves

SCRIPT = """first-cordon 1000.0
cp2 drain 10.0 1000.1
cp2 kubeadm-package 5.0 1010.2
cp2 kubeadm-upgrade 60.0 1015.3
cp2 kubelet 8.0 1075.4
cp2 verify 2.0 1083.4
cp2 uncordon 0.2 1085.5
last-uncordon 1085.7
"""


def test_the_script_says_where_its_time_went(tmp_path: Path) -> None:
    result = tmp_path / "phases.txt"
    result.write_text(SCRIPT + SCRIPT.replace("cp2", "cp1") + SCRIPT.replace("cp2", "w1"))
    nodes = spent.of_script(result, ["cp1", "cp2"])
    assert [(n.name, n.kind) for n in nodes] == [
        ("cp2", "first control plane"),
        ("cp1", "other control planes"),
        ("w1", "workers"),
    ]
    assert nodes[0].phases["kubeadm upgrade"] == 60.0
    assert (nodes[0].seconds, round(nodes[0].between, 1)) == (85.6, 0.4)


def test_a_script_that_did_not_say_everything_is_refused(tmp_path: Path) -> None:
    result = tmp_path / "phases.txt"
    result.write_text(SCRIPT.replace("cp2 verify", "cp2 look"))
    with pytest.raises(LabError, match=r"cp2: nothing is said about the time of verify"):
        spent.of_script(result, ["cp2"])


def ledger_node(name: str, began: str | None, seconds: float | None) -> dict[str, Any]:
    steps = dict.fromkeys(("drain", "kubeadm_package", "kubeadm", "kubelet", "verify", "uncordon"), 10.0)
    return {"name": name, "began": began, "seconds": seconds, "steps": steps if seconds else {}}


def entry(**changes: Any) -> dict[str, Any]:
    gate = {"task": "t", "began": "1970-01-01T00:17:00.250+00:00", "ended": "1970-01-01T00:17:30.750+00:00"}
    plain = {
        "started": "1970-01-01T00:10:00+00:00",  # 600
        "finished": "1970-01-01T00:30:00+00:00",  # 1800
        "answer": "upgraded",
        "sentence": "3 of 3 nodes run 1.35.4.",
        "node_gates": [gate],  # 1020.25 to 1050.75
        "nodes": [
            ledger_node("cp1", "1970-01-01T00:18:00.000+00:00", 70.0),
            ledger_node("cp2", "1970-01-01T00:16:40.000+00:00", 61.0),
            ledger_node("w1", "1970-01-01T00:20:00.000+00:00", 62.0),
            ledger_node("w9", None, None),
        ],
    }
    return {**plain, **changes}


def test_the_ledger_says_where_the_dags_time_went_in_the_order_of_time() -> None:
    nodes = spent.of_ledger(entry(), ["cp1", "cp2"])
    assert [(n.name, n.kind, n.between) for n in nodes] == [
        ("cp2", "first control plane", 1.0),
        ("cp1", "other control planes", 10.0),
        ("w1", "workers", 2.0),
    ]
    assert set(nodes[0].phases) == set(PHASES)


def test_a_ledger_of_an_older_nightshift_is_refused() -> None:
    old = entry(nodes=[{"name": "cp1", "seconds": 70.0}])
    with pytest.raises(LabError, match=r"cp1: nothing is said.*\n.*older Nightshift"):
        spent.of_ledger(old, ["cp1"])
    del old["node_gates"]
    with pytest.raises(LabError, match="does not say when its gates were waited for"):
        spent.waited_at_gates(old, seen((1000, True), (1100, False)))


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [
        ([], 0),
        ([(0, 10)], 0),  # before the first cordon
        ([(90, 110)], 10),
        ([(190, 230)], 10),
        ([(0, 900)], 100),
        ([(120, 140), (130, 150), (125, 135)], 30),  # a second between two gates counts once
        ([(150, 160), (110, 120)], 20),
    ],
)
def test_only_waiting_between_the_cordons_counts(
    intervals: list[tuple[float, float]], seconds: float
) -> None:
    assert spent.covered(intervals, 100, 200) == seconds


def test_the_waiting_is_exact_to_the_tenth() -> None:
    assert spent.waited_at_gates(entry(), seen((1000, True), (1100, False))) == 30.5


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    directory = tmp_path / "ledger"
    directory.mkdir()
    early = entry(started="1970-01-01T00:00:00+00:00", finished="1970-01-01T00:09:00+00:00", sentence="early")
    (directory / "19700101T000000Z-a.json").write_text(json.dumps(early))
    (directory / "19700101T001000Z-b.json").write_text(json.dumps(entry()))
    return directory


def test_the_entry_is_that_of_the_night_the_cordons_were_seen_in(ledger: Path) -> None:
    assert spent.find_entry(ledger, seen((1000, True), (1100, False))) == entry()
    assert spent.find_entry(ledger, seen((10, True), (20, False)))["sentence"] == "early"
    assert spent.find_entry(ledger, seen((1000, True), (1800.6, False))), "`finished` is cut to whole seconds"


@pytest.mark.parametrize("cordons", [((550, True), (700, False)), ((1000, True), (1900, False))])
def test_a_run_without_an_entry_is_refused(ledger: Path, cordons: tuple[tuple[float, bool], ...]) -> None:
    with pytest.raises(LabError, match=r"no entry in .*\n.*--dag-ledger"):
        spent.find_entry(ledger, seen(*cordons))


def test_a_night_that_did_not_upgrade_is_refused(ledger: Path) -> None:
    (ledger / "19700101T001000Z-b.json").write_text(
        json.dumps(entry(answer="partial", sentence="w1 failed."))
    )
    with pytest.raises(LabError, match=r"says partial: w1 failed\."):
        spent.find_entry(ledger, seen((1000, True), (1100, False)))


def test_the_script_has_no_gates_and_needs_no_ledger(tmp_path: Path) -> None:
    phases = tmp_path / "phases.txt"
    phases.write_text(SCRIPT.replace("cp2", "cp1"))
    said = compare.spent_by("bash", phases, tmp_path / "none", seen((1, True), (2, False)), PROFILES["small"])
    assert (said.gates, [n.name for n in said.nodes]) == (0.0, ["cp1"])


# How a run is made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(compare, "_call", lambda command, extra, log=None: made.append(command))
    monkeypatch.setattr(compare, "_reset", lambda: made.append("reset"))
    monkeypatch.setattr(compare.time, "sleep", lambda seconds: made.append(f"rest {seconds:.0f} s"))
    return made


@pytest.mark.parametrize(
    ("side", "expected"),
    [("bash", ["stop", "reset", "rest 60 s"]), ("dag", ["stop", "reset", "rest 60 s", "start"])],
)
def test_no_airflow_is_at_a_reset_or_beside_the_script(
    calls: list[str], side: str, expected: list[str]
) -> None:
    compare._prepare(side, argparse.Namespace(before_each="stop", settle=60.0, dag_prepare="start"))
    assert calls == expected


@pytest.mark.parametrize("bad", [0, 2, 3])
def test_a_run_that_does_not_count_is_made_again_and_said(monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    answers = [LabError("a gate said no", "read output.log")] * bad + [DAG]

    def measure(*_: Any) -> Run:
        answer = answers.pop(0)
        if isinstance(answer, LabError):
            raise answer
        return answer

    monkeypatch.setattr(compare, "measure", measure)
    if bad == compare.RUN_ATTEMPTS:
        with pytest.raises(LabError, match="a gate said no"):
            compare._measured("dag", 1, argparse.Namespace(), PROFILES["small"])
        return
    made = compare._measured("dag", 1, argparse.Namespace(), PROFILES["small"])
    assert made == replace(DAG, discarded=bad)
    told = f"did not end on the target: {bad} of the Nightshift DAG." in tables.render([RUN, made])
    assert told is bool(bad)


def test_the_demo_has_the_options_that_are_used_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from nsdemo.__main__ import _parser

    monkeypatch.setattr(compare.sys, "argv", ["compare.py"])
    options = compare._arguments()
    for command in (options.before_each, options.dag_prepare, options.dag_command):
        program, word, *rest = command.split()
        assert (program, word) == ("./nightshift", "demo")
        _parser().parse_args(rest)


def test_a_lab_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "current", lambda: state.Lab("ha"))
    assert compare._fresh_profile() == PROFILES["ha"]
    monkeypatch.setattr(state, "current", lambda: state.Lab("ha", "1.34.2"))
    with pytest.raises(LabError, match=r"starts from 1\.34\.2.*\n.*--profile ha"):
        compare._fresh_profile()


# What is shown


def test_ratio_is_made_of_complete_pairs_only_and_without_gates() -> None:
    runs = [RUN, DAG, replace(RUN, pair=2, wall=100.0)]
    assert tables.pair_ratios(runs, lambda run: run.net) == [1.05]
    shown = tables.render(runs)
    assert "**1.05** (1.05–1.05) without gates; 1.55 (1.55–1.55) with the 100 s" in shown


def test_tables_with_one_side_have_no_ratio() -> None:
    assert "Ratio" not in tables.render([RUN])
    assert tables.render([]) == "Nothing has been measured yet."


def rows(shown: str) -> dict[str, list[str]]:
    table = shown.partition("Where the time goes:")[2]
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")
    ]
    return {first: rest for first, *rest in cells}


def test_where_the_time_goes_adds_up() -> None:
    slower = replace(DAG, pair=2, wall=330.0)
    found = rows(tables.render([RUN, DAG, slower]))
    assert found["seconds, medians"] == [
        f"{kind}: {side}"
        for kind in ("first control plane", "2 workers", "all nodes")
        for side in ("bash script", "Nightshift DAG")
    ]
    assert found["kubelet"] == ["0.0", "0.0", "60.0", "60.0", "60.0", "60.0"]
    assert found["between steps"] == ["0.0", "0.0", "1.0", "1.0", "1.0", "1.0"]
    assert found["nodes together"] == ["120.0", "120.0", "79.0", "79.0", "199.0", "199.0"]
    assert found["between nodes"] == ["", "", "", "", "1.0", "21.0"]
    assert found["wall without gates"] == ["", "", "", "", "200.0", "220.0"]


def test_nothing_is_less_than_zero_by_rounding() -> None:
    assert rows(tables.render([replace(RUN, wall=198.96)]))["between nodes"][-1] == "0.0"


# What is kept


def test_runs_survive_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    keep(results, RUN)
    results.write_text(results.read_text() + '{"side": "da')
    assert load(results) == [RUN]


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    "row",
    [
        without(asdict(RUN), "gates"),
        without(asdict(RUN), "nodes"),
        {
            **asdict(RUN),
            "nodes": [{"name": "cp1", "kind": "workers", "seconds": 1.0, "phases": {"drain": 1.0}}],
        },
        {**asdict(RUN), "more": 1},
    ],
)
def test_rows_of_an_older_comparison_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    results = tmp_path / "runs.jsonl"
    results.write_text(json.dumps(row) + "\n")
    with pytest.raises(LabError, match=r"another version of this comparison.*\n.*--fresh"):
        load(results)


def test_the_page_says_when_and_of_what_each_run_was_made() -> None:
    said = compare._context([RUN, DAG, replace(RUN, origin="2026-11-25 at commit `def`")])
    assert "Measured 2026-11-24 at commit `abc`, 2026-11-25 at commit `def` on " in said


def test_page_keeps_its_text_and_the_other_profile(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nWords.\n\n<!-- ha: begin -->\nold ha\n<!-- ha: end -->\n\nMore words.\n")
    compare.write_page(page, "small", "small table", "with: x")
    compare.write_page(page, "ha", "new ha", "with: y")
    compare.write_page(page, "ha", "newer ha", "with: y")
    text = page.read_text()
    for kept in ("Words.", "More words.", "small table", "newer ha"):
        assert kept in text
    for gone in ("old ha", "new ha\n"):
        assert gone not in text


def test_every_wait_for_the_disk_counts_and_the_late_ones_are_told() -> None:
    line = disk_waits.summary([0.001] * 97 + [0.1, 0.101, 1.2], 60)
    assert line == (
        "100 writes in 60 s: median 1.0 ms, p99 1189 ms, longest 1200 ms; 2 took longer than 100 ms"
    )


def test_the_disk_is_waited_for_in_the_directory_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        disk_waits.os, "fdatasync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}"))
    )
    found = disk_waits.waits(tmp_path, 0.2)
    assert len(found) == len(synced) > 1
    assert all(path.startswith(str(tmp_path)) for path in synced)
    assert list(tmp_path.iterdir()) == []
