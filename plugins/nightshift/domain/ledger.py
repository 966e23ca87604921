"""The night's one entry: what was aimed at, what was found, what was done, what comes next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from nightshift.domain.incident.record import Incident, sureness
from nightshift.domain.look_again import sentences
from nightshift.domain.verdicts import Verdict

NOTE_LIMIT = 1000  # characters Airflow takes; it would cut the end, where cause and next step stand
_VERDICT_LIMIT = 200  # characters of a diagnosis in the note
# A full stop followed by a space and a capital ends a sentence; "1.35.4 on" and "e.g. x" do not.
_SENTENCE_END = re.compile(r"[.!?]\s+(?=[A-Z])")


@dataclass(frozen=True)
class NodeEntry:
    """What happened to one node tonight."""

    name: str
    from_version: str
    to_version: str
    outcome: str  # "upgraded", "already", "failed", "quarantined", "tomorrow", "untouched"
    began: float | None = None  # when its drain began, seconds since the epoch
    seconds: float | None = None  # from cordon to uncordon
    steps: Mapping[str, float] = field(default_factory=dict)  # step -> seconds, see `step_seconds`

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        began = None if self.began is None else _iso(self.began, "milliseconds")
        return {**asdict(self), "began": began, "steps": dict(self.steps)}


@dataclass(frozen=True)
class NodeGate:
    """One gate in front of a slot or wave: what it said, and how long it kept the nodes behind it waiting.

    Args:
        task: id of the gate's task.
        nodes: the nodes behind it.
        began: when its task was first executed, seconds since the epoch; of a repeated task its last try.
        ended: when it had its verdict.
        outcome: see `Outcome`.
        code: the verdict's reason.
        value: the decisive number, with its unit.
        threshold: what it was compared with, with its unit.
        gate: which gate that was: etcd's, or the first one that was shut.
        asked: every gate that was asked here -> its outcome.
        look_again: when another look may say something else, one sentence; "" where the gate let the night pass.
    """

    task: str
    nodes: tuple[str, ...]
    began: float
    ended: float
    outcome: str
    code: str
    value: str
    threshold: str
    gate: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)
    look_again: str = ""

    @staticmethod
    def from_verdict(task: str, said: Mapping[str, Any]) -> NodeGate:
        """Build it from a verdict's `to_dict` with `nodes`, `began`, `ended` and `asked` added."""
        words = {name: str(said[name]) for name in ("outcome", "code", "value", "threshold", "gate")}
        asked = dict(said.get("asked") or {})
        nodes, look_again = tuple(said["nodes"]), sentences([said])
        return NodeGate(
            task, nodes, said["began"], said["ended"], asked=asked, look_again=look_again, **words
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data; the moments are exact, so that a wait can be subtracted."""
        return {
            **asdict(self),
            "nodes": list(self.nodes),
            "asked": dict(self.asked),
            "began": _iso(self.began, "milliseconds"),
            "ended": _iso(self.ended, "milliseconds"),
            "seconds": round(self.ended - self.began, 1),
        }


@dataclass(frozen=True)
class Failure:
    """The first task that failed tonight, and its error as it stands in that task's log.

    Args:
        task: its id.
        message: what happened.
        code: of the error; "" when the task left none (it was killed, or marked as failed).
        cause: why.
        next_step: what a person should do.
        is_blind: something could not be known, as opposed to refused or broken.
        before_claim: it failed while the night only looked.
    """

    task: str
    message: str
    code: str = ""
    cause: str = ""
    next_step: str = ""
    is_blind: bool = False
    before_claim: bool = False

    @property
    def sentence(self) -> str:
        """What failed, with code and cause."""
        coded = f" ({self.code})" if self.code else ""
        cause = f" Cause: {self.cause}" if self.cause else ""
        return f"{self.task} failed{coded}: {self.message}{cause}"

    @property
    def answer(self) -> str:
        """The night's answer, as long as no node was upgraded: a look that failed is no failed upgrade."""
        return "blind" if self.is_blind and self.before_claim else "failed"


@dataclass(frozen=True)
class LedgerEntry:
    """One night of one cluster; written also when nothing was done.

    Args:
        cluster: name of the cluster.
        run_id: Airflow's run id.
        started: seconds since the epoch.
        finished: seconds since the epoch.
        answer: "upgraded", "nothing", "held", "blocked", "blind", "failed" or "partial".
        sentence: the night in one plain sentence.
        target: `TargetChoice.to_dict()`; empty when the night ended before it was known.
        gates: the verdict of every gate asked before the decision, with value and threshold.
        node_gates: the gates in front of slots and waves, in the order of the night.
        nodes: what happened to each node.
        phase_seconds: phase -> duration.
        what_next: what a person should do or expect, one sentence.
        next_check: when the schedule begins the next night, "2026-11-30 23:00 UTC"; "" when it is begun by hand only.
        snapshot: where the proven snapshot lies; None when none was taken.
        rehearsal: what came of it, as `steps/rehearse.py` answers it; empty when it did not come to its end.
        evidence: where its incidents lie, a folder each.
        quiesced: what was made quiet while the control plane was upgraded, "Deployment shop/web".
        overrides: the owner's overrides in force tonight, `Override.to_dict()`, used or not.
        disk_forecast: how right the disk gate's forecast was, of the nodes that were upgraded: node -> mount ->
            `forecast_bytes` and `used_bytes` after the night, and the error in percent of the use found.
        given_back: what came of it, in sentences without a full stop; also what somebody else had changed meanwhile.
    """

    cluster: str
    run_id: str
    started: float
    finished: float
    answer: str
    sentence: str
    what_next: str
    next_check: str = ""
    target: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[Verdict, ...] = ()
    node_gates: tuple[NodeGate, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    snapshot: str | None = None
    rehearsal: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    quiesced: tuple[str, ...] = ()
    given_back: tuple[str, ...] = ()
    overrides: tuple[Mapping[str, Any], ...] = ()
    disk_forecast: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data; times as UTC ISO strings."""
        return {
            "cluster": self.cluster,
            "run_id": self.run_id,
            "started": _iso(self.started),
            "finished": _iso(self.finished),
            "seconds": round(self.finished - self.started, 1),
            "answer": self.answer,
            "sentence": self.sentence,
            "what_next": self.what_next,
            "next_check": self.next_check,
            "target": dict(self.target),
            "gates": [verdict.to_dict() for verdict in self.gates],
            "node_gates": [gate.to_dict() for gate in self.node_gates],
            "nodes": [node.to_dict() for node in self.nodes],
            "phase_seconds": {name: round(seconds, 1) for name, seconds in self.phase_seconds.items()},
            "snapshot": self.snapshot,
            "rehearsal": dict(self.rehearsal),
            "evidence": list(self.evidence),
            "quiesced": list(self.quiesced),
            "given_back": list(self.given_back),
            "overrides": [dict(override) for override in self.overrides],
            "disk_forecast": dict(self.disk_forecast),
        }


def step_seconds(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return how long each step of one node took, by what its tasks answered (step -> `began`, `ended`).

    The kubeadm step installs kubeadm's package first and says how long that took (`package_seconds`).
    """
    seconds = {step: said["ended"] - said["began"] for step, said in answers.items()}
    package = answers.get("kubeadm", {}).get("package_seconds")
    if package is not None:
        package = min(package, seconds["kubeadm"])  # a task that attached to a running job saw only its end
        seconds |= {"kubeadm_package": package, "kubeadm": seconds["kubeadm"] - package}
    return {step: round(taken, 1) for step, taken in seconds.items()}


def write_note(entry: LedgerEntry, reports: str = "") -> str:
    """Return the run note: what happened, and what comes next; one sentence each.

    Args:
        entry: the night.
        reports: the line with the link to its incident reports, see `report_line`; it is never cut.
    """
    comes_next = entry.what_next
    if entry.next_check:
        comes_next = f"{comes_next.strip().rstrip('.')}; next check {entry.next_check}"
    if not reports:
        return two_sentences(entry.sentence, comes_next)
    return f"{two_sentences(entry.sentence, comes_next, NOTE_LIMIT - len(reports) - 2)}\n\n{reports}"


def report_line(incidents: Sequence[Incident], link: str) -> str:
    """Return the note's line about incident reports, in Markdown: the surest verdict, and the link to it or to all.

    Args:
        incidents: of the run, oldest first.
        link: where the UI shows them, without a slash at its end; one incident's page is <link>/<name>/report.html.
    """
    if not incidents:
        return ""
    best = max(incidents, key=lambda incident: (not incident.corrected_by, sureness(incident.confidence)))
    verdict = _as_code(_shortened(best.sentence or "no diagnosis", _VERDICT_LIMIT))
    sure = f" ({best.confidence})" if best.confidence else ""
    if len(incidents) == 1:
        return f"[Incident report of {best.node}]({link}/{best.name}/report.html){sure}: {verdict}"
    return f"[{len(incidents)} incident reports]({link}/). {best.node}{sure}: {verdict}"


def _as_code(text: str) -> str:
    """Text that quotes logs, so that nothing in it is a link or a picture: anybody may have written it."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def two_sentences(happened: str, comes_next: str, limit: int = NOTE_LIMIT) -> str:
    """Return a note of exactly two sentences that fits into Airflow; what is too long loses its middle."""
    end = _shortened(_as_sentence(comes_next), limit // 2)
    return f"{_shortened(_as_sentence(happened), limit - len(end) - 1)} {end}"


def _shortened(text: str, limit: int) -> str:
    """Keep beginning and end: a job's last lines stand between what happened and why."""
    if len(text) <= limit:
        return text
    mark = " … "
    half = (limit - len(mark)) // 2
    return f"{text[:half]}{mark}{text[-half:]}"


def _as_sentence(text: str) -> str:
    """Make one sentence of the text: several become clauses, and it ends in a full stop.

    The UI reads notes as Markdown, and a job's last lines may say anything: no link, no picture, no paragraph of theirs.
    """
    one_line = " ".join(text.split()).replace("](", "]\\(")
    clauses = [part.strip() for part in _SENTENCE_END.split(one_line.rstrip("."))]
    return "; ".join(clause for clause in clauses if clause) + "."


def _iso(seconds: float, timespec: str = "seconds") -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec)
