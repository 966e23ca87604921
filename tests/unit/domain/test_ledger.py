from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nightshift.domain.incident.record import Incident
from nightshift.domain.ledger import (
    NOTE_LIMIT,
    Failure,
    LedgerEntry,
    NodeEntry,
    NodeGate,
    report_line,
    step_seconds,
    write_note,
)
from nightshift.domain.verdicts import Outcome, Verdict

GATE = NodeGate.from_verdict(
    "control_plane.slot_01.check_etcd",
    {
        "gate": "etcd_latency",
        "asked": {"etcd_latency": "pass", "node_health": "warn"},
        "outcome": "pass",
        "code": "OK",
        "value": "p99 in 4-8 ms",
        "threshold": "128 ms",
        "message": "not for the ledger",
        "nodes": ["cp1"],
        "began": 1_795_474_900.1254,
        "ended": 1_795_474_941.5,
    },
)
ENTRY = LedgerEntry(
    cluster="lab",
    run_id="scheduled__2026-11-23",
    started=1_795_474_800.0,
    finished=1_795_475_100.26,
    answer="upgraded",
    sentence="Upgraded 3 of 3 nodes from 1.34.4 to 1.35.4.",
    what_next="Nothing is newer; next check tomorrow 23:00 UTC",
    target={"version": "1.35.4"},
    gates=(Verdict("disk_usage", Outcome.PASS, "OK", "fine", value="40 %", threshold="83 %"),),
    node_gates=(GATE,),
    nodes=(NodeEntry("cp1", "1.34.4", "1.35.4", "upgraded", 1_795_474_942.75, 201.5, {"drain": 8.1}),),
    phase_seconds={"snapshot": 12.345},
    snapshot="file:///store/snapshot",
    evidence=("file:///store/evidence",),
)


def test_entry_is_complete_json() -> None:
    data = json.loads(json.dumps(ENTRY.to_dict()))
    assert data["started"] == "2026-11-23T23:00:00+00:00"
    assert data["seconds"] == 300.3
    assert data["gates"][0]["threshold"] == "83 %"
    assert data["gates"][0]["outcome"] == "pass"
    assert data["nodes"][0] == {
        "name": "cp1",
        "from_version": "1.34.4",
        "to_version": "1.35.4",
        "outcome": "upgraded",
        "began": "2026-11-23T23:02:22.750+00:00",
        "seconds": 201.5,
        "steps": {"drain": 8.1},
    }
    assert data["node_gates"][0] == {
        "task": "control_plane.slot_01.check_etcd",
        "nodes": ["cp1"],
        "began": "2026-11-23T23:01:40.125+00:00",
        "ended": "2026-11-23T23:02:21.500+00:00",
        "seconds": 41.4,
        "gate": "etcd_latency",
        "asked": {"etcd_latency": "pass", "node_health": "warn"},
        "outcome": "pass",
        "code": "OK",
        "value": "p99 in 4-8 ms",
        "threshold": "128 ms",
        "look_again": "",
    }
    assert data["phase_seconds"] == {"snapshot": 12.3}
    assert data["snapshot"] == "file:///store/snapshot"
    assert data["evidence"] == ["file:///store/evidence"]
    assert data["target"]["version"] == "1.35.4"
    assert set(data) >= {"cluster", "run_id", "finished", "answer", "sentence", "what_next"}


def test_a_node_that_was_not_touched_has_no_times() -> None:
    node = NodeEntry("w2", "1.34.4", "1.34.4", "tomorrow").to_dict()
    assert (node["began"], node["seconds"], node["steps"]) == (None, None, {})


@pytest.mark.parametrize(
    ("kubeadm", "expected"),
    [
        ({"began": 10.0, "ended": 70.04}, {"kubeadm": 60.0}),
        ({"began": 10.0, "ended": 70.0, "package_seconds": None}, {"kubeadm": 60.0}),
        (
            {"began": 10.0, "ended": 70.0, "package_seconds": 4.5},
            {"kubeadm": 55.5, "kubeadm_package": 4.5},
        ),
        # The task attached to a job that was nearly done.
        (
            {"began": 10.0, "ended": 13.0, "package_seconds": 4.5},
            {"kubeadm": 0.0, "kubeadm_package": 3.0},
        ),
    ],
)
def test_the_package_is_told_apart_from_kubeadm(
    kubeadm: dict[str, float], expected: dict[str, float]
) -> None:
    drain = {"began": 1.0, "ended": 9.0}
    assert step_seconds({"drain": drain, "kubeadm": kubeadm}) == {"drain": 8.0, **expected}


@pytest.mark.parametrize(
    ("sentence", "what_next", "note"),
    [
        ("Upgraded to 1.35.4.", "Nothing to do", "Upgraded to 1.35.4. Nothing to do."),
        (
            "etcd on cp1 is slow. Disk of w1 is full. ",
            "Free the disk. Then wait.",
            "etcd on cp1 is slow; Disk of w1 is full. Free the disk; Then wait.",
        ),
    ],
)
def test_note_is_exactly_two_sentences(sentence: str, what_next: str, note: str) -> None:
    assert write_note(replace(ENTRY, sentence=sentence, what_next=what_next)) == note


def test_a_note_says_when_the_schedule_looks_again() -> None:
    entry = replace(ENTRY, sentence="A gate refused.", what_next="Free the disk. Then wait.")
    scheduled = replace(entry, next_check="2026-11-30 23:00 UTC")
    assert (
        write_note(scheduled) == "A gate refused. Free the disk; Then wait; next check 2026-11-30 23:00 UTC."
    )
    assert "next check" not in write_note(replace(entry, next_check=""))
    assert scheduled.to_dict()["next_check"] == "2026-11-30 23:00 UTC"


def test_a_long_note_keeps_what_happened_why_and_what_to_do() -> None:
    lines = " | ".join(f"Err:{i} no such thing" for i in range(100))
    failure = Failure(
        "stage", f"Job stage on node cp1 ended. {lines}", "PACKAGE_MISSING", "Not offered.", "x"
    )
    note = write_note(replace(ENTRY, sentence=failure.sentence, what_next="Publish it. " * 100))
    assert len(note) <= NOTE_LIMIT
    assert note.startswith("stage failed (PACKAGE_MISSING): Job stage on node cp1 ended")
    assert "Cause: Not offered. Publish it" in note
    assert note.endswith("Publish it.")


LINK = "/nightshift/reports/upgrade_lab/scheduled__2026-11-28T23-00-00-00-00"
FOUND = Incident(
    "cp1-kubeadm-upgrade-1",
    "cp1",
    "kubeadm-upgrade",
    confidence="confident",
    sentence="The file x is stray.",
)


def test_the_link_to_a_report_is_never_cut() -> None:
    failure = Failure("stage", "Job stage ended. " + "x" * 5000, "JOB_FAILED", "y" * 5000, "z")
    line = report_line([replace(FOUND, sentence="long. " * 200)], LINK)
    note = write_note(replace(ENTRY, sentence=failure.sentence, what_next="Publish it. " * 100), line)
    assert len(note) <= NOTE_LIMIT
    assert note.endswith(line)
    assert f"]({LINK}/cp1-kubeadm-upgrade-1/report.html) (confident): `long." in note


def test_several_reports_are_one_link_with_the_surest_verdict_that_stands() -> None:
    vague = replace(FOUND, name="w1-drain-2", node="w1", confidence="unknown", sentence="Unknown.")
    wrong = replace(FOUND, name="cp1-b", sentence="It was the disk.", corrected_by="cp1-kubeadm-upgrade-1")
    assert report_line([vague, wrong, FOUND], LINK) == (
        f"[3 incident reports]({LINK}/). cp1 (confident): `The file x is stray.`"
    )


def test_a_night_without_incidents_has_no_link() -> None:
    assert report_line([], LINK) == ""
    assert write_note(ENTRY, "") == write_note(ENTRY)


def test_what_a_job_said_is_neither_link_nor_paragraph_in_the_note() -> None:
    said = "It ended: ![](http://a/b) [ok][x]\n\n[x]: http://evil"
    note = write_note(replace(ENTRY, sentence=said, what_next="Look."))
    assert note == "It ended: ![]\\(http://a/b) [ok][x] [x]: http://evil. Look."


def test_what_a_log_said_is_no_link_in_the_note() -> None:
    evil = replace(FOUND, sentence="no ![](http://evil/p.png)\n\n[Click](http://evil) `x")
    said = report_line([evil], LINK)
    assert said.endswith("(confident): `no ![](http://evil/p.png) [Click](http://evil) 'x`")
