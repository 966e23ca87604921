"""What `nightshift-node probe` prints, read into `domain.facts`.

One line per section: `name TAB exit code TAB base64 of its output`. A section that must be known and failed makes
the probe blind as a whole: half a picture of a node is no picture.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from nightshift.clients.yaml_text import read_yaml
from nightshift.domain.errors import BlindError
from nightshift.domain.facts import (
    JobFacts,
    ManifestEntry,
    MountFacts,
    NodeProbe,
    RunningProcess,
    ScratchEntry,
)

_KINDS = {"f": "file", "d": "directory", "l": "symlink"}
_NO_SUCH_COMMAND = 127  # the shell's exit code
_VERSION = re.compile(r"v(\d+\.\d+\.\d+\S*)")
_FIELDS_OF_JOB = 11

T = TypeVar("T")


@dataclass(frozen=True)
class JobStatus:
    """One job line of the node.

    Args:
        facts: what steps see of it.
        job_id: names this one start of the job; another id means somebody started it anew.
        is_timed_out: systemd ended it at its time limit.
    """

    facts: JobFacts
    job_id: str
    is_timed_out: bool


def parse_probe(node: str, text: str) -> NodeProbe:
    """Read the output of the verb `probe`.

    Raises:
        BlindError: PROBE_INCOMPLETE, a section is missing, failed or cannot be read.
    """
    try:
        sections = parse_sections(text)
    except ValueError as error:
        raise _incomplete(node, "", str(error)) from error
    reader = _Reader(node, sections)
    boot_id, clock, token = reader.take("node", _identity)
    return NodeProbe(
        node=node,
        boot_id=boot_id,
        clock=clock,
        kubelet_version=reader.version("version-kubelet"),
        kubeadm_version=reader.version_there("version-kubeadm"),
        kubectl_version=reader.version("version-kubectl"),
        mounts=reader.take("mounts", _mounts),
        manifests=reader.take("manifests", _manifests),
        processes=reader.take("processes", _processes),
        scratch=reader.take("scratch", _scratch),
        etcd_data_bytes=reader.take("etcd-bytes", lambda t: int(t) if t.strip() else None),
        kubeadm_pids=reader.take("kubeadm-pids", lambda t: tuple(int(pid) for pid in t.split())),
        jobs=reader.take("jobs", lambda t: tuple(parse_job(line).facts for line in t.splitlines())),
        token=token,
    )


def parse_sections(text: str) -> dict[str, tuple[int, str]]:
    """Read lines of `name TAB exit code TAB base64 of the output`, as `probe` and `look` print them.

    Raises:
        ValueError: a line is none of that.
    """
    found = {}
    for line in text.splitlines():
        try:
            name, code, encoded = line.split("\t")
            found[name] = int(code), _text(encoded)
        except ValueError as error:
            raise ValueError(f"the line {line[:40]!r} has no three fields") from error
    return found


def parse_job(line: str) -> JobStatus:
    """Read one `JOB` line.

    Raises:
        ValueError: it is none.
    """
    fields = line.rstrip("\n").split("\t")
    if len(fields) != _FIELDS_OF_JOB or fields[0] != "JOB":
        raise ValueError(f"not a job line: {line[:200]!r}")
    _, step, state, code, run_id, token, job_id, started, finished, rebooted, arguments = fields
    facts = JobFacts(
        step=step,
        state="failed" if state == "timed-out" else state,
        exit_code=None if code == "-" else int(code),
        run_id="" if run_id == "-" else run_id,
        token=int(token),
        arguments=tuple(_text(arguments).split("\0")[:-1]),
        started=float(started),
        finished=_number(finished),
        rebooted=rebooted == "1",
    )
    return JobStatus(facts, job_id, is_timed_out=state == "timed-out")


class _Reader:
    """Sections of one probe, with the node's name for messages."""

    def __init__(self, node: str, sections: dict[str, tuple[int, str]]) -> None:
        self._node = node
        self._sections = sections

    def take(self, name: str, parse: Callable[[str], T]) -> T:
        """Parse a section that must be known."""
        if name not in self._sections:
            raise _incomplete(self._node, name, "it is missing")
        code, text = self._sections[name]
        if code != 0:
            raise _incomplete(self._node, name, f"it ended with exit code {code}")
        try:
            return parse(text)
        except (ValueError, KeyError, IndexError) as error:
            raise _incomplete(self._node, name, f"it cannot be read: {error!r}") from error

    def version(self, name: str) -> str | None:
        """Version a program said about itself; None when it is absent or said none."""
        code, text = self._sections.get(name, (1, ""))
        match = _VERSION.search(text)
        return match.group(1) if code == 0 and match else None

    def version_there(self, name: str) -> str | None:
        """The same, but "" of a program that is there and said none: that is not known, not absent."""
        is_absent = self._sections.get(name, (1, ""))[0] == _NO_SUCH_COMMAND
        return None if is_absent else self.version(name) or ""


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def _identity(text: str) -> tuple[str, float, int]:
    """Boot id, clock and fencing token."""
    pairs = _pairs(text)
    return pairs["boot_id"], float(pairs["clock"]), int(pairs["token"])


def _mounts(text: str) -> tuple[MountFacts, ...]:
    """Lines `asked TAB where TAB size TAB available TAB inodes TAB free inodes TAB mount point`; btrfs says "-" for inodes."""
    return tuple(
        MountFacts(asked, mount, int(size), int(available), _inodes(inodes), _inodes(free), where)
        for asked, where, size, available, inodes, free, mount in _rows(text, 7)
    )


def _inodes(text: str) -> int:
    return 0 if text == "-" else int(text)


def _scratch(text: str) -> tuple[ScratchEntry, ...]:
    return tuple(
        ScratchEntry(name, float(modified), int(size), kind == "d")
        for kind, modified, size, name in _rows(text, 4)
    )


def _processes(text: str) -> tuple[RunningProcess, ...]:
    return tuple(
        RunningProcess(name, int(pid), tuple(_text(encoded).split("\0")[:-1]))
        for name, pid, encoded in _rows(text, 3)
    )


def _manifests(text: str) -> tuple[ManifestEntry, ...]:
    return tuple(_manifest(*row) for row in _rows(text, 7))


def _manifest(
    kind: str, mode: str, owner: str, size: str, modified: str, encoded: str, name: str
) -> ManifestEntry:
    content = None if encoded == "-" else base64.b64decode(encoded)
    pod, parse_error = _pod(content)
    metadata = pod.get("metadata") or {}
    container = ((pod.get("spec") or {}).get("containers") or [{}])[0]
    command = (*(container.get("command") or ()), *(container.get("args") or ()))
    return ManifestEntry(
        name=name,
        kind=_KINDS.get(kind, "other"),
        mode=mode,
        owner=owner,
        size_bytes=int(size),
        modified=float(modified),
        sha256="" if content is None else hashlib.sha256(content).hexdigest(),
        pod_name=metadata.get("name"),
        pod_namespace=metadata.get("namespace"),
        parse_error=parse_error,
        command=tuple(str(word) for word in command),
        image=container.get("image"),
    )


def _pod(content: bytes | None) -> tuple[dict[str, Any], str | None]:
    """The pod in a manifest, or why there is none."""
    if content is None:
        return {}, "no readable file of at most 1 MiB"
    try:
        document = read_yaml(content)
        if not isinstance(document, dict) or document.get("kind") != "Pod":
            return {}, "it is no Pod"
        if document.get("apiVersion") != "v1":
            return {}, f"it is a Pod of {document.get('apiVersion')}, and the kubelet knows v1 only"
        if not isinstance(document["spec"]["containers"][0], dict):
            return {}, "it is a Pod without a container"
    except yaml.YAMLError as error:
        return {}, f"it is no YAML: {error}"
    except (KeyError, IndexError, TypeError):
        return {}, "it is a Pod without a container"
    return document, None


def _rows(text: str, width: int) -> Iterator[list[str]]:
    """Lines of `width` tab-separated fields; the last one may contain tabs (it is a name)."""
    for line in text.splitlines():
        fields = line.split("\t", width - 1)
        if len(fields) != width:
            raise ValueError(f"expected {width} fields: {line[:200]!r}")
        yield fields


def _number(text: str | None) -> float | None:
    return float(text) if text and text != "-" else None


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode(errors="replace")
    except binascii.Error as error:
        raise ValueError(f"not base64: {encoded[:40]!r}") from error


def _incomplete(node: str, section: str, why: str) -> BlindError:
    return BlindError(
        "PROBE_INCOMPLETE",
        f"The probe of node {node} has no usable section {section!r}.",
        cause=f"On the node {why}.",
        next_step=f"Run `sudo /usr/local/lib/nightshift/nightshift-node probe` on {node} and read its errors.",
    )
