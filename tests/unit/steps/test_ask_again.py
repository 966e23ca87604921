"""After the first reading the node is asked again for just what answers the diagnosis' tests; whatever comes of it, the report is made."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.fakes.cluster import FakeCluster
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_judgement import no_stray, state
from tests.unit.steps.test_evidence import _archive, _fail, _json

from nightshift import cli
from nightshift.domain.errors import UnreachableError
from nightshift.steps.session import Session


@pytest.fixture
def night(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Night:
    cluster.now = b.STARTED
    return Night(cluster, monkeypatch)


class Night:
    """cp1's first evidence, and what it says when it is asked again."""

    def __init__(self, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self._node, self._patch = cluster.fakes["cp1"], monkeypatch
        self.sections: list[tuple[str, ...]] = []

    def gives(self, first: Mapping[str, str], later: Mapping[str, str], cut: int = 0) -> None:
        self._patch.setattr(self._node, "collect_evidence", _archive(first))

        def again(sections: Sequence[str], target: BinaryIO) -> None:
            self.sections.append(tuple(sections))
            _archive(later)(0.0, target)
            if cut:
                target.truncate(cut)
                target.seek(cut)
                raise UnreachableError("NODE_UNREACHABLE", "cp1 went.", cause="power", next_step="Look.")

        self._patch.setattr(self._node, "ask_again", again)


def _test(folder: Path, cause: str) -> dict[str, Any]:
    tests = _json(folder / "diagnosis.json")["tests"]
    return next(test for test in tests if test["cause"] == cause)


def _said_of_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert cli.main(["diagnose", "--json", str(folder)]) == 0
    return json.loads(capsys.readouterr().out)[str(folder)]


def test_just_what_answers_is_asked_and_what_the_evidence_lacked_counts(
    session: Session, night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    night.gives(b.without(b.historic(), "manifests/"), state(b.historic()))
    folder = _fail(session)
    (sections,) = night.sections
    assert {"manifests", "argv", "processes"} <= {*sections}
    judged = _json(folder / "diagnosis.json")
    assert (judged["first"]["cause"], judged["confidence"]) == ("stray_static_pod", "likely")
    assert _test(folder, "stray_static_pod")["asked"].startswith("asked on cp1 at 23:1")
    assert _said_of_the_folder(folder, capsys) == judged
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.index("</header>") < report.index("stray static pod?</strong> Yes: two files")
    assert "asked on cp1 at 23:1" in report


def test_what_the_evidence_had_is_not_replaced(
    session: Session, night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    night.gives(b.historic(), state(no_stray()))
    folder = _fail(session)
    judged = _json(folder / "diagnosis.json")
    assert (judged["first"]["cause"], judged["confidence"]) == ("stray_static_pod", "confident")
    assert "no longer: two files" in _test(folder, "stray_static_pod")["later"]
    assert _said_of_the_folder(folder, capsys) == judged


def test_the_answer_is_stored_with_its_hash(session: Session, night: Night) -> None:
    night.gives(b.historic(), state(b.historic()))
    folder = _fail(session)
    manifest = _json(folder / "manifest.json")
    entry = next(file for file in manifest["files"] if file["path"] == "asked.tar.gz")
    assert entry["sha256"] == hashlib.sha256((folder / "asked.tar.gz").read_bytes()).hexdigest()
    inside = {one["path"]: one["sha256"] for one in manifest["inside"]["asked.tar.gz"]}
    text = b.historic()[b.DF].encode()
    assert inside["asked/state/df.txt"] == hashlib.sha256(text).hexdigest()
    facts = _json(folder / "driver/asked.json")
    assert (facts["node"], facts["failed"]) == ("cp1", "")
    assert tuple(facts["sections"]) == night.sections[0]


def test_a_node_that_is_away_by_then_is_said_and_the_verdict_stands(
    session: Session, night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    night.gives(b.without(b.historic(), "manifests/"), {}, cut=1)
    folder = _fail(session)
    test = _test(folder, "stray_static_pod")
    assert test["answer"] == "not answered"
    assert "cp1 could not be asked again: NODE_UNREACHABLE: cp1 went." in test["finding"]
    missing = _json(folder / "manifest.json")["missing"]
    assert any("could not be asked again for the tests: NODE_UNREACHABLE" in gap for gap in missing)
    assert _said_of_the_folder(folder, capsys) == _json(folder / "diagnosis.json")


def test_an_answer_that_was_cut_off_counts_as_far_as_it_came(
    session: Session, night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    night.gives(b.historic(), state(b.historic()), cut=3000)
    folder = _fail(session)
    assert (folder / "asked.tar.gz").stat().st_size == 3000
    assert _said_of_the_folder(folder, capsys) == _json(folder / "diagnosis.json")


def test_a_node_is_not_asked_when_the_report_would_come_too_late(
    session: Session, cluster: FakeCluster, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.gives(b.historic(), {})
    collect = cluster.fakes["cp1"].collect_evidence

    def slow(since: float, target: BinaryIO) -> None:
        collect(since, target)
        cluster.now += 26

    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", slow)
    folder = _fail(session)
    assert night.sections == []
    assert _json(folder / "driver/asked.json")["failed"] == "there was no time for it"
    assert _json(folder / "diagnosis.json")["first"]["cause"] == "stray_static_pod"


def test_a_node_that_could_not_be_reached_is_not_asked_again(
    session: Session, cluster: FakeCluster, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.gives({}, {})

    def away(since: float, target: BinaryIO) -> None:
        raise UnreachableError("NODE_UNREACHABLE", "cp1 is away.", cause="power", next_step="Look.")

    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", away)
    folder = _fail(session, code="VERIFY_FAILED")
    assert night.sections == []
    why = "it could not be reached when its files were to be fetched"
    assert _json(folder / "driver/asked.json")["failed"] == why
    assert any(why in gap for gap in _json(folder / "manifest.json")["missing"])


def test_a_failure_without_a_suspect_asks_nothing(session: Session, night: Night) -> None:
    night.gives(b.healthy(), {})
    folder = _fail(session)
    tests = _json(folder / "diagnosis.json")["tests"]
    assert bool(night.sections) is bool(tests)


def test_a_node_that_sends_something_else_is_not_believed(session: Session, night: Night) -> None:
    strange = {"driver/error.txt": "[X] no.\n", "journal/kubelet.log": b.crash_loop(), "state/a/b.txt": "x"}
    night.gives(b.historic(), {**state(b.historic()), **strange})
    folder = _fail(session)
    inside = {one["path"] for one in _json(folder / "manifest.json")["inside"]["asked.tar.gz"]}
    assert {path.split("/")[1] for path in inside} == {"jobs", "manifests", "state"}
    assert "asked/state/a/b.txt" not in inside
    with tarfile.open(folder / "asked.tar.gz") as archive:  # what came is kept as it came
        assert "./state/a/b.txt" in archive.getnames()
