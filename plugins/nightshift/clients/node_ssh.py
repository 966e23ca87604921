"""One node, through its SSH user and the one program that user may run as root.

Each call first compares the installed scripts with the shipped ones, in the same round trip. Jobs are systemd
units on the node: they outlive this process, and following one again attaches to it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import paramiko
import tenacity

from nightshift.clients.node_probe import JobStatus, parse_job, parse_probe, parse_sections
from nightshift.clients.questions.images import parse_manifests
from nightshift.clients.questions.supply import parse_supply
from nightshift.clients.script_bundle import DISPATCHER, ScriptBundle
from nightshift.clients.ssh_connect import (
    KEEPALIVE_SECONDS,
    NETWORK_ERRORS,
    Sink,
    drain,
    translated,
    unreachable,
)
from nightshift.domain.errors import (
    BlindError,
    ConfigError,
    FencedError,
    JobOutageError,
    NightshiftError,
    RemoteJobError,
    TransientError,
    TrustError,
    UnreachableError,
)
from nightshift.domain.facts import Confidential, JobFacts, NodeProbe, PackageFacts
from nightshift.domain.facts.supply import SupplyItem
from nightshift.domain.limits import (
    ASK_AGAIN_SECONDS,
    EVIDENCE_SECONDS,
    FETCH_SECONDS,
    LOOK_SECONDS,
    REATTACH_SECONDS,
    SUPPLY_SECONDS,
)
from nightshift.domain.redaction import redact


class ExitCode:
    """Exit codes of the node-side scripts; documented in include/scripts/README.md (a test compares)."""

    OK = 0
    USAGE = 2
    ABSENT = 3
    PACKAGE_MISSING = 20
    IMAGE_MISSING = 21
    REPOSITORY_REFUSED = 22
    SNAPSHOT_MISMATCH = 23
    KUBELET_UNHEALTHY = 24
    NO_SPACE = 25
    KUBEADM_FAILED = 26
    NOT_STAGED = 27
    ETCD_UNAVAILABLE = 28
    REFUSED = 29
    INSTALL_FAILED = 30
    API_UNAVAILABLE = 31
    API_LOST = 32
    REHEARSAL_FAILED = 33
    PACKAGE_HELD = 34
    DPKG_BUSY = 35
    INTERNAL = 70
    FENCED = 75
    BUSY = 76
    NOT_ROOT = 77
    LOCKED = 78
    NOT_ENROLLED = 90
    TAMPERED = 91
    TIMED_OUT = 124


_POLL_SECONDS = 1.0
_FIRST_POLL_SECONDS = 0.2
_SILENT_SECONDS = 5.0  # a connection that is opened again sooner is not worth a line
_KEPT_LINES = 5000
_CHANNEL_SECONDS = 20.0
_LOOK_CALL_SECONDS = 30.0  # each section ends by itself long before
_TAIL_LINES = 4  # in a message; the task's log has all of them
_TAIL_WIDTH = 200  # characters of each
_CAUSE_WIDTH = 1000  # characters, where a job's last line is the cause
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f]")  # colours and the like
_RESULT_PREFIX = "RESULT "
_SUDO_REFUSES = 1  # its exit code; the scripts' own begin at 2
_SUDO_WARNING = "sudo: unable to resolve host"  # said on a node that does not know its own name, and harmless

# What a failed job's exit code means: code of the error, cause ("": the job's last line), next step.
_FAILURES: dict[int, tuple[str, str, str]] = {
    ExitCode.PACKAGE_MISSING: (
        "PACKAGE_MISSING",
        "The package repository does not offer that version, or not with its dependencies.",
        "Publish the packages or choose another target, then clear this task.",
    ),
    ExitCode.IMAGE_MISSING: (
        "IMAGE_MISSING",
        "An image could not be pulled from its registry.",
        "Make the image available under exactly that name, then clear this task.",
    ),
    ExitCode.REPOSITORY_REFUSED: (
        "REPOSITORY_REFUSED",
        "The package repository did not answer, or its signature is not valid.",
        "Check reachability from the node and the keyring named in its apt source, then clear this task.",
    ),
    ExitCode.SNAPSHOT_MISMATCH: (
        "SNAPSHOT_MISMATCH",
        "What came out of the restored snapshot is not what is in etcd.",
        "Do not upgrade. Check etcd with `endpoint hashkv --cluster`, then clear this task.",
    ),
    ExitCode.KUBELET_UNHEALTHY: (
        "JOB_FAILED",
        "The kubelet did not become healthy after its restart.",
        "Read `journalctl -u kubelet` on the node.",
    ),
    ExitCode.NO_SPACE: (
        "JOB_FAILED",
        "There is not enough free space on the node for this job.",
        "Free space where the output says, then clear this task.",
    ),
    ExitCode.KUBEADM_FAILED: (
        "JOB_FAILED",
        "kubeadm ended with an error; its own words are above.",
        "Read the incident report. Clearing this task runs kubeadm again, which continues where it stopped.",
    ),
    ExitCode.NOT_STAGED: (
        "JOB_FAILED",
        "The packages of that version are not staged on the node, or were changed since.",
        "Clear the stage task, then this one.",
    ),
    ExitCode.ETCD_UNAVAILABLE: (
        "JOB_FAILED",
        "etcd on this node is not running or did not answer.",
        "Look at the etcd pod of this node before anything else.",
    ),
    ExitCode.REFUSED: (
        "JOB_FAILED",
        "The node refused to do this because it would not be safe.",
        "Read the last line of the output: it names the reason.",
    ),
    ExitCode.REHEARSAL_FAILED: (
        "REHEARSAL_FAILED",
        "",  # its last line is the target's own words
        "Nothing was changed. Correct what it names (kubeadm-config, a file it reads, the stored object), then clear this task.",
    ),
    ExitCode.PACKAGE_HELD: (
        "PACKAGE_HELD",
        "",  # its last line names the packages
        "Nothing was installed. Ask who holds it; apt-mark unhold it on that node, then clear this task.",
    ),
    ExitCode.INSTALL_FAILED: (
        "JOB_FAILED",
        "apt or dpkg could not install the staged package.",
        "Run `dpkg --audit` and `apt-get check` on the node.",
    ),
    ExitCode.BUSY: (
        "JOB_BUSY",
        "Somebody else was at work on the node when the job was about to begin; its last line says who.",
        "Let it come to its end, then clear this task.",
    ),
}
# Failures that may pass by themselves: the job looks first what is done, so another try is safe.
_OUTAGES: dict[int, tuple[str, str, str]] = {
    ExitCode.API_UNAVAILABLE: (
        "JOB_WITHOUT_API",
        "The API server did not become ready for the node.",
        "Check the control plane; the task tries again by itself, and can be cleared when its tries are used up.",
    ),
    ExitCode.API_LOST: (
        "JOB_WITHOUT_API",
        "The API server or etcd did not answer kubeadm; its own words are above.",
        "Check the control plane; the task tries again by itself, and can be cleared when its tries are used up.",
    ),
    ExitCode.DPKG_BUSY: (
        "DPKG_BUSY",
        "",  # its last line names who holds dpkg
        "Nothing: the task tries again by itself. When its tries are used up, let that process end, then clear this task.",
    ),
}
_LOCKED = (
    "NODE_LOCKED",
    "Another command of Nightshift kept the node's lock for too long; its disk may be slow.",
    "Nothing: the task tries again by itself. When its tries are used up, look what the node's disk does, then clear this task.",
)
_OUTAGES[ExitCode.LOCKED] = _LOCKED
_UNKNOWN_FAILURE = (
    "JOB_FAILED",
    "It ended in a way the scripts do not explain; its last lines are above.",
    "Read the incident report, then clear this task.",
)


@dataclass(frozen=True)
class CommandResult:
    """What one command left behind."""

    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text; undecodable bytes are replaced."""
        return self.stdout.decode(errors="replace")


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended well.

    Args:
        lines: what it wrote since this call follows it (the newest 5000 lines).
        attached: it was running already when this call came.
        result: its `RESULT {...}` line, parsed.
    """

    exit_code: int
    lines: tuple[str, ...]
    attached: bool
    result: dict[str, Any] | None


@dataclass(frozen=True)
class _Poll:
    """One answer of `job-poll`."""

    status: JobStatus
    cursor: str
    lines: tuple[str, ...]


@dataclass
class _Trail:
    """What was read of one start of a job so far."""

    job_id: str
    cursor: str = "-"
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    result: dict[str, Any] | None = None

    def take(self, poll: _Poll, log: Callable[[str], None]) -> None:
        """Tell the new lines of a look."""
        self.cursor = poll.cursor
        for line in (_CONTROL.sub("", written) for written in poll.lines):
            self.lines.append(line)
            self.result = _result_of(line) or self.result
            log(line)


def _noop() -> None:
    """Nothing to do between two polls."""


class NodeSsh:
    """Speaks to one node; one connection, opened when needed and opened again when it broke.

    Args:
        node: name of the node, for messages.
        connect: opens an authenticated connection; raises TrustError or UnreachableError.
        bundle: the scripts that must be installed on the node.
        reattach_seconds: how long a lost connection is tried again while a job is followed.
        sleep: waits that many seconds (tests make it instant).
    """

    def __init__(
        self,
        node: str,
        connect: Callable[[], paramiko.SSHClient],
        bundle: ScriptBundle,
        *,
        reattach_seconds: float = REATTACH_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.node = node
        self._connect = connect
        self._bundle = bundle
        self._reattach_seconds = reattach_seconds
        self._sleep = sleep
        self._client: paramiko.SSHClient | None = None
        self._lock = threading.Lock()
        self._trails: dict[str, _Trail] = {}  # by step: what `follow_job` has told already

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.node

    # -- one command ---------------------------------------------------------------------------------------

    def run(self, verb: str, *args: str, stdin: bytes = b"", timeout_seconds: float = 60) -> CommandResult:
        """Run one verb and return its end, whatever its exit code says of the verb's own business.

        Raises:
            UnreachableError: NODE_UNREACHABLE, no connection, it broke, or no end within the time limit.
            TrustError: SSH_AUTH_REFUSED, HOST_KEY_CHANGED, NODE_NOT_ENROLLED, NODE_SCRIPT_TAMPERED.
            FencedError: NODE_FENCED, the node has seen a newer token.
            RemoteJobError: JOB_BUSY, something else works on the node.
            TransientError: NODE_LOCKED, the node's lock was not free in time; nothing was done.
        """
        buffer = io.BytesIO()
        code, stderr = self._stream(verb, args, stdin, timeout_seconds, buffer)
        return CommandResult(code, buffer.getvalue(), stderr)

    def probe(self) -> NodeProbe:
        """Read everything in one round.

        Raises:
            BlindError: PROBE_INCOMPLETE.
        """
        return parse_probe(self.node, self._demand(self.run("probe"), "probe").text)

    def look(self, sections: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Sections of the verb `look`, read in one call: name -> (exit code, output).

        Raises:
            BlindError: LOOK_INCOMPLETE, the answer is not the verb's.
        """
        result = self._demand(self.run("look", *sections, timeout_seconds=_LOOK_CALL_SECONDS), "look")
        try:
            return parse_sections(result.text)
        except ValueError as error:
            raise BlindError(
                "LOOK_INCOMPLETE",
                f"The look at node {self.node} cannot be read.",
                cause=str(error),
                next_step=f"Run `sudo {DISPATCHER} look {' '.join(sections)}` on {self.node} and read its errors.",
            ) from error

    def etcd_metrics(self) -> str | None:
        """Text of etcd's metrics on the node's loopback; None when the node has no etcd.

        Raises:
            UnreachableError: ETCD_METRICS_UNREADABLE, etcd should answer and does not.
        """
        result = self.run("etcd-metrics", timeout_seconds=20)
        if result.exit_code == ExitCode.ABSENT:
            return None
        if result.exit_code != ExitCode.OK:
            raise UnreachableError(
                "ETCD_METRICS_UNREADABLE",
                f"etcd on node {self.node} did not answer with metrics.",
                cause=_last_line(result.stderr),
                next_step="Look at the etcd pod of this node; the gate stays closed until it answers.",
            )
        return result.text

    def kubelet_configz(self, token: str) -> dict[str, Any]:
        """Live configuration of the kubelet, asked on the node itself.

        Args:
            token: bearer token that may get nodes/configz; goes over standard input, never into an argument.

        Raises:
            BlindError: KUBELET_CONFIG_UNREADABLE.
        """
        result = self.run("kubelet-configz", stdin=token.encode(), timeout_seconds=20)
        try:
            if result.exit_code == ExitCode.OK:
                return dict(json.loads(result.stdout)["kubeletconfig"])
            cause = _last_line(result.stderr)
        except (ValueError, KeyError, TypeError):
            cause = "Its answer is no kubelet configuration."
        raise BlindError(
            "KUBELET_CONFIG_UNREADABLE",
            f"The kubelet of node {self.node} did not tell its configuration.",
            cause=cause,
            next_step="Check that the kubelet runs and that include/manifests is applied (nodes/configz).",
        )

    def package_index(self, minor: str, base_url: str) -> PackageFacts:
        """Freshly read versions offered for `minor`, each with all the packages a node needs; the node's apt is left alone.

        Empty versions without an error mean: the repository answers and has no such minor.
        """
        result = self.run("package-index", minor, base_url, timeout_seconds=LOOK_SECONDS)
        if result.exit_code == ExitCode.OK:
            return PackageFacts(minor, tuple(result.text.split()))
        if result.exit_code == ExitCode.ABSENT:
            return PackageFacts(minor, ())
        return PackageFacts(minor, (), error=_last_line(result.stderr))

    def supply(
        self, minor: str, package_version: str | None, base_url: str, images: Sequence[str]
    ) -> tuple[SupplyItem, ...]:
        """Whether what an upgrade would download is there, asked with the node's keyring, proxies and mirrors.

        Args:
            minor: whose repository, "1.35".
            package_version: of all packages a node needs, "1.35.4-1.1"; None = ask for the repository only.
            base_url: as for `package_index`.
            images: full names with tags.

        Raises:
            BlindError: SUPPLY_SILENT, the answer is incomplete.
        """
        words = (minor, package_version or "-", base_url, *images)
        result = self._demand(self.run("supply", *words, timeout_seconds=SUPPLY_SECONDS), "supply")
        try:
            items = parse_supply(result.text)
        except ValueError as error:
            raise self._half_an_answer(str(error)) from error
        asked = {("repository", minor), *(("image", image) for image in images)}
        missing = asked - {(item.kind, item.name) for item in items}
        if missing:
            raise self._half_an_answer(f"nothing was said about {', '.join(sorted(n for _, n in missing))}")
        return items

    def _half_an_answer(self, why: str) -> BlindError:
        return BlindError(
            "SUPPLY_SILENT",
            f"Node {self.node} did not say whether all packages and images are there.",
            cause=f"Its answer cannot be used: {why}.",
            next_step=f"Run `sudo /usr/local/lib/nightshift/nightshift-node supply` on {self.node} and read its errors.",
        )

    def image_manifests(self, images: Sequence[str]) -> dict[str, tuple[int, str]]:
        """What the node's registry says about images: image -> (HTTP status, manifest); status 0: no answer.

        Raises:
            BlindError: LOOK_INCOMPLETE, the answer is not understood.
        """
        result = self._demand(
            self.run("image-manifests", *images, timeout_seconds=LOOK_SECONDS), "image-manifests"
        )
        try:
            return parse_manifests(result.text)
        except ValueError as error:
            raise BlindError(
                "LOOK_INCOMPLETE",
                f"Node {self.node} did not tell what its registry says about images.",
                cause=f"On the node its answer cannot be read: {error!r}",
                next_step="Run `sudo /usr/local/lib/nightshift/nightshift-node image-manifests IMAGE` on it.",
            ) from error

    def fence(self, token: int) -> None:
        """Raise the node's fencing token: commands of an older token are refused from now on.

        Raises:
            FencedError: NODE_FENCED, the node has seen a newer one.
        """
        self._demand(self.run("fence", str(token)), "fence")

    # -- files ---------------------------------------------------------------------------------------------

    def fetch(self, kind: str, name: str, target: BinaryIO, *, timeout_seconds: float = FETCH_SECONDS) -> str:
        """Stream an allowed file of the node into `target`; return the SHA-256 of what came, in hex.

        Args:
            kind: the only one is "snapshot".
            name: plain file name, e.g. the bundle that the job's result names.
            target: gets the bytes as they come.
            timeout_seconds: for all of it.

        Raises:
            ConfigError: FILE_ABSENT, the node has no such file.
        """
        hashed = _Hashed(target)
        code, stderr = self._stream("fetch-file", (kind, name), b"", timeout_seconds, hashed)
        if code == ExitCode.ABSENT:
            raise ConfigError(
                "FILE_ABSENT",
                f"Node {self.node} has no {kind} {name}.",
                cause=_last_line(stderr),
                next_step="Clear the task that makes it, then this one.",
            )
        self._demand(CommandResult(code, b"", stderr), "fetch-file")
        return hashed.sha256

    def collect_evidence(
        self,
        since: float,
        target: BinaryIO,
        *,
        is_baseline: bool = False,
        timeout_seconds: float = EVIDENCE_SECONDS,
    ) -> None:
        """Stream a tar.gz with logs and manifests since `since` (epoch seconds), secrets redacted.

        Args:
            since: how far back logs go.
            target: gets the bytes as they come.
            is_baseline: it may be thrown away: recordings that the node owes wait for another one.
            timeout_seconds: for all of it.
        """
        words = (str(int(since)), *(["baseline"] if is_baseline else []))
        code, stderr = self._stream("collect-evidence", words, b"", timeout_seconds, target)
        self._demand(CommandResult(code, b"", stderr), "collect-evidence")

    def ask_again(
        self, sections: Sequence[str], target: BinaryIO, *, timeout_seconds: float = ASK_AGAIN_SECONDS
    ) -> None:
        """Stream a tar.gz with single sections of the evidence as they are now, secrets redacted. Only reads.

        Over the connection at hand: to open another one to a node that went away takes longer than a report may wait.

        Args:
            sections: by name, of `domain/diagnosis/asked.py: SECTIONS`; the node knows no other.
            target: gets the bytes as they come.
            timeout_seconds: for all of it.

        Raises:
            UnreachableError: NODE_UNREACHABLE, there is no connection any more, or no end within the time limit.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            channel = self._channel_at_hand(timeout_seconds)
        except NETWORK_ERRORS as error:
            self.close()
            raise translated(error, self.node) from error
        words = ("only", *sections)
        code, stderr = self._exchange(channel, "collect-evidence", words, b"", deadline, target)
        self._demand(CommandResult(code, b"", stderr), "collect-evidence")

    # -- jobs ----------------------------------------------------------------------------------------------

    def job(self, step: str) -> JobFacts | None:
        """What is known about one job of this node; None when it never ran here."""
        facts = self._poll(step, "-").status.facts
        return None if facts.state == "absent" else facts

    def run_job(
        self,
        step: str,
        token: int,
        run_id: str,
        args: Sequence[str],
        limit_seconds: int,
        log: Callable[[str], None],
        on_poll: Callable[[], None] = _noop,
    ) -> JobOutcome:
        """Start the job, or attach to it if it runs already, and follow it to its end.

        Lines that `follow_job` has told are not told again. A broken connection is opened again for up to `reattach_seconds`; the job does not notice. When `log` or
        `on_poll` raises, following ends and the job goes on.

        Args:
            step: name of the job script, e.g. "kubeadm-upgrade".
            token: fencing token this run holds.
            run_id: written into the job's status.
            args: the job's own arguments; a running job with other arguments is not attached to. One that is `Confidential`
                goes over standard input.
            limit_seconds: systemd ends the job after this time.
            log: gets every line of the job once, in order, and when its node does not answer; the caller says whose they are.
            on_poll: called after each look at the job, about once a second.

        Raises:
            FencedError: NODE_FENCED.
            RemoteJobError: JOB_BUSY, JOB_FAILED (or the exit code's own code), JOB_LOST, JOB_TIMED_OUT.
            JobOutageError: JOB_WITHOUT_API, nobody answered the job; DPKG_BUSY, somebody else held dpkg; NODE_LOCKED, it did
                not begin; another try is safe.
            UnreachableError: NODE_UNREACHABLE, for longer than `reattach_seconds`.
            TransientError: NODE_LOCKED, for longer than `reattach_seconds`.
        """
        # Named here, not there: asked again because an answer got lost, the node knows that it is the same request.
        request = str(uuid.uuid4())
        hidden = "".join(word for word in args if isinstance(word, Confidential)).encode()
        words = (f"@{_sha256(word)}" if isinstance(word, Confidential) else word for word in args)
        start = ("start-job", step, str(token), run_id, str(limit_seconds), request, *words)
        answer = self._demand(
            self._patiently(lambda: self.run(*start, stdin=hidden), log), "start-job"
        ).text.split()
        if len(answer) != 2:
            raise self._unexpected("start-job", " ".join(answer))
        how, job_id = answer
        log(f"{step} {how} as nightshift-{step}.service")
        return self._follow(step, job_id, how == "attached", log, on_poll)

    def follow_job(
        self, step: str, log: Callable[[str], None], is_enough: Callable[[JobFacts], bool]
    ) -> JobFacts | None:
        """Follow a job that runs, whoever started it, until it ended or `is_enough`; starts and changes nothing.

        It needs no token, because it only looks. `run_job` of the same client goes on where this stopped.

        Args:
            step: name of the job script.
            log: gets every line of the job once, in order.
            is_enough: asked at each look, before its lines are told; about once a second.

        Returns:
            What the last look said; None: no such job ran.

        Raises:
            TransientError: NODE_UNREACHABLE or NODE_LOCKED, at once: whoever needs the job will ask again.
        """
        trail: _Trail | None = None
        pause = _FIRST_POLL_SECONDS
        while True:
            poll = self._poll(step, trail.cursor if trail else "-")
            facts = poll.status.facts
            if trail is None and facts.state != "running":
                return None
            if trail is None:
                trail = self._trails[step] = _Trail(poll.status.job_id)
            elif poll.status.job_id != trail.job_id:  # another start: what was followed is over
                return facts
            if is_enough(facts):
                return facts
            trail.take(poll, log)
            if facts.state != "running":
                return facts
            self._sleep(pause)
            pause = min(_POLL_SECONDS, pause * 1.5)

    def _follow(
        self, step: str, job_id: str, attached: bool, log: Callable[[str], None], on_poll: Callable[[], None]
    ) -> JobOutcome:
        """Poll until the job ended."""
        known, pause = self._trails.pop(step, None), _FIRST_POLL_SECONDS
        trail = known if known is not None and known.job_id == job_id else _Trail(job_id)
        while True:
            poll = self._patiently(lambda: self._poll(step, trail.cursor), log)
            if poll.status.job_id != job_id:
                raise self._lost(step, "It was started anew by somebody else.", trail.lines)
            trail.take(poll, log)
            on_poll()
            if poll.status.facts.state != "running":
                return self._ended(step, poll.status, attached, trail.lines, trail.result)
            self._sleep(pause)
            pause = min(_POLL_SECONDS, pause * 1.5)

    def _ended(
        self,
        step: str,
        status: JobStatus,
        attached: bool,
        lines: deque[str],
        result: dict[str, Any] | None,
    ) -> JobOutcome:
        """The outcome of a job that ended well, or the error of one that did not."""
        facts = status.facts
        if facts.state == "succeeded":
            return JobOutcome(facts.exit_code or 0, tuple(lines), attached, result)
        if facts.state == "lost":
            reason = "The node was rebooted under it." if facts.rebooted else "It died without a last word."
            raise self._lost(step, reason, lines)
        if status.is_timed_out:
            took = (facts.finished or facts.started) - facts.started
            raise RemoteJobError(
                "JOB_TIMED_OUT",
                f"Job {step} on node {self.node} was ended at its limit, after {took:.0f} s.{_tail(lines)}",
                cause="It took longer than the policy allows.",
                next_step="Find what it waited for in its output, or raise the limit in the cluster's policy.",
                exit_code=facts.exit_code,
            )
        kind: type[RemoteJobError] = JobOutageError if facts.exit_code in _OUTAGES else RemoteJobError
        known = {**_FAILURES, **_OUTAGES}
        code, cause, next_step = known.get(facts.exit_code or 0, _UNKNOWN_FAILURE)
        raise kind(
            code,
            f"Job {step} on node {self.node} ended with exit code {facts.exit_code}.{_tail(lines)}",
            cause=cause or _last_line("\n".join(lines))[:_CAUSE_WIDTH],
            next_step=next_step,
            exit_code=facts.exit_code,
        )

    def _poll(self, step: str, cursor: str) -> _Poll:
        result = self._demand(self.run("job-poll", step, cursor, timeout_seconds=30), "job-poll")
        head, _, rest = result.text.partition("\n")
        mark, _, log = rest.partition("\n")
        try:
            status = parse_job(head)
            kind, new_cursor = mark.split("\t")
            if kind != "CURSOR":
                raise ValueError(f"not a cursor line: {mark[:200]!r}")
        except ValueError as error:
            raise self._unexpected("job-poll", str(error)) from error
        # The journal's own line ends only: a form feed or a progress bar's \r does not end a line of a job.
        return _Poll(status, new_cursor, tuple(log.removesuffix("\n").split("\n")) if log else ())

    # -- connection ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Drop the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _patiently(self, work: Callable[[], Any], log: Callable[[str], None]) -> Any:
        """Do `work`, again and again while the node cannot be asked, up to `reattach_seconds`; a silence that lasts is told."""
        told: list[float] = []  # since when nothing came, once that was told

        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            lasted = max(state.idle_for, state.seconds_since_start or 0.0)
            if isinstance(error, NightshiftError) and lasted >= _SILENT_SECONDS and not told:
                why = error.message.strip().removesuffix(".")
                log(f"{why}; the job is asked for again, for up to {self._reattach_seconds:.0f} s")
                told.append(state.start_time)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            wait=tenacity.wait_exponential(multiplier=0.5, max=10),
            stop=tenacity.stop_after_delay(self._reattach_seconds),
            sleep=self._sleep,
            before_sleep=tell,
            reraise=True,
        )
        done = retrying(work)
        if told:
            log(f"the job on {self.node} can be asked for again, after {time.monotonic() - told[0]:.0f} s")
        return done

    def _stream(
        self, verb: str, args: Sequence[str], stdin: bytes, timeout_seconds: float, target: Sink
    ) -> tuple[int, str]:
        """Run one verb, write its output to `target` as it comes; return exit code and stderr."""
        try:
            channel = self._open_channel()
        except NETWORK_ERRORS as error:
            self.close()
            raise translated(error, self.node) from error
        deadline = time.monotonic() + timeout_seconds
        return self._exchange(channel, verb, args, stdin, deadline, target)

    def _exchange(
        self,
        channel: paramiko.Channel,
        verb: str,
        args: Sequence[str],
        stdin: bytes,
        deadline: float,
        target: Sink,
    ) -> tuple[int, str]:
        """The same on an open channel, until `deadline` (monotonic seconds)."""
        command = self._bundle.command(verb, args)
        try:
            with channel:
                channel.exec_command(command)
                if stdin:
                    channel.sendall(stdin)
                channel.shutdown_write()
                code, stderr = drain(channel, target, deadline)
        except NETWORK_ERRORS as error:
            self.close()
            raise unreachable(
                self.node, f"`{verb}` was cut off: {str(error) or type(error).__name__}"
            ) from error
        return self._judge(verb, code, stderr)

    def _open_channel(self) -> paramiko.Channel:
        """A fresh channel, on a new connection when there is none or the one at hand turns out dead."""
        with self._lock:
            if self._client is not None:
                try:
                    return self._channel_on(self._client)
                except NETWORK_ERRORS:
                    self._client.close()
                    self._client = None
            self._client = self._connect()
            return self._channel_on(self._client)

    def _channel_at_hand(self, seconds: float) -> paramiko.Channel:
        """A fresh channel on the connection that is open; none is opened."""
        with self._lock:
            if self._client is None:
                raise paramiko.SSHException("the connection was lost since its files were fetched")
            return self._channel_on(self._client, seconds)

    @staticmethod
    def _channel_on(client: paramiko.SSHClient, seconds: float = _CHANNEL_SECONDS) -> paramiko.Channel:
        transport = client.get_transport()
        if transport is None or not transport.is_active():
            raise paramiko.SSHException("the connection is closed")
        transport.set_keepalive(KEEPALIVE_SECONDS)
        return transport.open_session(timeout=seconds)

    def _judge(self, verb: str, code: int, stderr: str) -> tuple[int, str]:
        """Pass on an end that is the verb's own business; raise for those every verb shares."""
        if code == ExitCode.NOT_ENROLLED or _is_refused_by_sudo(code, stderr):
            raise TrustError(
                "NODE_NOT_ENROLLED",
                f"Node {self.node} does not let us run Nightshift's scripts.",
                cause=f"The scripts or the sudoers file are not there. {_last_line(stderr)}",
                next_step="Run `nightshift enrol` for this cluster.",
            )
        if code == ExitCode.TAMPERED:
            raise TrustError(
                "NODE_SCRIPT_TAMPERED",
                f"The scripts on node {self.node} are not the shipped ones (version {self._bundle.version}).",
                cause="Nightshift was updated without enrolling again, or somebody changed the files.",
                next_step="If you updated Nightshift run `nightshift enrol` again; else find out who changed them.",
            )
        if code == ExitCode.FENCED:
            raise FencedError(
                "NODE_FENCED",
                f"Node {self.node} refused `{verb}`.",
                cause=_last_line(stderr),
                next_step="Another run or the recovery took over: look at the newest run. If there is none, clear this task: "
                "it raises the Lease's token above the node's.",
            )
        if code == ExitCode.BUSY:
            raise RemoteJobError(
                "JOB_BUSY",
                f"Node {self.node} is busy and refused `{verb}`.",
                cause=_last_line(stderr),
                next_step="Let it come to its end, then clear this task.",
                exit_code=code,
            )
        if code == ExitCode.LOCKED:
            error_code, cause, next_step = _LOCKED
            raise TransientError(
                error_code,
                f"Node {self.node} could not be asked for `{verb}`: {_last_line(stderr)}",
                cause=cause,
                next_step=next_step,
            )
        return code, stderr

    def _demand(self, result: CommandResult, verb: str) -> CommandResult:
        """Return `result` if it succeeded."""
        if result.exit_code != ExitCode.OK:
            raise self._unexpected(
                verb,
                f"exit code {result.exit_code}: {_last_lines(result.stderr.splitlines()) or 'It gave no reason.'}",
            )
        return result

    def _unexpected(self, verb: str, detail: str) -> NightshiftError:
        return RemoteJobError(
            "NODE_COMMAND_FAILED",
            f"`{verb}` failed on node {self.node}.",
            cause=detail,
            next_step=f"Run `sudo /usr/local/lib/nightshift/nightshift-node {verb}` on {self.node} and read it.",
        )

    def _lost(self, step: str, reason: str, lines: deque[str]) -> RemoteJobError:
        return RemoteJobError(
            "JOB_LOST",
            f"Job {step} on node {self.node} is gone without an end.{_tail(lines)}",
            cause=reason,
            next_step="Clear this task: the job looks first what is already done, then does the rest.",
        )


class _Hashed:
    """Passes bytes on and hashes them on their way."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        """Take the next piece."""
        self._hash.update(data)
        self._target.write(data)

    @property
    def sha256(self) -> str:
        """The hash of all that came so far, in hex."""
        return self._hash.hexdigest()


def _result_of(line: str) -> dict[str, Any] | None:
    """The data of a `RESULT {...}` line; None for any other line."""
    if not line.startswith(_RESULT_PREFIX):
        return None
    try:
        data = json.loads(line.removeprefix(_RESULT_PREFIX))
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_refused_by_sudo(code: int, stderr: str) -> bool:
    """Tell whether sudo itself said no. It also warns of things that keep it from nothing, before the script's own words."""
    said = [line for line in stderr.splitlines() if not line.startswith(_SUDO_WARNING)]
    return code == _SUDO_REFUSES and bool(said) and said[-1].startswith("sudo: ")


def _last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "It gave no reason."


def _last_lines(lines: Iterable[str]) -> str:
    """The last lines that say something, each of a length that can be read; on one line, whole secrets are known no more."""
    said = [line.strip()[:_TAIL_WIDTH] for line in redact("\n".join(lines)).splitlines() if line.strip()]
    return " | ".join(said[-_TAIL_LINES:])


def _tail(lines: Iterable[str]) -> str:
    """The end of a job's output for an error message."""
    said = _last_lines(lines)
    return f" Its last lines: {said}" if said else ""
