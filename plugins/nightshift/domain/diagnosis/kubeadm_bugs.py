"""Bugs of kubeadm itself that are known by its version and by what it says: a table, with the issue that tells of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nightshift.domain.diagnosis.lines import LINE_LIMIT, lines_of
from nightshift.domain.diagnosis.patterns import JOBS
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

KNOWN_BUG = "kubeadm.known_bug"

_Version = tuple[int, int, int]
# The version of the kubeadm that ran: as our job asks for it, as kubeadm says it, as dpkg has it.
_SAID = re.compile(
    r"kubeadm upgrade (?:apply|node) to (\d+)\.(\d+)\.(\d+)|kubeadm version: v(\d+)\.(\d+)\.(\d+)"
)
_INSTALLED = re.compile(r"^kubeadm\s+(\d+)\.(\d+)\.(\d+)-", re.MULTILINE)


@dataclass(frozen=True)
class KubeadmBug:
    """One bug.

    Args:
        issue: where it is told.
        said: how kubeadm ends because of it.
        first: the first version that has it.
        fixed: the first version that has it no more.
    """

    issue: str
    said: re.Pattern[str]
    first: _Version
    fixed: _Version


BUGS = (
    # Until 1.34 a flag always stood there; 1.35 took it away. The fix is kubernetes/kubernetes#136127, picked to 1.35 as #136131.
    KubeadmBug(
        "kubernetes/kubeadm#3279",
        re.compile(r"error reading kubelet env file: no flags found in file"),
        (1, 35, 0),
        (1, 35, 1),
    ),
    # On a single drained control plane the check's job finds no node.
    KubeadmBug(
        "kubernetes/kubeadm#3050",
        re.compile(
            r"\[ERROR CreateJob\]: Job \"[\w-]+\" in the namespace \"kube-system\" did not complete in 15s"
        ),
        (1, 30, 0),
        (1, 30, 1),
    ),
)


def read_kubeadm_bugs(files: Mapping[str, str], since: float | None) -> Signs:
    """Find a known bug; unread when the jobs' journal or kubeadm's version is not in the evidence."""
    journals = {path: text for path, text in files.items() if re.match(JOBS, path) and text.strip()}
    version = _version(journals, files)
    if not journals or version is None:
        return Signs(unread={KNOWN_BUG: "without the journal of Nightshift's jobs and kubeadm's version"})
    bugs = [bug for bug in BUGS if bug.first <= version < bug.fixed]
    said = re.compile("|".join(bug.said.pattern for bug in bugs) or r"(?!)")
    found = [
        _sign(bug, version, f"{path}:{line.number}", line.text, line.time)
        for path, text in journals.items()
        for line in lines_of(text, since, said)
        for bug in bugs
        if bug.said.search(line.text[:LINE_LIMIT])
    ]
    return Signs(tuple(found), looked=frozenset({KNOWN_BUG}))


def _sign(bug: KubeadmBug, version: _Version, source: str, text: str, time: float | None) -> Sign:
    called = ".".join(map(str, version))
    fixed = ".".join(map(str, bug.fixed))
    return Sign(
        KNOWN_BUG,
        subject=f"{bug.issue} in {called}, fixed in {fixed}",
        quote=text.strip()[:QUOTE_LIMIT],
        source=source,
        first=time,
        last=time,
    )


def _version(journals: Mapping[str, str], files: Mapping[str, str]) -> _Version | None:
    """What ran says more than what is installed by now."""
    said = [found for text in journals.values() for found in _SAID.finditer(text)]
    found = said[-1] if said else _INSTALLED.search(files.get("state/packages.txt", ""))
    if found is None:
        return None
    numbers = [int(number) for number in found.groups() if number is not None]
    return numbers[0], numbers[1], numbers[2]
