"""Whether the kubelet swapped the API server for a stray copy's, or back, while kubeadm was at work.

That a copy wins by name does not say since when. kubeadm itself replaces the API server once, after it has moved its new manifest; a swap is
shown by a copy that came while the job was at work, or by a pod that changed when kubeadm had not asked for it.

Source: manifests/listing.txt, state/manifest-sums.txt (`sum  modified changed size path`, epoch seconds) and recorder/samples.jsonl.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.diagnosis.jobs import read_jobs, window
from nightshift.domain.diagnosis.lines import lines_of
from nightshift.domain.diagnosis.manifests import DUPLICATE, LISTING, read_manifests
from nightshift.domain.diagnosis.recording import JOBS_JOURNAL, moves, pod_changes
from nightshift.domain.diagnosis.samples import META, SAMPLES, number, objects
from nightshift.domain.diagnosis.signs import Sign, Signs

SWAPPED = "manifests.swapped"
_API = "kube-apiserver"
_SUMS = "state/manifest-sums.txt"
_SUM = re.compile(r"^\S+  (\d{1,12}(?:\.\d+)?) (\d{1,12}(?:\.\d+)?) \d+ \S*/manifests/(\S+)$", re.MULTILINE)
_GAVE_UP = re.compile(r"kubeadm has tried to recover everything|static Pod hash for component")


@dataclass(frozen=True)
class _Work:
    """When kubeadm was at work, epoch seconds; what it changes in its rollback comes after the end."""

    began: float
    ended: float


def read_swaps(files: Mapping[str, str], since: float | None = None) -> Signs:
    """Copies of the API server's manifest that began or ceased to run while kubeadm was at work.

    Args:
        files: path in the bundle -> text.
        since: when the failed step's job began, epoch seconds; None: as the node says.
    """
    manifests = read_manifests(files)
    work = _work(files, since)
    if work is None or DUPLICATE in manifests.unread:
        return Signs(unread={SWAPPED: "nobody knows which files were there, or when the job began"})
    copies = [sign for sign in manifests.of(DUPLICATE) if sign.value.startswith(f"{_API}: ")]
    found = (_came(copy, files, work) or _changed(copy, files, work) for copy in copies)
    return Signs(tuple(sign for sign in found if sign), looked=frozenset({SWAPPED}))


def _work(files: Mapping[str, str], since: float | None) -> _Work | None:
    """From the job's begin to kubeadm's own words that it gave up, or else to the job's end."""
    meta = next((data for _, data in objects(files.get(META, ""))), {})
    began = window(files, since).jobs or number(meta, "started")
    if began is None:
        return None
    words = lines_of(files.get(JOBS_JOURNAL, ""), began, _GAVE_UP)
    said = [line.time for line in words if line.time is not None and _GAVE_UP.search(line.text)]
    ends = [sign.last for sign in read_jobs(files, since).seen if sign.last is not None]
    return _Work(began, min(said or ends, default=math.inf))


def _came(copy: Sign, files: Mapping[str, str], work: _Work) -> Sign | None:
    """The copy was written, or laid there with an older date, while kubeadm was at work."""
    written = () if copy.first is None else ((copy.first, LISTING),)
    laid = ((time, _SUMS) for time in _touched(copy.subject, files.get(_SUMS, "")))
    for time, source in (*written, *laid):
        if work.began <= time <= work.ended:
            value = f"it came {time - work.began:.0f} s after the job had begun"
            return Sign(SWAPPED, copy.subject, copy.quote, source, time, time, value=value)
    return None


def _touched(name: str, sums: str) -> Iterator[float]:
    """When a file's content and when its entry changed."""
    for found in _SUM.finditer(sums):
        if found[3] == name:
            yield from (float(found[1]), float(found[2]))


def _changed(copy: Sign, files: Mapping[str, str], work: _Work) -> Sign | None:
    """The API server's pod changed though kubeadm had not just moved a new manifest of it."""
    times = [time for time in moves(files, _API) if time >= work.began]
    changes = [c for c in pod_changes(files, _API) if work.began <= c.t < work.ended]
    for before, change in zip((None, *changes), changes, strict=False):
        since = work.began if before is None else before.t
        if not _is_asked_for(times, since, change.t):
            value = f"the pod became {change.hash}, which kubeadm had not asked for"
            return Sign(
                SWAPPED, copy.subject, "", f"{SAMPLES}:{change.line}", change.t, change.t, value=value
            )
    return None


def _is_asked_for(moved: Sequence[float], since: float, until: float) -> bool:
    """A manifest was moved by kubeadm since the pod's last change; journald's stamps are of whole seconds."""
    return any(math.floor(since) <= time <= until for time in moved)
