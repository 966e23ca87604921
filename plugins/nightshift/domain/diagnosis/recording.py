"""What the node's recorder saw while the job was at work: one sample a second, see `samples.py`.

These signs say what was so at which second; no log can say that of a pod that never came up. Thresholds are those of a bad night, not of
etcd's guideline: a healthy lab on a shared disk has single fsyncs of 0.1 s, and each upgrade takes the API server away for half a minute.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nightshift.domain.diagnosis.lines import lines_of
from nightshift.domain.diagnosis.samples import (
    SAMPLES,
    Sample,
    etcd_disk,
    number,
    samples_of,
    spans,
    steps,
    writers_of,
)
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs, guarded

HASH_UNCHANGED = "recorder.hash_unchanged"
RESTARTS = "recorder.restarts"
SLOW_FSYNC = "recorder.etcd_slow_fsync"
SLOW_APPLIES = "recorder.etcd_slow_applies"
NO_LEADER = "recorder.etcd_no_leader"
WRITER = "recorder.writer"
IO_PRESSURE = "recorder.io_pressure"
FS_FULL = "recorder.fs_full"
MEMORY_LOW = "recorder.memory_low"
NOT_READY = "recorder.apiserver_not_ready"
GAP = "recorder.gap"
NAMES = frozenset(
    {
        HASH_UNCHANGED,
        RESTARTS,
        SLOW_FSYNC,
        SLOW_APPLIES,
        NO_LEADER,
        WRITER,
        IO_PRESSURE,
        FS_FULL,
        MEMORY_LOW,
        NOT_READY,
        GAP,
    }
)

WAITED_SECONDS = 30.0  # of kubeadm for a pod; the kubelet takes over a changed manifest within 20 s
RESTARTS_COUNT = 3  # containers of one and the same pod
SLOW_FSYNC_SECONDS = 0.1  # mean of a second; etcd's guideline for its 99th percentile is 0.01
SLOW_FSYNC_COUNT = 10  # such seconds
SLOW_APPLIES_COUNT = 100
NO_LEADER_SECONDS = 5.0
WRITER_BYTES_PER_SECOND = 5e6
WRITER_SECONDS = 10
_ON_ETCDS = "etcd"  # a writer's place: it has a file open for writing on etcd's file system
WRITER_SHARE = 0.3  # of all that was written to etcd's disk meanwhile
PRESSURE_SHARE = 0.5  # of a second in which something waited for a disk
PRESSURE_SECONDS = 30.0
FULL_FREE_SHARE = 0.01
LOW_MEMORY_BYTES = 100 * 1024 * 1024  # the kubelet evicts below it by default
NOT_READY_SECONDS = 60.0
GAP_SECONDS = 10.0

_WAITS_LOOKED_AT = 50  # kubeadm has four components, and gives up after few attempts
JOBS_JOURNAL = "journal/nightshift-all.log"
_MOVED = re.compile(
    r"\[upgrade/staticpods\] Mov(?:ed|ing) new manifest to \"[^\"]{0,200}/([\w-]{1,64})\.yaml\""
)
_DONE = re.compile(r"\[upgrade/staticpods\] Component \"([\w-]{1,64})\" upgraded successfully")


@dataclass(frozen=True)
class PodChange:
    """A component runs as another pod than in the sample before.

    Args:
        t: seconds since the epoch.
        line: of the sample.
        hash: of the new pod.
    """

    t: float
    line: int
    hash: str


def pod_changes(files: Mapping[str, str], component: str) -> list[PodChange]:
    """Each time a component's pod became another one; a container that only restarts is none."""
    known = [(sample, found) for sample in samples_of(files) if (found := _pod(sample, component, "hash"))]
    return [PodChange(new.t, new.line, pod) for (_, old), (new, pod) in pairwise(known) if pod != old]


def moves(files: Mapping[str, str], component: str) -> list[float]:
    """When kubeadm moved a component's new manifest into its place, seconds since the epoch."""
    return [moved for name, moved, _, _ in _waits(files) if name == component]


def read_recording(files: Mapping[str, str]) -> Signs:
    """All signs of a recording; unread without one."""
    samples = samples_of(files)
    if len(samples) < 2:  # one sample shows no course
        return Signs(unread=dict.fromkeys(NAMES, f"{SAMPLES} is not in the evidence"))
    readers: Mapping[str, Callable[[], Signs]] = {
        HASH_UNCHANGED: lambda: _hashes(samples, files),
        RESTARTS: lambda: _restarts(samples),
        SLOW_FSYNC: lambda: _fsync(samples),
        SLOW_APPLIES: lambda: _slow_applies(samples),
        NO_LEADER: lambda: _no_leader(samples),
        WRITER: lambda: _writer(samples, files),
        IO_PRESSURE: lambda: _pressure(samples),
        FS_FULL: lambda: _full(samples),
        MEMORY_LOW: lambda: _memory(samples),
        NOT_READY: lambda: _not_ready(samples),
        GAP: lambda: _gaps(samples),
    }
    return Signs.merged(guarded((name,), reader) for name, reader in readers.items())


def _hashes(samples: Sequence[Sample], files: Mapping[str, str]) -> Signs:
    """A pod stayed the same while kubeadm, having moved its manifest, waited for another."""
    waits = _waits(files)
    if not any(_pod(sample, component, "hash") for sample in samples for component in _components(sample)):
        return _unread(HASH_UNCHANGED, "no hash of a pod was read")
    if not waits and not files.get(JOBS_JOURNAL, "").strip():
        return _unread(HASH_UNCHANGED, "the journal of Nightshift's jobs is not in the evidence")
    signs = []
    for component, moved, quote, until in waits:
        during = [s for s in samples if moved <= s.t <= (until or s.t) and _pod(s, component, "hash")]
        hashes = {_pod(s, component, "hash") for s in during}
        before = next(
            (
                _pod(s, component, "hash")
                for s in reversed(samples)
                if s.t < moved and _pod(s, component, "hash")
            ),
            None,
        )
        waited = during[-1].t - during[0].t if during else 0.0
        if len(hashes) == 1 and waited >= WAITED_SECONDS and (before is None or before in hashes):
            value = f"{hashes.pop()} for {waited:.0f} s after kubeadm had written the new manifest"
            signs.append(_sign(HASH_UNCHANGED, component, during, value, quote=quote))
    return Signs(tuple(signs), looked=frozenset({HASH_UNCHANGED}))


def _waits(files: Mapping[str, str]) -> list[tuple[str, float, str, float | None]]:
    """Component, when kubeadm moved its manifest, the line, and when kubeadm was content (None: never, or nobody knows).

    kubeadm tries a component again after it rolled it back, so a component may come several times.
    """
    found: list[tuple[str, float, str, float | None]] = []
    for line in lines_of(files.get(JOBS_JOURNAL, ""), None, re.compile(r"\[upgrade/staticpods\]")):
        if line.time is None:
            continue
        moved, done = _MOVED.search(line.text), _DONE.search(line.text)
        if found and found[-1][3] is None and (moved or (done and done[1] == found[-1][0])):
            found[-1] = (*found[-1][:3], line.time)
        if moved and len(found) < _WAITS_LOOKED_AT:
            found.append((moved[1], line.time, line.text.strip()[:QUOTE_LIMIT], None))
    return found


def _restarts(samples: Sequence[Sample]) -> Signs:
    """One and the same pod had container after container."""
    containers: dict[tuple[str, str], dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        for component in _components(sample):
            pod, container = _pod(sample, component, "hash"), _pod(sample, component, "container")
            if pod and container:
                containers[component, pod].setdefault(container, sample)
    if not containers:
        return _unread(RESTARTS, "no container of a pod was read")
    signs = [
        _sign(
            RESTARTS, component, list(seen.values()), f"{len(seen)} containers of pod {pod}", count=len(seen)
        )
        for (component, pod), seen in containers.items()
        if len(seen) >= RESTARTS_COUNT
    ]
    return Signs(tuple(signs), looked=frozenset({RESTARTS}))


def _fsync(samples: Sequence[Sample]) -> Signs:
    seconds = {step.sample.line: step for step in steps(samples, "etcd", "fsync_sum")}
    counts = {step.sample.line: step.grown for step in steps(samples, "etcd", "fsync_count")}
    means = [
        (step.sample, step.grown / counts[line]) for line, step in seconds.items() if counts.get(line, 0) > 0
    ]
    if not means:
        return _unread(SLOW_FSYNC, "etcd's metrics were not read")
    slow = [(sample, mean) for sample, mean in means if mean >= SLOW_FSYNC_SECONDS]
    if len(slow) < SLOW_FSYNC_COUNT:
        return Signs(looked=frozenset({SLOW_FSYNC}))
    fsyncs = sum(counts[sample.line] for sample, _ in slow)
    mean = sum(mean * counts[sample.line] for sample, mean in slow) / fsyncs
    worst = max(mean for _, mean in slow)
    value = f"mean {mean:.2f} s in {len(slow)} seconds, {worst:.2f} s in the worst one"
    return _seen(_sign(SLOW_FSYNC, "etcd", [s for s, _ in slow], value, count=len(slow)))


def _slow_applies(samples: Sequence[Sample]) -> Signs:
    grown = list(steps(samples, "etcd", "slow_applies"))
    if not grown:
        return _unread(SLOW_APPLIES, "etcd's metrics were not read")
    slow = [step for step in grown if step.grown > 0]
    total = int(sum(step.grown for step in slow))
    if total < SLOW_APPLIES_COUNT:
        return Signs(looked=frozenset({SLOW_APPLIES}))
    most = max(slow, key=lambda step: step.grown / step.seconds)
    value = f"{total} slow applies, {most.grown / most.seconds:.0f} in the worst second"
    return _seen(_sign(SLOW_APPLIES, "etcd", [step.sample for step in slow], value, count=total))


def _no_leader(samples: Sequence[Sample]) -> Signs:
    return _stretches(
        samples,
        NO_LEADER,
        "etcd",
        lambda s: None if (has := s.number("etcd", "has_leader")) is None else has == 0,
        NO_LEADER_SECONDS,
        "etcd's metrics were not read",
    )


def _writer(samples: Sequence[Sample], files: Mapping[str, str]) -> Signs:
    """Who, besides etcd, wrote a good part of what etcd's disk had to take. Who wrote to another disk is left out: see `place`."""
    if not any(isinstance(sample.data.get("writers"), list) for sample in samples):
        return _unread(WRITER, "no process's writing was read")
    disk, known = etcd_disk(files), writers_of(files)
    total = sum(step.grown for step in steps(samples, "disks", disk, "written_bytes")) if disk else 0.0
    there = {pid for pid, writer in known.items() if writer.get("place") == _ON_ETCDS}
    wrote: dict[int, list[tuple[Sample, float, str]]] = defaultdict(list)
    for sample in samples:
        for pid, written, comm in _written(sample):
            if comm != "etcd" and pid in there:
                wrote[pid].append((sample, written, comm))
    signs = []
    for pid, rows in sorted(wrote.items(), key=lambda item: -sum(row[1] for row in item[1])):
        heavy = [row for row in rows if row[1] >= WRITER_BYTES_PER_SECOND]
        written = sum(row[1] for row in rows)
        if len(heavy) < WRITER_SECONDS or written < WRITER_SHARE * total:
            continue
        owner, args = (_text(known.get(pid, {}), key) for key in ("owner", "args"))
        subject = f"{rows[0][2]} (pid {pid}{f' of {owner}' if owner not in ('', '-') else ''})"
        # A process gives to the page cache; more than the disk took in that time is no share of it.
        share = f", {100 * written / total:.0f} % of what {disk} took" if 0 < written <= total else ""
        value = f"{written / 1e6:.0f} MB in {len(rows)} s{share}"
        signs.append(_sign(WRITER, subject, [row[0] for row in rows], value, quote=args))
    return Signs(tuple(signs), looked=frozenset({WRITER}))


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    return value[:QUOTE_LIMIT] if isinstance(value, str) else ""


def _written(sample: Sample) -> Iterator[tuple[int, float, str]]:
    writers = sample.data.get("writers")
    for writer in writers if isinstance(writers, list) else ():
        pid, written = number(writer, "pid"), number(writer, "written_bytes")
        comm = writer.get("comm") if isinstance(writer, Mapping) else None
        if pid is not None and written is not None and isinstance(comm, str):
            yield int(pid), written, comm[:64]


def _pressure(samples: Sequence[Sample]) -> Signs:
    shares = {s.sample.line: s.grown / (s.seconds * 1e6) for s in steps(samples, "pressure", "io_some_us")}
    return _stretches(
        samples,
        IO_PRESSURE,
        "disks",
        lambda s: None if s.line not in shares else shares[s.line] >= PRESSURE_SHARE,
        PRESSURE_SECONDS,
        "the kernel says nothing of pressure",
    )


def _full(samples: Sequence[Sample]) -> Signs:
    least: dict[str, tuple[Sample, float, float]] = {}
    full: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        systems = sample.data.get("filesystems")
        for mount in systems if isinstance(systems, Mapping) else ():
            free, size = (
                sample.number("filesystems", mount, "free_bytes"),
                sample.number("filesystems", mount, "size_bytes"),
            )
            if free is None or not size:
                continue
            if mount not in least or free < least[mount][1]:
                least[mount] = (sample, free, size)
            if free <= FULL_FREE_SHARE * size:
                full[mount].append(sample)
    if not least:
        return _unread(FS_FULL, "no file system was read")
    signs = [
        _sign(FS_FULL, mount, when, f"{least[mount][1] / 1e6:.0f} MB free of {least[mount][2] / 1e6:.0f} MB")
        for mount, when in full.items()
    ]
    return Signs(tuple(signs), looked=frozenset({FS_FULL}))


def _memory(samples: Sequence[Sample]) -> Signs:
    read = [(s, value) for s in samples if (value := s.number("memory_available_bytes")) is not None]
    if not read:
        return _unread(MEMORY_LOW, "the memory was not read")
    low = [(s, value) for s, value in read if value < LOW_MEMORY_BYTES]
    if not low:
        return Signs(looked=frozenset({MEMORY_LOW}))
    least = min(value for _, value in low)
    return _seen(
        _sign(MEMORY_LOW, "this node", [s for s, _ in low], f"{least / 1e6:.0f} MB available at the least")
    )


def _not_ready(samples: Sequence[Sample]) -> Signs:
    def is_down(sample: Sample) -> bool | None:
        state = sample.data.get("apiserver")
        ready = state.get("ready") if isinstance(state, Mapping) else None
        return not ready if isinstance(ready, bool) else None

    return _stretches(
        samples, NOT_READY, "kube-apiserver", is_down, NOT_READY_SECONDS, "the API server was not asked"
    )


def _gaps(samples: Sequence[Sample]) -> Signs:
    """The recorder itself stood still: the node hung, or was starved."""
    pairs = [(a, b) for a, b in pairwise(samples) if b.t - a.t >= GAP_SECONDS]
    if not pairs:
        return Signs(looked=frozenset({GAP}))
    longest = max(b.t - a.t for a, b in pairs)
    ends = [sample for pair in pairs for sample in pair]
    return _seen(
        _sign(GAP, "this node", ends, f"nothing was recorded for up to {longest:.0f} s", count=len(pairs))
    )


def _stretches(
    samples: Sequence[Sample],
    name: str,
    subject: str,
    holds: Callable[[Sample], bool | None],
    least_seconds: float,
    why: str,
) -> Signs:
    """A sign when something held for so long without a break; unread when no sample tells."""
    if all(holds(sample) is None for sample in samples):
        return _unread(name, why)
    found = spans(samples, holds)
    long = [(first, last) for first, last in found if last.t - first.t >= least_seconds]
    if not long:
        return Signs(looked=frozenset({name}))
    longest = max(last.t - first.t for first, last in long)
    total = sum(last.t - first.t for first, last in found)
    ends = [sample for pair in long for sample in pair]
    value = f"{longest:.0f} s without a break, {total:.0f} s in all"
    return _seen(_sign(name, subject, ends, value, count=len(long)))


def _components(sample: Sample) -> Iterator[str]:
    pods = sample.data.get("pods")
    yield from pods if isinstance(pods, Mapping) else ()


def _pod(sample: Sample, component: str, key: str) -> str | None:
    pods = sample.data.get("pods")
    pod = pods.get(component) if isinstance(pods, Mapping) else None
    value = pod.get(key) if isinstance(pod, Mapping) else None
    return value[:64] if isinstance(value, str) and value else None


def _sign(
    name: str, subject: str, samples: Sequence[Sample], value: str, *, count: int = 1, quote: str = ""
) -> Sign:
    return Sign(
        name,
        subject=subject[:QUOTE_LIMIT],
        quote=quote,
        source=f"{SAMPLES}:{samples[0].line}",
        first=min(sample.t for sample in samples),
        last=max(sample.t for sample in samples),
        count=count,
        value=value,
    )


def _seen(sign: Sign) -> Signs:
    return Signs((sign,), looked=frozenset({sign.name}))


def _unread(name: str, why: str) -> Signs:
    return Signs(unread={name: why})
