"""Makes one incident: the node's files first and at once, then the driver's and the API's, the diagnosis, the report.

Each part is tried by itself. What cannot be had is named in the incident, and so is whatever broke while it was made.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO, cast

from nightshift import __version__
from nightshift.clients.evidence_bundle import (
    ASKED_ARCHIVE,
    NODE_ARCHIVE,
    PARTIAL_ARCHIVE,
    asked_members,
    members,
)
from nightshift.clients.incident_folder import DIAGNOSIS, REPORT, IncidentFolder
from nightshift.clients.incident_page import Notice, Page, Runbook, render
from nightshift.clients.questions.incident import CLUSTER_FILES
from nightshift.clients.runbooks import runbook_text
from nightshift.domain.diagnosis.asked import FACTS, Asked, first_evidence
from nightshift.domain.diagnosis.engine import Diagnosis, to_dict
from nightshift.domain.diagnosis.jobs import BEFORE_SECONDS, failed_since, job_began
from nightshift.domain.diagnosis.judgement import conclude, sections_to_ask
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.rehearsed import REHEARSAL
from nightshift.domain.errors import NightshiftError, UnreachableError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.incident.plots import draw
from nightshift.domain.incident.record import Incident, Relation, relation
from nightshift.domain.incident.samples import newest_samples
from nightshift.domain.incident.timeline import Moment, build_timeline
from nightshift.domain.limits import INCIDENT_PARTS_SECONDS
from nightshift.domain.redaction import redact
from nightshift.steps.corrections import (
    NOTICES,
    add_notice,
    corrected_by,
    corrects,
    followed_by,
    follows,
    less_sure_than,
    listed_notices,
    looked_at_again,
)
from nightshift.steps.session import Session

_IN_MEMORY_BYTES = (
    8 * 1024 * 1024
)  # of an archive; a larger one is kept in a temporary file while it is judged
_AT_ONCE = threading.BoundedSemaphore(
    2
)  # incidents whose files are in memory: sixteen nodes may fail together
_ASKED_BY_SECONDS = (
    25.0  # after the failure: later the report comes first, which is due within 60 s; asking may take 10 s
)
BEFORE, BEFORE_FOLDER = "before.tar.gz", "before"
ERROR, JOB, CONTEXT = "driver/error.txt", "driver/job.txt", "driver/context.json"


@dataclass(frozen=True)
class Failed:
    """What an incident is made of.

    Args:
        node: where it happened.
        step: which step failed there.
        since: when its work began, seconds since the epoch.
        error: the step's; None when nobody followed it.
    """

    node: NodeFacts
    step: str
    since: float
    error: NightshiftError | None = None


@dataclass
class _Draft:
    """What is known so far.

    Args:
        files: path -> text, for the diagnosis.
        missing: one sentence each.
        inside: the manifest's entries of each archive of the node.
        archive: name of the node's archive in the incident; "" when there is none.
        came_as: what the archive would be called, also when the store did not take it; "" when nothing came.
        gap: why the node's own files are not there, or not all of them; "" when they are.
        is_unreachable: nothing came, since the node could not be reached.
        deadline: after it no part is begun any more, seconds since the epoch.
    """

    deadline: float

    files: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    inside: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    archive: str = ""
    came_as: str = ""
    gap: str = ""
    is_unreachable: bool = False


@dataclass(frozen=True)
class Made:
    """How it went.

    Args:
        incident: its record.
        gap: see `_Draft`.
        problem: why the store did not take all of it; None: it did.
    """

    incident: Incident
    gap: str
    problem: Exception | None


def make_incident(
    session: Session,
    failed: Failed,
    folder: str,
    earlier: Sequence[Incident],
    remember: Callable[[Incident], None],
) -> Made:
    """Make it; what breaks on the way is said in it.

    Args:
        session: the run.
        failed: what failed.
        folder: the run's, in the store.
        earlier: this run's incidents of the same node.
        remember: puts its record into the run's index; called as soon as there is anything, and at the end.
    """
    made = session.clock()
    incident = Incident(
        name=_new_name(f"{failed.node.name}-{failed.step}-{made:.0f}", earlier),
        node=failed.node.name,
        step=failed.step,
        code=failed.error.code if failed.error else "",
        since=failed.since,
        made=made,
    )
    target = IncidentFolder(session.store, f"{folder}/{incident.name}")
    draft = _Draft(made + INCIDENT_PARTS_SECONDS)
    with ExitStack() as stack:
        archive = cast("IO[bytes]", stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)))
        _take_node(session, failed, target, draft, archive)
        incident = replace(incident, has_node=bool(draft.archive))
        _always(session, draft, "the run's index", lambda: remember(incident))
        stack.enter_context(_turn(session, draft))
        if draft.came_as:
            _guarded(session, draft, f"the reading of {draft.came_as}", lambda: _read_node(archive, draft))
        return _tell(session, failed, folder, earlier, remember, incident, target, draft)


@contextmanager
def _turn(session: Session, draft: _Draft) -> Iterator[None]:
    """Wait for room in memory; whoever does not get it in time goes on as one whose time is up."""
    is_mine = _AT_ONCE.acquire(timeout=max(0.0, draft.deadline - session.clock()))
    if not is_mine:
        draft.deadline = session.clock() - 1.0
    try:
        yield
    finally:
        if is_mine:
            _AT_ONCE.release()


def _tell(
    session: Session,
    failed: Failed,
    folder: str,
    earlier: Sequence[Incident],
    remember: Callable[[Incident], None],
    incident: Incident,
    target: IncidentFolder,
    draft: _Draft,
) -> Made:
    """All but the node's own archive."""
    if draft.gap:
        _guarded(
            session, draft, "earlier files", lambda: _take_before(session, failed, folder, target, draft)
        )
    incident = replace(incident, since=job_began(draft.files, failed.step, failed.since))
    _guarded(session, draft, "the driver's own files", lambda: _take_driver(session, failed, target, draft))
    _guarded(session, draft, "the night's rehearsal", lambda: _take_rehearsal(session, folder, target, draft))
    _guarded(session, draft, "the API's view", lambda: _take_cluster(session, target, draft))
    found = _guarded(
        session,
        draft,
        "the diagnosis",
        lambda: _diagnose(session, failed, incident, target, draft),
    )
    judged = to_dict(found) if found else None
    incident = _judged(incident, found)
    if judged is not None:
        target.add_json(DIAGNOSIS, judged)
    notices = _guarded(
        session, draft, "earlier reports", lambda: _relate(session, folder, earlier, incident, remember)
    )
    if notices:
        target.add_text(NOTICES, listed_notices({REPORT: notices}))
    _write_report(session, _page(session, failed, incident, judged, notices or ()), draft, target)
    target.write_manifest(_manifest(session, incident, draft))
    _always(session, draft, "the run's index", lambda: remember(incident))
    if found is not None:
        place = session.store.place(f"{folder}/{incident.name}/{REPORT}")
        session.log(
            f"{incident.node}: diagnosis ({found.confidence.value}): {found.sentence} Report: {place}"
        )
    return Made(incident, draft.gap, target.problem)


def _new_name(wanted: str, earlier: Sequence[Incident]) -> str:
    """The wanted name; another one when two failures of a step fall into one second."""
    taken = {incident.name for incident in earlier}
    return next(n for n in (wanted, *(f"{wanted}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)


def _guarded(session: Session, draft: _Draft, what: str, make: Callable[[], Any]) -> Any:
    """Make one part while there is time; one that was not made is named, and the others are made all the same."""
    if session.clock() > draft.deadline:
        said = f"{what} was left out: there was no more time for it"
        draft.missing.append(f"{said[0].upper()}{said[1:]}")
        session.log(f"Evidence: {said}")
        return None
    return _always(session, draft, what, make)


def _always(session: Session, draft: _Draft, what: str, make: Callable[[], Any]) -> Any:
    """The same of a part for which there is always time."""
    try:
        return make()
    except Exception as problem:  # noqa: BLE001 - a strange bundle may do anything to whoever reads it
        said = f"{what} could not be made: {told(problem)}"
        draft.missing.append(f"{said[0].upper()}{said[1:]}")
        session.log(f"Evidence: {said}")
        return None


def _take_node(
    session: Session, failed: Failed, target: IncidentFolder, draft: _Draft, archive: IO[bytes]
) -> None:
    """The node's own archive, into the store before anything else; what came of one that was cut off counts."""
    try:
        session.on(failed.node).collect_evidence(failed.since - BEFORE_SECONDS, cast("BinaryIO", archive))
        name = NODE_ARCHIVE
    except Exception as problem:  # noqa: BLE001 - also what a dying connection does to its library
        name = PARTIAL_ARCHIVE if archive.tell() else ""
        draft.gap = told(problem)
        draft.is_unreachable = not name and isinstance(problem, UnreachableError)
        draft.missing.append(
            f"The node's own files ({'cut off on their way' if name else 'nothing came'}): {draft.gap}"
        )
    if name:
        target.add_copy(name, archive)
        draft.archive = name if name in target.entries else ""
        draft.came_as = name


def before_folder(folder: str) -> str:
    """Where a run keeps what its nodes were like before their kubeadm began."""
    return f"{folder}/{BEFORE_FOLDER}"


def before_path(folder: str, node: str) -> str:
    """Of one node."""
    return f"{before_folder(folder)}/{node}.tar.gz"


def rehearsal_path(folder: str) -> str:
    """Where a run keeps what came of its rehearsal; no node has a name with an underscore."""
    return f"{before_folder(folder)}/_rehearsal.json"


def _take_rehearsal(session: Session, folder: str, target: IncidentFolder, draft: _Draft) -> None:
    """What came of this run's rehearsal: no cause, but it says where to look."""
    known = session.store.read_json(rehearsal_path(folder))
    if known is not None:
        target.add_json(REHEARSAL, known)
        draft.files[REHEARSAL] = json.dumps(known)


def _take_before(
    session: Session, failed: Failed, folder: str, target: IncidentFolder, draft: _Draft
) -> None:
    """What was captured earlier in this run. For people: the diagnosis would take what was for what is."""
    path = before_path(folder, failed.node.name)
    if not session.store.exists(path):
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:
        for chunk in session.store.chunks(path):
            copy.write(chunk)
        target.add_copy(BEFORE, cast("IO[bytes]", copy))
    draft.missing.append(
        f"What the node was like before kubeadm began is in {BEFORE}; the diagnosis does not use it."
    )


def _read_node(archive: IO[bytes], draft: _Draft) -> None:
    """What came, also when the store did not take it."""
    archive.seek(0)
    inside = draft.inside.setdefault(draft.archive, []) if draft.archive else []
    for path, content in members(archive, draft.came_as, is_partial=draft.came_as == PARTIAL_ARCHIVE):
        draft.files[path] = content.decode("utf-8", errors="replace")
        inside.append(_entry(path, content))
    for line in draft.files.get("left-out.txt", "").splitlines():
        path, _, why = line.partition("\t")
        draft.missing.append(f"{path}: {why or 'the node left it out'}")
    # For people: the diagnosis is of this failure, and this is of an earlier one.
    draft.missing.extend(draft.files.get("recorder/owed.txt", "").splitlines())


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _take_driver(session: Session, failed: Failed, target: IncidentFolder, draft: _Draft) -> None:
    """What the driver knows by itself: the error, what the job said while it was followed, who and what this run is."""
    texts = {}
    if failed.error is not None:
        texts[ERROR] = redact(str(failed.error)) + "\n"
    heard = session.heard.get(failed.node.name)
    if heard:
        texts[JOB] = redact("".join(f"{_iso(time)} {line}\n" for time, line in heard))
    for path, text in texts.items():
        target.add_text(path, text)
        draft.files[path] = text
    facts = {
        "nightshift": __version__,
        "cluster": session.policy.name,
        "run_id": session.run_id,
        "owner": session.owner,
        "step": failed.step,
        "since": _iso(failed.since),
        "node": failed.node.name,
        "address": failed.node.address,
        "is_control_plane": failed.node.is_control_plane,
        "kubelet": failed.node.kubelet_version,
    }
    target.add_json(CONTEXT, facts)


def _take_cluster(session: Session, target: IncidentFolder, draft: _Draft) -> None:
    """What the API says; an API that is away is asked once and not eight times."""
    for path, question in CLUSTER_FILES.items():
        if session.clock() > draft.deadline:
            draft.missing.append(f"{path} and what else the API knows: there was no more time for it")
            return
        try:
            text = session.kube.ask(question)
        except UnreachableError as error:
            draft.missing.append(f"{path} and what else the API knows: {told(error)}")
            return
        except NightshiftError as error:
            draft.missing.append(f"{path}: {told(error)}")
            continue
        target.add_text(path, text)
        draft.files[path] = text


def judge(files: Mapping[str, str], step: str, since: float) -> Diagnosis:
    """The diagnosis of a failed step, by the lines that can be of this failure.

    Args:
        files: path -> text.
        step: the failed one.
        since: when the driver began with it, seconds since the epoch.
    """
    began = failed_since(files, step, since)
    return conclude(files, began, read(first_evidence(files), began))


def _diagnose(
    session: Session, failed: Failed, incident: Incident, target: IncidentFolder, draft: _Draft
) -> Diagnosis:
    """The diagnosis; where its tests can be asked on the node, with the node's answers."""
    began = failed_since(draft.files, failed.step, failed.since)
    signs = read(draft.files, began)
    found = conclude(draft.files, began, signs)
    sections = sections_to_ask(found)
    if not sections:
        return found
    _guarded(
        session,
        draft,
        "the tests of the diagnosis",
        lambda: _ask_again(session, failed, incident, sections, target, draft),
    )
    return conclude(draft.files, began, signs)


def _ask_again(
    session: Session,
    failed: Failed,
    incident: Incident,
    sections: Sequence[str],
    target: IncidentFolder,
    draft: _Draft,
) -> None:
    """Ask the node for just the files that answer; only reads. What came of it is kept, and so is why nothing came."""
    asked = Asked(failed.node.name, session.clock(), tuple(sections))
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
        archive = cast("IO[bytes]", spool)
        why = _why_not_to_ask(asked, incident, draft) or _why_not_asked(session, failed, sections, archive)
        if why:
            asked = replace(asked, failed=why)
            draft.missing.append(f"{asked.node} could not be asked again for the tests: {why}")
        if archive.tell():
            target.add_copy(ASKED_ARCHIVE, archive)
            inside = draft.inside.setdefault(ASKED_ARCHIVE, [])
            archive.seek(0)
            for path, content in asked_members(archive):
                draft.files[path] = content.decode("utf-8", errors="replace")
                inside.append(_entry(path, content))
    target.add_json(FACTS, asked.facts())
    draft.files[FACTS] = json.dumps(asked.facts())


def _why_not_to_ask(asked: Asked, incident: Incident, draft: _Draft) -> str:
    """Why it is not tried; "" when it is."""
    if draft.is_unreachable:
        return "it could not be reached when its files were to be fetched"
    return "there was no time for it" if asked.at - incident.made > _ASKED_BY_SECONDS else ""


def _why_not_asked(session: Session, failed: Failed, sections: Sequence[str], archive: IO[bytes]) -> str:
    """Ask; returns why that did not work, "" when it did."""
    try:
        session.on(failed.node).ask_again(sections, cast("BinaryIO", archive))
    except Exception as problem:  # noqa: BLE001 - also what a dying connection does to its library
        return told(problem)
    return ""


def _judged(incident: Incident, found: Diagnosis | None) -> Incident:
    if found is None:
        return incident
    cause = found.first.cause.name if found.first else ""
    return replace(incident, confidence=found.confidence.value, cause=cause, sentence=found.sentence)


def _relate(
    session: Session,
    folder: str,
    earlier: Sequence[Incident],
    incident: Incident,
    remember: Callable[[Incident], None],
) -> tuple[Notice, ...]:
    """Say in earlier reports of this node what this one is to them; returns what this one says of them."""
    notices = []
    for before in earlier:
        kind = relation(before, incident)
        if kind is Relation.CORRECTS:
            notices.append(corrects(before))
            add_notice(session.store, f"{folder}/{before.name}", corrected_by(before, incident))
            remember(replace(before, corrected_by=incident.name))
        elif kind is Relation.LESS_SURE:
            notices.append(less_sure_than(before))
            add_notice(session.store, f"{folder}/{before.name}", looked_at_again(incident))
        elif kind is Relation.LATER:
            notices.append(follows(before))
            add_notice(session.store, f"{folder}/{before.name}", followed_by(incident))
    return tuple(notices)


def _page(
    session: Session,
    failed: Failed,
    incident: Incident,
    judged: Mapping[str, Any] | None,
    notices: Iterable[Notice],
) -> Page:
    """What is known without opening a file."""
    error = failed.error
    return Page(
        incident=incident,
        cluster=session.policy.name,
        run_id=session.run_id,
        failure=redact(error.message) if error else "",
        next_step=error.next_step if error else "",
        diagnosis=judged,
        notices=tuple(notices),
        version=__version__,
    )


def _write_report(session: Session, page: Page, draft: _Draft, target: IncidentFolder) -> None:
    """The report; where its plots, timeline or verdict cannot be drawn, a plainer one that says so."""
    plain = replace(page, diagnosis=None)
    tries: Sequence[Callable[[], str]] = (
        lambda: write_report(_with_files(page, draft, target), draft.files),
        lambda: render(_with_files(page, draft, target)),
        lambda: render(_with_files(plain, draft, target)),
    )
    if session.clock() > draft.deadline:
        draft.missing.append(
            "Timeline and plots were left out of the report: there was no more time for them"
        )
        tries = tries[1:]
    for make in tries:
        document = _always(session, draft, "the report", make)
        if document is not None:
            target.add_text(REPORT, document)
            return


def _with_files(page: Page, draft: _Draft, target: IncidentFolder) -> Page:
    return replace(
        page,
        undiagnosed=next((m for m in draft.missing if m.startswith("The diagnosis")), ""),
        files=[target.entries[path] for path in sorted(target.entries)],
        missing=draft.missing,
    )


def write_report(page: Page, files: Mapping[str, str]) -> str:
    """Return the report: the page with timeline, plots and runbook added.

    Args:
        page: what is known without opening a file.
        files: path -> text.
    """
    incident = page.incident
    samples = newest_samples(files)
    own = [
        Moment(incident.since, "nightshift", f"{incident.step} began on {incident.node}", "own"),
        Moment(incident.made, "nightshift", f"{incident.step} had failed; evidence was taken", "own"),
    ]
    first = None if page.finding else (page.diagnosis or {}).get("first")
    name = str(first["runbook"]) if first else incident.code
    return render(
        replace(
            page,
            timeline=build_timeline(files, page.diagnosis, samples, own, incident.since - BEFORE_SECONDS),
            plots=draw(samples, [incident.since, incident.made]),
            marks="the failed step's begin, and its failure",
            runbook=Runbook(name, runbook_text(name)) if name else None,
            version=__version__,
        )
    )


def _manifest(session: Session, incident: Incident, draft: _Draft) -> dict[str, Any]:
    return {
        "version": 1,
        "made": incident.made,
        "since": incident.since,
        "cluster": session.policy.name,
        "node": incident.node,
        "step": incident.step,
        "code": incident.code,
        "run_id": session.run_id,
        "nightshift": __version__,
        "missing": draft.missing,
        "inside": draft.inside,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(problem: Exception) -> str:
    """What broke, for people."""
    if isinstance(problem, NightshiftError):
        return f"{problem.code}: {problem.message} {problem.cause}"
    return f"{type(problem).__name__}: {problem}"
