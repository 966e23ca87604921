"""What happened when, merged from everything in an incident that has a time: jobs, kubeadm, signs, the recorder, events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nightshift.domain.diagnosis.jobs import status_of, time_in
from nightshift.domain.diagnosis.lines import epoch, lines_of
from nightshift.domain.diagnosis.names import said_of
from nightshift.domain.diagnosis.samples import Sample, at, number, objects
from nightshift.domain.incident.samples import keys, spans

JOB_JOURNAL = "journal/nightshift-all.log"
FOLLOWED = "driver/job.txt"
EVENTS = "cluster/events.json"
PROCESSES = "recorder/processes.jsonl"
_MOST = 160  # moments in all
_MOST_OF_A_SOURCE = 60
_TAIL = 5  # of each source: its last words
_TEXT_LIMIT = 220
# What a job says of its own course: kubeadm's phases, the scripts' steps, errors.
_TELLING = re.compile(
    r"\[(?:upgrade|preflight|etcd|kubelet|addons|certs|download)[\w/-]*\]|error|fail|timed out", re.I
)
_UNIT = re.compile(r"\A\S+ \S+?\[\d+\]: ")


@dataclass(frozen=True)
class Moment:
    """One line of the timeline.

    Args:
        time: seconds since the epoch.
        source: who says so.
        text: what happened.
        weight: "bad" for what is part of the failure, "own" for what Nightshift did, "" else.
    """

    time: float
    source: str
    text: str
    weight: str = ""


def build_timeline(
    files: Mapping[str, str],
    diagnosis: Mapping[str, Any] | None,
    samples: Sequence[Sample],
    own: Iterable[Moment],
    since: float,
) -> tuple[Moment, ...]:
    """All moments since `since` (seconds since the epoch), oldest first, and not more than a person reads.

    Args:
        files: path -> text.
        diagnosis: `engine.to_dict`; None: there is none.
        samples: of the recorder.
        own: what the driver did and saw itself; never left out.
        since: from when on.
    """
    sources = (
        _signs(diagnosis or {}),
        _jobs(files),
        _told(files),
        _changes(samples),
        _processes(files),
        _events(files),
    )
    found = [sorted((m for m in source if m.time >= since), key=lambda m: m.time) for source in sources]
    mine = list(own)
    failed = _failure([*mine, *(m for source in found for m in source)])
    tails = [m for source in found for m in source[-_TAIL:]]
    rest = [m for source in found for m in _nearest(source[:-_TAIL], failed, _MOST_OF_A_SOURCE - _TAIL)]
    shown = dict.fromkeys([*mine, *tails, *_nearest(rest, failed, _MOST - len(tails))])
    left_out = len({m for source in found for m in source} - shown.keys())
    if left_out:
        said = f"{left_out} moments are left out here, those furthest from the failure; the evidence has them"
        shown[Moment(since, "nightshift", said)] = None
    return tuple(sorted(shown, key=lambda m: m.time))


def _failure(moments: Sequence[Moment]) -> float:
    """When the failure was: the bad end of a job, else the last that the driver saw of it; seconds since the epoch."""
    ended = [m.time for m in moments if m.source == "job" and m.weight == "bad"]
    return max(ended or [m.time for m in moments if m.weight == "own"], default=0.0)


def _nearest(moments: Sequence[Moment], failed: float, most: int) -> list[Moment]:
    """At most so many: what is part of the failure, and then what was nearest to it."""
    return sorted(moments, key=lambda m: (m.weight != "bad", abs(m.time - failed)))[:most]


def _signs(diagnosis: Mapping[str, Any]) -> Iterator[Moment]:
    """When the signs were first seen, on which the verdict stands."""
    suspects = [diagnosis.get("first"), *diagnosis.get("chain", ()), *diagnosis.get("conditions", ())]
    seen = [sign for suspect in suspects if suspect for sign in suspect["signs"]]
    for weight, signs in (("bad", diagnosis.get("symptoms", ())), ("", seen)):
        for sign in signs:
            time = number(sign.get("first"))
            if time is not None and not str(sign["source"]).startswith("jobs/"):  # see `_jobs`
                often = f", {sign['count']} times" if sign["count"] > 1 else ""
                quote = f": {sign['quote']}" if sign["quote"] else ""
                source = str(sign["source"]).partition(":")[0] or "signs"
                yield Moment(
                    time,
                    _named(source),
                    _cut(f"{said_of(sign['name'], sign['subject'])}{often}{quote}"),
                    weight,
                )


def _jobs(files: Mapping[str, str]) -> Iterator[Moment]:
    """Beginning and end of the node's jobs, by their status files."""
    for path, text in files.items():
        if not path.startswith("jobs/"):
            continue
        status = status_of(text)
        step = path.removeprefix("jobs/")
        for key in ("started", "finished"):
            time = time_in(status, key)
            if time is not None:
                said = status.get("state", "")
                end = f"job {step} ended: {said}, exit code {status.get('exit_code') or 'unknown'}"
                is_bad = key == "finished" and said not in ("succeeded", "running")
                text_ = f"job {step} began" if key == "started" else end
                yield Moment(time, "job", text_, "bad" if is_bad else "own")


def _told(files: Mapping[str, str]) -> Iterator[Moment]:
    """What the job said, by its own journal or, where that could not be had, as the driver followed it."""
    path = JOB_JOURNAL if files.get(JOB_JOURNAL, "").strip() else FOLLOWED
    for line in lines_of(files.get(path, ""), None):
        text = _UNIT.sub("", line.text)
        if line.time is not None and _TELLING.search(text):
            yield Moment(line.time, "job's log", _cut(text))


def _changes(samples: Sequence[Sample]) -> Iterator[Moment]:
    """When a static pod got another hash or container, and when the API server came and went."""
    for name in keys(samples, "pods"):
        for what in ("hash", "container"):
            found = spans(samples, lambda sample, n=name, w=what: _text(sample.at("pods", n, w)))  # type: ignore[misc]
            for before, after in pairwise(found):
                if before.state != after.state:
                    said = f"{name}: {what} {before.state[:12]} became {after.state[:12]}"
                    yield Moment(after.begin, "recorder", said)
    ready = spans(samples, lambda sample: _text(sample.at("apiserver", "ready")))
    for before, after in pairwise(ready):
        if before.state != after.state:
            said = "the API server is ready" if after.state == "True" else "the API server is not ready"
            yield Moment(after.begin, "recorder", said)


def _processes(files: Mapping[str, str]) -> Iterator[Moment]:
    for _, entry in objects(files.get(PROCESSES, "")):
        time = number(entry, "t")
        if time is not None:
            said = str(entry.get("args") or entry.get("comm") or "?")
            yield Moment(time, "recorder", _cut(f"process {entry.get('pid', '?')} began: {said}"))


def _events(files: Mapping[str, str]) -> Iterator[Moment]:
    """The cluster's own events, warnings and normal ones."""
    try:
        items = at(json.loads(files.get(EVENTS, "{}")), "items")
    except (ValueError, RecursionError):
        return
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, Mapping):
            continue
        stamp = (
            item.get("lastTimestamp") or item.get("eventTime") or at(item, "metadata", "creationTimestamp")
        )
        time = epoch(str(stamp).replace("Z", "+00:00"))
        if time is not None:
            about = at(item, "involvedObject", "name") or ""
            yield Moment(time, "event", _cut(f"{item.get('reason', '')} {about}: {item.get('message', '')}"))


def _named(source: str) -> str:
    """A file of the bundle, as people call it."""
    head, _, rest = source.partition("/")
    if head == "pods":
        return rest.split("/")[1] if "/" in rest else rest
    return (
        rest.removesuffix(".log").removesuffix(".txt") if head in ("journal", "driver", "state") else source
    )


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _TEXT_LIMIT else f"{flat[:_TEXT_LIMIT]} …"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
