"""A later finding corrects an earlier report: both say so, nothing is lost, and only the same failure counts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.steps.test_evidence import _archive, _fail, _known

from nightshift import cli
from nightshift.steps.evidence import evidence_of_unseen, incidents_of, index_folder
from nightshift.steps.session import Session


def _report(folder: Path, name: str = "report.html") -> str:
    return (folder / name).read_text(encoding="utf-8")


def _hashes_hold(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        content = (folder / entry["path"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest(), entry["path"]


def _two(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, apart: float
) -> tuple[Path, Path]:
    """The node is off when its job fails; it comes back, and the job that failed unseen is looked at."""
    started = cluster.now
    cluster.fakes["cp1"].is_away = True
    first = _fail(session, code="JOB_LOST")
    cluster.fakes["cp1"].is_away = False
    cluster.now += 600
    files = b.historic()
    files["jobs/kubeadm-upgrade"] = (
        f"started={started + apart}\nfinished={started + apart + 9}\nstate=failed\nexit_code=26\n"
    )
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(files))
    evidence_of_unseen(session, session.node("cp1"), _known(session, started + apart))
    name = incidents_of(session.store, index_folder(session), "cp1")[-1].name
    return first, first.parent / name


def test_a_later_look_at_the_same_job_corrects_and_both_reports_say_so(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _two(cluster, session, monkeypatch, apart=0.0)
    assert "Corrected by a later look at the same failure" in _report(first)
    assert f"../{second.name}/report.html" in _report(first)
    assert "This corrects an earlier report" in _report(second)
    assert f"../{first.name}/report.html" in _report(second)
    before, after = incidents_of(session.store, index_folder(session), "cp1")
    assert (before.corrected_by, after.corrected_by) == (after.name, "")
    _hashes_hold(first)


def test_another_job_of_the_node_corrects_nothing_and_is_only_named(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _two(cluster, session, monkeypatch, apart=300.0)
    assert "Corrected" not in _report(first)
    assert "Another failure of this node, later:" in _report(first)
    assert "Another failure of this node, earlier:" in _report(second)
    _hashes_hold(first)


def test_a_report_keeps_what_it_says_of_earlier_ones_when_later_ones_come(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _two(cluster, session, monkeypatch, apart=0.0)
    cluster.now += 600
    third = _fail(session, step="kubelet-upgrade")
    assert "This corrects an earlier report" in _report(second)
    assert f"../{third.name}/report.html" in _report(second)
    assert _report(first).count('role="note"') == 2
    assert _report(third).count("Another failure of this node, earlier:") == 2
    for folder in (first, second, third):
        _hashes_hold(folder)
        there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
        manifest = json.loads((folder / "manifest.json").read_text())
        assert {entry["path"] for entry in manifest["files"]} == there


@pytest.mark.parametrize("started", ["nan", "inf", "1e400", "-", "x"])
def test_a_strange_time_of_a_job_is_no_time(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch, started: str
) -> None:
    monkeypatch.setattr(
        cluster.fakes["cp1"], "collect_evidence", _archive({"jobs/kubeadm-upgrade": f"started={started}\n"})
    )
    began = cluster.now
    _fail(session)
    assert incidents_of(session.store, index_folder(session), "cp1")[0].since == pytest.approx(began, abs=1)


@pytest.fixture
def incident(cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose stray file nobody has found: it is in the archive, and the diagnosis in the store is older than the catalogue."""
    cluster.now = b.STARTED
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(b.historic()))
    folder = _fail(session)
    known = json.loads((folder / "diagnosis.json").read_text())
    old = {**known, "first": None, "confidence": "unknown", "sentence": "Unknown: no cause is shown."}
    (folder / "diagnosis.json").write_text(json.dumps(old))
    return folder


def _index(folder: Path) -> dict[str, Any]:
    (entry,) = json.loads((folder.parent / "cp1.json").read_text())["incidents"]
    return dict(entry)


def test_a_newer_catalogue_corrects_a_report(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = _report(incident)
    assert cli.main(["correct", str(incident), "--by", "ann"]) == 0
    assert "Corrected: The file kube-apiserver.yaml.bak" in capsys.readouterr().out
    assert "Corrected</strong> by ann" in _report(incident, "report-1.html")
    assert 'href="report.html"' in _report(incident, "report-1.html")
    assert "which said: Unknown: no cause is shown. Corrected by ann" in _report(incident)
    assert 'href="report-1.html"' in _report(incident)
    assert json.loads((incident / "diagnosis.json").read_text())["first"]["cause"] == "stray_static_pod"
    assert json.loads((incident / "diagnosis-1.json").read_text())["first"] is None
    assert _index(incident)["cause"] == "stray_static_pod"
    assert len(_report(incident, "report-1.html")) > len(old)
    _hashes_hold(incident)


def test_a_catalogue_that_says_the_same_changes_nothing(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["correct", str(incident), "--by", "ann"])
    before = _report(incident)
    assert cli.main(["correct", str(incident), "--by", "bob"]) == 0
    assert "Nothing to correct" in capsys.readouterr().out
    assert _report(incident) == before
    assert not (incident / "report-2.html").exists()


def test_what_a_person_found_leads_and_no_catalogue_takes_it_back(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["correct", str(incident), "--by", "ann", "--finding", "Bob's <cron> copied it there."]) == 0
    )
    report = _report(incident)
    head = report[report.index("<header") : report.index("</header>")]
    assert "<h1>Bob&#39;s &lt;cron&gt; copied it there.</h1>" in head
    assert "Found by a person" in head
    assert "mv " not in head
    assert {k: _index(incident)[k] for k in ("confidence", "cause", "sentence")} == {
        "confidence": "person",
        "cause": "",
        "sentence": "Bob's <cron> copied it there.",
    }
    assert cli.main(["correct", str(incident), "--by", "eve"]) == 0
    assert "a person found the cause" in capsys.readouterr().out
    assert _report(incident) == report
    assert cli.main(["correct", str(incident), "--by", "eve", "--finding", "It was me."]) == 0
    assert "Bob&#39;s &lt;cron&gt;" in _report(incident, "report-2.html")
    assert "It was me." in _report(incident, "report-2.html")
    told = ["correct", str(incident), "--by", "eve", "--finding", "It was Bob.", "--remedy", "Stop his cron."]
    assert cli.main(told) == 0
    assert "<dt>What to do</dt><dd>Stop his cron.</dd>" in _report(incident)
    assert cli.main(["correct", str(incident), "--by", "eve", "--remedy", "Nothing."]) == 1
    _hashes_hold(incident)


def test_a_newer_catalogue_blames_no_older_nights_failure(
    cluster: FakeCluster,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The files in the archive are those of the night before: tonight's job did not even begin."""
    cluster.now = b.STARTED + 86_400
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(b.historic()))
    assert cli.main(["correct", str(_fail(session)), "--by", "ann"]) == 0
    assert "Nothing to correct" in capsys.readouterr().out


def test_the_diagnosis_reads_an_incident_like_an_archive(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diagnose", str(incident), str(incident / "node.tar.gz")]) == 0
    assert capsys.readouterr().out.count("The file kube-apiserver.yaml.bak") == 2


def test_what_is_no_incident_is_not_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "error.txt").write_text("x")
    assert cli.main(["correct", str(tmp_path), "--by", "ann"]) == 1
    assert "BUNDLE_UNREADABLE" in capsys.readouterr().err
    assert cli.main(["correct", str(tmp_path / "driver"), "--by", "ann"]) == 1


def test_a_less_sure_second_look_is_no_other_failure(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = f"started={cluster.now}\nfinished={cluster.now + 9}\nstate=failed\nexit_code=26\n"
    files = {**b.historic(), "jobs/kubeadm-upgrade": status}
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(files))
    first = _fail(session)
    rest = {path: text for path, text in files.items() if not path.startswith("manifests/")}
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(rest))
    second = _fail(session)
    assert "Looked at again, less sure:" in _report(first)
    assert "Another failure" not in _report(first) + _report(second)
    assert "is surer" in _report(second)
    assert [i.corrected_by for i in incidents_of(session.store, index_folder(session), "cp1")] == ["", ""]
