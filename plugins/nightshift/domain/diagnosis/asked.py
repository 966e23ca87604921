"""What the node was asked again after the first reading of its evidence: single files, as they were a moment later.

They lie in a bundle below `asked/`, beside `driver/asked.json`, which says who was asked, when, and for what. What the evidence of
the failure has is never replaced by them; they fill what it lacks, and say what is otherwise by now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nightshift.domain.diagnosis.cause import Cause
from nightshift.domain.diagnosis.lines import is_readable

FOLDER = "asked/"
FACTS = "driver/asked.json"
# What a node may be asked for by itself -> a file of it in a bundle; the node has the same list (lib/evidence.sh: SECTIONS).
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "jobs": ("jobs/kubeadm-upgrade",),
    "processes": ("state/processes.txt",),
    "manifests": ("manifests/listing.txt", "manifests/kube-apiserver.yaml", "manifests/etcd.yaml"),
    "argv": ("state/argv.txt",),
    "df": ("state/df.txt",),
    "scratch": ("state/scratch.txt",),
    "memory": ("state/memory.txt",),
    "kubelet-flags": ("state/kubelet-flags.txt",),
    "kubelet-config": ("state/kubelet-config.yaml",),
    "kubeadm-config": ("state/kubeadm-config.yaml",),
    "units": ("state/units.txt",),
    "sockets": ("state/sockets.txt",),
    "clock": ("state/clock.txt",),
    "platform": ("state/platform.txt",),
    "certificates": ("state/certificates.txt",),
    "etcd": ("state/etcd.txt",),
    "packages": ("state/packages.txt",),
}
# Whether the node booted is told by its processes, held against the job's begin and the node's offset from UTC.
_TOGETHER = {"processes": ("jobs", "manifests")}
_ANSWER = re.compile(r"(?:jobs|manifests|state)/[^/]+")
_JOBS = "jobs/"


@dataclass(frozen=True)
class Asked:
    """What came of asking.

    Args:
        node: who was asked.
        at: when, seconds since the epoch.
        sections: what for, by name.
        failed: why nothing came ("" when something did).
        files: path in the bundle, as if it were of the first evidence -> text.
    """

    node: str
    at: float
    sections: tuple[str, ...]
    failed: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def clock(self) -> str:
        """When, for people."""
        return f"{datetime.fromtimestamp(self.at, UTC):%H:%M:%S} UTC"

    def facts(self) -> dict[str, Any]:
        """Plain data of all but the files."""
        return {
            "node": self.node,
            "at": self.at,
            "sections": list(self.sections),
            "failed": self.failed,
        }

    def fills(self, files: Mapping[str, str]) -> dict[str, str]:
        """The files that the evidence of the failure lacks, or has without a word in them.

        A job beside those that the evidence has began later, and is of no failure of then.

        Args:
            files: of that evidence, path -> text.
        """
        has_jobs = any(path.startswith(_JOBS) for path in files)
        return {
            path: text
            for path, text in self.files.items()
            if not is_readable(files.get(path, "")) and not (has_jobs and path.startswith(_JOBS))
        }

    def as_of_now(self, files: Mapping[str, str]) -> dict[str, str]:
        """What the readers need to tell what is so now, and no more: the jobs are those of the failure.

        Args:
            files: of the evidence of the failure, path -> text.
        """
        return {**self.files, **{path: text for path, text in files.items() if path.startswith(_JOBS)}}


def is_answer(path: str) -> bool:
    """Whether a file that a node sent can be one of those that it was asked for."""
    return _ANSWER.fullmatch(path) is not None


def first_evidence(files: Mapping[str, str]) -> dict[str, str]:
    """The files of a bundle without those that were asked for later."""
    return {path: text for path, text in files.items() if not path.startswith(FOLDER)}


def asked_in(files: Mapping[str, str]) -> Asked | None:
    """What a bundle says of it; None: nobody asked, or what is said of it cannot be read."""
    try:
        facts = json.loads(files[FACTS])
        at = float(facts["at"])
        datetime.fromtimestamp(at, UTC)
        sections, failed = tuple(map(str, facts["sections"])), str(facts["failed"])
        node = str(facts["node"])
    except (KeyError, TypeError, ValueError, OverflowError, OSError, RecursionError):
        return None
    own = {path.removeprefix(FOLDER): text for path, text in files.items() if path.startswith(FOLDER)}
    return Asked(node, at, sections, failed, {path: text for path, text in own.items() if is_answer(path)})


def sections_of(causes: Iterable[Cause]) -> tuple[str, ...]:
    """Names of what a node has to be asked for to answer the tests of these causes."""
    wanted = {name for cause in causes for name in sections_of_one(cause)}
    wanted |= {more for name in wanted for more in _TOGETHER.get(name, ())}
    return tuple(name for name in SECTIONS if name in wanted)


def sections_of_one(cause: Cause) -> tuple[str, ...]:
    """The same of one cause, without what is needed only to understand it."""
    return tuple(
        name
        for name, paths in SECTIONS.items()
        if any(re.match(answer, path) for answer in cause.answers for path in paths)
    )
