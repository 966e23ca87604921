"""A failed step leaves one self-contained incident; whatever breaks while it is made hides nothing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.fakes.cluster import FakeCluster, FakeKube, job_failed
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.steps.test_reconcile_drift import STOCK, Kubeadm

from nightshift.domain.errors import (
    ConfigError,
    DrainBlockedError,
    FencedError,
    GateClosedError,
    HeldError,
    LeaseHeldError,
    NightshiftError,
    RemoteJobError,
    StoppedError,
    TransientError,
    TrustError,
    UnreachableError,
)
from nightshift.domain.facts import JobFacts
from nightshift.domain.incident.record import Incident
from nightshift.domain.limits import INCIDENT_PARTS_SECONDS
from nightshift.steps import hold, incident
from nightshift.steps.drain_node import drain_node
from nightshift.steps.evidence import (
    baseline,
    evidence_first,
    evidence_of_unseen,
    forget_old,
    incidents_of,
    incidents_of_run,
    index_folder,
)
from nightshift.steps.rehearse import rehearse
from nightshift.steps.session import Session, node_log
from nightshift.steps.snapshot import snapshot
from nightshift.steps.stage import stage
from nightshift.steps.upgrade_node import upgrade_node

Collect = Callable[[float, BinaryIO], None]


def _archive(files: Mapping[str, str]) -> Collect:
    """What `nightshift-node collect-evidence` streams."""

    def collect(since: float, target: BinaryIO, *, is_baseline: bool = False) -> None:
        with tarfile.open(fileobj=target, mode="w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))

    return collect


def _fail(
    session: Session, node: str = "cp1", step: str = "kubeadm-upgrade", code: str = "JOB_FAILED"
) -> Path:
    """Let a step fail; returns its incident's folder."""
    with (
        pytest.raises(NightshiftError) as caught,
        evidence_first(session, session.node(node), step, session.clock()),
    ):
        raise job_failed(code)
    assert caught.value.code == code
    return _folder(session, caught.value)


def _folder(session: Session, error: NightshiftError) -> Path:
    (report,) = error.reports
    return Path(session.store.place(f"evidence/{report}"))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_that_the_rehearsal_worked_is_in_the_report_of_a_later_failure(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.now = b.STARTED
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(b.kubeadm_failed()))
    Kubeadm(cluster, cp1=STOCK)
    snapshot(session, choice)
    rehearse(session, choice, {"control_plane": [{"node": "cp1", "command": "apply"}]})
    folder = _fail(session)
    assert _json(folder / "driver/rehearsal.json")["rehearsed"] is True
    (point,) = _json(folder / "diagnosis.json")["points"]
    assert "Look at the place" in point
    assert "Look at the place" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_rehearsal_leaves_nothing_behind_when_nothing_fails(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    Kubeadm(cluster, cp1=STOCK)
    snapshot(session, choice)
    rehearse(session, choice, {"control_plane": [{"node": "cp1", "command": "apply"}]})
    assert session.store.names("evidence")
    forget_old(session)
    assert session.store.names("evidence") == ()


@pytest.fixture
def historic(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """cp1 has the files of the historic night, and it is that night."""
    cluster.now = b.STARTED
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive(b.historic()))


def test_the_report_names_the_cause_and_stands_beside_all_evidence(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], historic: None
) -> None:
    snapshot(session, choice)
    cluster.fakes["cp1"].failures["kubeadm-upgrade"] = job_failed()
    with pytest.raises(RemoteJobError, match=r"JOB_FAILED.*Evidence: .*cp1-kubeadm-upgrade") as caught:
        upgrade_node(session, "cp1", choice)
    folder = _folder(session, caught.value)
    assert _json(folder / "diagnosis.json")["first"]["cause"] == "stray_static_pod"
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "kube-apiserver.yaml.bak" in report
    assert "# stray_static_pod\n\n## What happened" in report
    assert "gate blocks" not in report
    assert (
        "cp1: diagnosis (confident): The file kube-apiserver.yaml.bak in /etc/kubernetes/manifests"
        in cluster.log
    )
    with tarfile.open(folder / "node.tar.gz") as archive:
        assert "./manifests/kube-apiserver.yaml.bak" in archive.getnames()
    assert "exit code 26." in (folder / "driver/error.txt").read_text(encoding="utf-8")
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}


def test_the_manifest_has_every_file_with_its_hash_and_what_is_in_the_archive(
    session: Session, historic: None
) -> None:
    folder = _fail(session)
    manifest = _json(folder / "manifest.json")
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    assert {entry["path"] for entry in manifest["files"]} == there
    for entry in manifest["files"]:
        content = (folder / entry["path"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    inside = {entry["path"]: entry["sha256"] for entry in manifest["inside"]["node.tar.gz"]}
    text = b.historic()["state/df.txt"]
    assert inside["state/df.txt"] == hashlib.sha256(text.encode()).hexdigest()
    assert (manifest["node"], manifest["step"], manifest["run_id"]) == ("cp1", "kubeadm-upgrade", "run-1")


def test_the_node_is_off_the_node_before_anything_else_is_asked(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    write, ask = session.store.write_stream, FakeKube.ask
    monkeypatch.setattr(
        session.store, "write_stream", lambda name, fill: (order.append(name), write(name, fill))[1]
    )
    monkeypatch.setattr(FakeKube, "ask", lambda self, q: (order.append("api"), ask(self, q))[1])
    _fail(session)
    assert order[0].endswith("node.tar.gz")
    assert order.index("api") > 0


def test_a_node_that_is_off_still_leaves_an_incident_that_says_what_is_missing(
    cluster: FakeCluster, session: Session
) -> None:
    node_log(session, "w1")("[upgrade/staticpods] Waiting for the kubelet to restart the component")
    cluster.fakes["w1"].is_away = True
    folder = _fail(session, "w1", code="JOB_LOST")
    manifest = _json(folder / "manifest.json")
    assert manifest["missing"][0].startswith("The node's own files (nothing came): NODE_UNREACHABLE: w1")
    assert "[upgrade/staticpods] Waiting" in (folder / "driver/job.txt").read_text(encoding="utf-8")
    assert (folder / "cluster/nodes.json").exists()
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "NODE_UNREACHABLE" in report
    assert "[upgrade/staticpods] Waiting" in report
    assert not incidents_of(session.store, index_folder(session), "w1")[0].has_node


def test_a_control_plane_that_goes_down_leaves_what_it_was_like_before_kubeadm(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    node = cluster.fakes["cp1"]
    node.failures["kubeadm-upgrade"] = job_failed("JOB_LOST")
    node.before_job = lambda step: setattr(node, "is_away", True)
    with pytest.raises(RemoteJobError) as caught:
        upgrade_node(session, "cp1", choice)
    folder = _folder(session, caught.value)
    assert (folder / "before.tar.gz").read_bytes().startswith(b"evidence since")
    assert any(
        gap.startswith("What the node was like before") for gap in _json(folder / "manifest.json")["missing"]
    )
    assert not incidents_of(session.store, index_folder(session), "cp1")[0].has_node


def test_a_night_in_which_nothing_failed_keeps_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    snapshot(session, choice)
    upgrade_node(session, "cp1", choice)
    assert session.store.names("evidence/run-1/before") == ("cp1.json", "cp1.tar.gz")
    forget_old(session)
    assert session.store.names("evidence") == ()
    _fail(session)
    baseline(session, session.node("cp1"))
    forget_old(session)
    assert session.store.names("evidence/run-1/before") == ("cp1.json", "cp1.tar.gz")


def test_a_baseline_that_cannot_be_taken_stops_no_night(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(since: float, target: BinaryIO, *, is_baseline: bool = False) -> None:
        assert is_baseline  # what the node owes is not for a bundle that goes when all is well
        raise RuntimeError("no")

    snapshot(session, choice)
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", broken)
    assert upgrade_node(session, "cp1", choice)["version"] == "1.35.4"
    assert "cp1: its state before kubeadm could not be saved (RuntimeError: no)" in cluster.log


def test_an_archive_that_was_cut_off_counts_as_far_as_it_came(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = io.BytesIO()
    _archive(b.historic())(0.0, whole)  # type: ignore[arg-type]

    def cut(since: float, target: BinaryIO) -> None:
        target.write(whole.getvalue()[:-2000])
        raise UnreachableError("NODE_UNREACHABLE", "cp1 went.", cause="power", next_step="Look.")

    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", cut)
    folder = _fail(session)
    assert (folder / "node-partial.tar.gz").stat().st_size == len(whole.getvalue()) - 2000
    manifest = _json(folder / "manifest.json")
    assert manifest["missing"][0].startswith("The node's own files (cut off on their way): NODE_UNREACHABLE")
    assert manifest["inside"]["node-partial.tar.gz"]


def test_a_recording_of_an_earlier_night_is_told_apart_from_this_failures(
    session: Session, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "recorder/owed/20261127T231500Z-kubeadm-upgrade/: of an earlier job, kubeadm-upgrade, from 2026-11-27T23:15:00Z"
    monkeypatch.setattr(
        cluster.fakes["cp1"], "collect_evidence", _archive({"recorder/owed.txt": f"{told}\n"})
    )
    folder = _fail(session)
    assert told in _json(folder / "manifest.json")["missing"]
    assert told in (folder / "report.html").read_text()


def test_what_the_node_left_out_is_said_with_the_nodes_own_reason(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = "recorder/\tnothing was recorded in this window\nstate/io.txt\tthere is no io here\n"
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", _archive({"left-out.txt": left}))
    missing = _json(_fail(session) / "manifest.json")["missing"]
    assert missing[:2] == [
        "recorder/: nothing was recorded in this window",
        "state/io.txt: there is no io here",
    ]


@pytest.mark.parametrize(
    ("ago", "cause"),
    [
        pytest.param(0.0, "stray_static_pod", id="this failure's"),
        pytest.param(86_400.0, "", id="the night before's: tonight's job did not even begin"),
    ],
)
def test_an_older_nights_failure_is_no_cause_of_this_one(
    cluster: FakeCluster, session: Session, historic: None, ago: float, cause: str
) -> None:
    cluster.now += ago
    _fail(session)
    assert incidents_of(session.store, index_folder(session), "cp1")[0].cause == cause


def test_the_failure_of_a_job_that_was_attached_to_began_before_the_step(
    cluster: FakeCluster, session: Session, historic: None
) -> None:
    cluster.now += 140  # its lines are from before that, and it ends 10 s later
    _fail(session)
    assert incidents_of(session.store, index_folder(session), "cp1")[0].cause == "stray_static_pod"


def test_an_api_that_is_away_is_asked_once(cluster: FakeCluster, session: Session, historic: None) -> None:
    node = session.node("cp1")
    cluster.api_away_until = cluster.now + 1000
    cluster.api_calls.clear()
    with (
        pytest.raises(RemoteJobError) as caught,
        evidence_first(session, node, "kubeadm-upgrade", cluster.now),
    ):
        raise job_failed()
    assert cluster.api_calls.count("ask") == 1
    folder = _folder(session, caught.value)
    assert "API_UNREACHABLE" in _json(folder / "manifest.json")["missing"][0]
    assert _json(folder / "diagnosis.json")["first"]["cause"] == "stray_static_pod"


def test_a_store_that_is_full_is_said_and_hides_nothing(
    session: Session, cluster: FakeCluster, historic: None, tmp_path: Path
) -> None:
    (tmp_path / "lab").mkdir(exist_ok=True)
    (tmp_path / "lab" / "evidence").write_text("in the way")
    with (
        pytest.raises(RemoteJobError, match=r"JOB_FAILED.*could not be saved \(STORE_UNAVAILABLE"),
        evidence_first(session, session.node("cp1"), "kubeadm-upgrade", 0.0),
    ):
        raise job_failed()


def test_a_diagnosis_that_breaks_is_said_and_the_report_is_written_all_the_same(
    session: Session, historic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(files: object, since: float | None) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(incident, "read", broken)
    folder = _fail(session)
    assert not (folder / "diagnosis.json").exists()
    assert "The diagnosis could not be made: RecursionError: too deep" in (folder / "report.html").read_text()


def test_a_rendering_that_breaks_leaves_a_plain_report(
    session: Session, historic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise UnicodeEncodeError("utf-8", "x", 0, 1, "no")

    monkeypatch.setattr(incident, "build_timeline", broken)
    folder = _fail(session)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "kube-apiserver.yaml.bak" in report
    assert "The report could not be made: UnicodeEncodeError" in report


def test_what_no_utf8_can_say_becomes_a_question_mark(session: Session, cluster: FakeCluster) -> None:
    with pytest.raises(RemoteJobError) as caught, evidence_first(session, session.node("w1"), "stage", 0.0):
        raise RemoteJobError("JOB_FAILED", "kube\udce4dm", cause="c.", next_step="n.")
    assert "kube?dm" in (_folder(session, caught.value) / "driver/error.txt").read_text(encoding="utf-8")


def test_anything_that_breaks_hides_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nightshift.steps.evidence.make_incident", broken)
    with (
        pytest.raises(RemoteJobError, match="could not be saved"),
        evidence_first(session, session.node("w1"), "stage", 0.0),
    ):
        raise job_failed()


def test_secrets_in_the_drivers_own_words_are_taken_out(session: Session, cluster: FakeCluster) -> None:
    node_log(session, "w1")("kubeadm join --token abcdef.0123456789abcdef --certificate-key 0a1b2c")
    with pytest.raises(RemoteJobError) as caught, evidence_first(session, session.node("w1"), "stage", 0.0):
        raise RemoteJobError("JOB_FAILED", "password=hunter2hunter", cause="c.", next_step="n.")
    folder = _folder(session, caught.value)
    for name in ("driver/error.txt", "driver/job.txt", "report.html", "diagnosis.json"):
        text = (folder / name).read_text(encoding="utf-8")
        for secret in ("hunter2", "0123456789abcdef", "0a1b2c"):
            assert secret not in text, name


def test_an_api_that_is_away_for_a_while_pays_for_no_archive(session: Session, cluster: FakeCluster) -> None:
    away = UnreachableError("API_UNREACHABLE", "no answer.", cause="c.", next_step="n.")
    with (
        pytest.raises(UnreachableError) as caught,
        evidence_first(session, session.node("w1"), "verify", 0.0),
    ):
        raise away
    assert caught.value is away
    assert incidents_of_run(session.store, index_folder(session)) == ()


def test_a_node_whose_disk_keeps_its_lock_is_an_incident_that_is_told_once(
    session: Session, cluster: FakeCluster
) -> None:
    cluster.fakes["w1"].is_away = True  # nothing of its own comes, whatever is asked
    locked = TransientError("NODE_LOCKED", "w1 is locked.", cause="a slow disk", next_step="Look.")
    for _ in range(3):
        with (
            pytest.raises(TransientError, match=r"NODE_LOCKED.*Evidence: "),
            evidence_first(session, session.node("w1"), "kubelet-upgrade", session.clock()),
        ):
            raise locked
    (incident,) = incidents_of(session.store, index_folder(session), "w1")
    assert incident.code == "NODE_LOCKED"


@pytest.mark.parametrize(
    "kind", [HeldError, StoppedError, FencedError, GateClosedError, ConfigError, TrustError, LeaseHeldError]
)
def test_a_refusal_is_no_incident(session: Session, kind: type[NightshiftError]) -> None:
    refusal = kind("X", "no.", cause="c.", next_step="n.")
    with pytest.raises(kind) as caught, evidence_first(session, session.node("w1"), "drain", 0.0):
        raise refusal
    assert caught.value is refusal
    assert session.store.names("evidence") == ()


def test_a_node_that_stays_away_over_several_tries_is_told_once(
    session: Session, cluster: FakeCluster
) -> None:
    cluster.fakes["w1"].is_away = True
    reports = set()
    for _ in range(3):
        with (
            pytest.raises(UnreachableError) as caught,
            evidence_first(session, session.node("w1"), "kubelet-upgrade", session.clock()),
        ):
            session.on(session.node("w1")).job("kubelet-upgrade")
        reports.add(caught.value.reports)
    assert len(reports) == 1
    assert len(incidents_of(session.store, index_folder(session), "w1")) == 1


def _known(session: Session, started: float, step: str = "kubeadm-upgrade") -> JobFacts:
    return JobFacts(step, "failed", 26, session.owner, 1, (), started, started + 5)


def test_a_job_that_failed_unseen_is_saved_although_an_earlier_incident_of_the_node_exists(
    session: Session, cluster: FakeCluster
) -> None:
    """Neither one without the node's files, nor one of another step, nor one from before that job counts."""
    cluster.fakes["cp1"].is_away = True
    _fail(session, code="NODE_UNREACHABLE")
    cluster.fakes["cp1"].is_away = False
    _fail(session, step="drain", code="DRAIN_BLOCKED")
    _fail(session)
    started = cluster.now + 10
    cluster.now += 100
    evidence_of_unseen(session, session.node("cp1"), _known(session, started))
    evidence_of_unseen(session, session.node("cp1"), _known(session, started))
    assert len(incidents_of(session.store, index_folder(session), "cp1")) == 4


def test_the_lease_is_kept_while_evidence_is_made(
    session: Session, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = hold.acquire(session)
    asked: list[str] = []
    renewed = threading.Event()
    lease, renew = FakeKube.lease, FakeKube.renew_lease

    def hiccup(self: FakeKube) -> Any:
        asked.append("lease")
        if len(asked) == 1:
            raise ValueError("no JSON")
        return lease(self)

    def renew_it(self: FakeKube, holder: str, its_token: int, now: float) -> bool:
        assert (holder, its_token) == (session.owner, token)
        renewed.set()
        return renew(self, holder, its_token, now)

    def collect(since: float, target: BinaryIO) -> None:
        assert renewed.wait(10)

    monkeypatch.setattr(FakeKube, "lease", hiccup)
    monkeypatch.setattr(FakeKube, "renew_lease", renew_it)
    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", collect)
    session.policy = replace(session.policy, limits=replace(session.policy.limits, lease_renew_seconds=0))
    _fail(session)
    assert renewed.is_set()
    assert cluster.log.count("could not be renewed, it is tried again") == 1


def test_a_store_that_cannot_be_read_keeps_no_node_from_being_asked(
    session: Session, cluster: FakeCluster, historic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = session.store.read_json

    def hiccup(path: str) -> Any:
        if path.endswith("/cp1.json"):
            raise TransientError("STORE_UNAVAILABLE", "no.", cause="c.", next_step="n.")
        return read(path)

    monkeypatch.setattr(session.store, "read_json", hiccup)
    folder = _fail(session)
    assert (folder / "node.tar.gz").exists()
    assert "stray" in (folder / "report.html").read_text()
    assert "earlier incidents could not be read (STORE_UNAVAILABLE" in cluster.log


class _TimeLimit(BaseException):
    """Airflow's, when a task takes too long."""


def test_a_time_limit_while_evidence_is_made_hides_neither_the_error_nor_what_is_saved(
    session: Session, cluster: FakeCluster, historic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(files: object, since: float | None) -> None:
        raise _TimeLimit

    monkeypatch.setattr(incident, "read", late)
    with (
        pytest.raises(RemoteJobError, match=r"JOB_FAILED.*not complete \(_TimeLimit\).*evidence/run-1"),
        evidence_first(session, session.node("cp1"), "kubeadm-upgrade", session.clock()),
    ):
        raise job_failed()
    (saved,) = incidents_of_run(session.store, index_folder(session))
    assert saved.has_node


def test_what_takes_too_long_is_left_out_and_the_report_is_plain(
    session: Session, cluster: FakeCluster, historic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = cluster.fakes["cp1"].collect_evidence

    def slow(since: float, target: BinaryIO) -> None:
        collect(since, target)
        cluster.now += INCIDENT_PARTS_SECONDS + 1

    monkeypatch.setattr(cluster.fakes["cp1"], "collect_evidence", slow)
    folder = _fail(session)
    report = (folder / "report.html").read_text()
    assert (folder / "node.tar.gz").exists()
    assert "The diagnosis was left out: there was no more time for it" in report
    assert "Timeline and plots were left out of the report" in report
    assert not (folder / "cluster").exists()
    assert incidents_of_run(session.store, index_folder(session))[0].has_node


def test_no_more_than_two_incidents_are_in_memory_at_once(
    session: Session, cluster: FakeCluster, historic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, most, lock = [0], [0], threading.Lock()
    take = incident.read

    def counted(files: Mapping[str, str], since: float | None) -> Any:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        with lock:
            inside[0] -= 1
        return take(files, since)

    monkeypatch.setattr(incident, "read", counted)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: _fail(session, "cp1", f"step-{n}"), range(6)))
    assert most[0] == 2


def test_every_step_that_can_fail_on_a_node_leaves_an_incident(
    session: Session, cluster: FakeCluster, choice: dict[str, Any]
) -> None:
    cluster.fakes["cp1"].failures["snapshot-etcd"] = job_failed()
    with pytest.raises(RemoteJobError, match=r"Evidence: .*cp1-snapshot-etcd"):
        snapshot(session, choice)
    for name in ("cp1", "w2"):
        cluster.fakes[name].failures["stage"] = job_failed("IMAGE_MISSING")
    with pytest.raises(RemoteJobError) as caught:
        stage(session, choice)
    assert sorted(name.rpartition("/")[2].split("-")[0] for name in caught.value.reports) == ["cp1", "w2"]
    cluster.add_pod("w1", "stuck", is_terminating=True)
    session.policy = replace(session.policy, drain=replace(session.policy.drain, timeout_seconds=5))
    with pytest.raises(DrainBlockedError, match=r"Evidence: .*w1-drain"):
        drain_node(session, "w1")
    steps = {i.step for i in incidents_of_run(session.store, index_folder(session))}
    assert steps == {"snapshot-etcd", "stage", "drain"}


def _stored(session: Session, run: str, made: float, **changes: Any) -> None:
    entry = Incident(name=f"cp1-stage-{made:.0f}", node="cp1", step="stage", made=made)
    session.store.write_json(f"evidence/{run}/cp1.json", {"incidents": [{**entry.to_dict(), **changes}]})
    session.store.write_text(f"evidence/{run}/{entry.name}/report.html", "x")


def test_old_evidence_goes_by_run_and_the_newest_runs_stay_whatever_their_age(
    session: Session, cluster: FakeCluster
) -> None:
    day = 86_400.0
    for run, age in (("a", 400), ("b", 300), ("c", 200), ("d", 5)):
        _stored(session, run, cluster.now - age * day)
    session.store.write_json("evidence/strange/cp1.json", {"incidents": "?"})
    session.policy = replace(
        session.policy, evidence=replace(session.policy.evidence, keep_days=90, keep_runs=2)
    )
    assert sorted(forget_old(session)) == ["a", "b"]
    assert session.store.names("evidence") == ("c", "d", "strange")
    assert session.store.read_bytes("evidence/c/cp1-stage-" + f"{cluster.now - 200 * day:.0f}/report.html", 9)
    session.policy = replace(
        session.policy, evidence=replace(session.policy.evidence, keep_days=250, keep_runs=1)
    )
    assert forget_old(session) == ()


@pytest.mark.parametrize("index", ['{"incidents": [{"name"', None])
def test_evidence_outlives_its_index(session: Session, historic: None, index: str | None) -> None:
    folder = _fail(session)
    file = folder.parent / "cp1.json"
    if index is None:
        file.unlink()
    else:
        file.write_text(index)
    forget_old(session)
    assert (folder / "report.html").exists()
    (found,) = incidents_of_run(session.store, index_folder(session))
    assert (found.name, found.cause, found.has_node) == (folder.name, "stray_static_pod", True)


def test_a_report_that_came_without_manifest_and_index_stays(session: Session) -> None:
    session.store.write_text("evidence/run-1/cp1-x-1/report.html", "x")
    baseline(session, session.node("cp1"))
    forget_old(session)
    assert session.store.exists("evidence/run-1/cp1-x-1/report.html")


def test_what_a_killed_night_kept_of_its_nodes_goes_with_its_age(
    session: Session, cluster: FakeCluster
) -> None:
    baseline(session, session.node("cp1"))
    later = replace(session, run_id="run-2")
    assert forget_old(later) == ()
    cluster.now += 91 * 86_400
    assert forget_old(later) == ("run-1",)
    assert session.store.names("evidence") == ()
