from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nightshift.domain.ledger import LedgerEntry, NodeEntry, write_note
from nightshift.domain.verdicts import Outcome, Verdict

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
    nodes=(NodeEntry("cp1", "1.34.4", "1.35.4", "upgraded", 201.5),),
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
        "seconds": 201.5,
    }
    assert data["phase_seconds"] == {"snapshot": 12.3}
    assert data["snapshot"] == "file:///store/snapshot"
    assert data["evidence"] == ["file:///store/evidence"]
    assert data["target"]["version"] == "1.35.4"
    assert set(data) >= {"cluster", "run_id", "finished", "answer", "sentence", "what_next"}


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
