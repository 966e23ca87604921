"""How slow etcd was, and how long it had no leader, from its own log.

Slow are applies, fsyncs and heartbeats; only writes and fsyncs speak of the disk: reads are as slow on a large cluster, heartbeats
without a processor.

JSON lines as etcd 3.5 to 3.6 writes them. Matched by `msg`, never by `caller`, which moves between versions. etcd samples equal messages
(the first 100 of a second, then each 100th), so the count is a lower bound.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.diagnosis.followed import FOLLOWED, followed_last
from nightshift.domain.diagnosis.lines import Line, lines_of
from nightshift.domain.diagnosis.manifests import LISTING
from nightshift.domain.diagnosis.patterns import ETCD
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

SLOW_APPLY = "etcd.slow_apply"
STARVED = "etcd.starved"
SLOW_FSYNC = "etcd.slow_fsync"
LEADERLESS = "etcd.leaderless"
NAMES = frozenset({SLOW_APPLY, STARVED, SLOW_FSYNC, LEADERLESS})

# A busy healthy lab logs hundreds of applies of 0.1 to 0.95 s; a starved etcd (the incident: 4.3 s, the lab's delayed fsync: 0.8 s
# each, so many above 1 s) logs whole seconds, again and again.
STARVED_SECONDS = 1.0
STARVED_COUNT = 5
LEADERLESS_SECONDS = 30.0  # each start of etcd is without a leader for some seconds
_SILENT_SECONDS = (
    20.0  # two of the kubelet's questions for its health; a longer pause is not known to be without a leader
)
_LOG = re.compile(ETCD)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(h|ms|µs|us|ns|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
# `header:<ID:… > txn:<…>` (3.5) or `header:{…} txn:{…}`; a key may have any text, so only the beginning is looked at.
_REQUEST = re.compile(
    r"(?:^|[ >}])(txn|put|delete_range|compaction|lease_grant|lease_revoke|alarm|auth_\w{1,30}):[<{]"
)
_REQUEST_LOOKED_AT = 300
_KINDS_SHOWN = 4
_SLOW = "apply request took too long"
_FSYNC = "slow fdatasync"
_HEARTBEAT = "leader failed to send out heartbeat on time"
_WORDS = re.compile("|".join(map(re.escape, (_SLOW, _FSYNC, _HEARTBEAT))))
# etcd's own message or its answer, not what a request quotes: there the quotation marks are escaped.
_NO_LEADER = re.compile(
    r"\"msg\":\"(?:serving /health false; no leader|[0-9a-f]{1,16} is starting a new election at term )"
    r"|\"(?:error|reason)\":\"(?:RAFT NO LEADER|etcdserver: no leader)"
)
_HAS_LEADER = re.compile(
    r"\"msg\":\"(?:[^\"\\]{1,60} (?:elected leader|became leader) |ready to serve client requests)"
)
_LEADER_WORDS = re.compile("leader|LEADER|starting a new election|ready to serve client requests")
_ROTATED = re.compile(r"(?<=\.log)\.\d{8}-\d{6}$")


@dataclass(frozen=True)
class _Event:
    path: str
    line: Line
    message: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return duration_seconds(str(self.message.get("took", "")))

    @property
    def is_fsync(self) -> bool:
        return str(self.message["msg"]).startswith(_FSYNC)

    @property
    def is_slow_write(self) -> bool:
        return self.message["msg"] == _SLOW and not self.is_read and self.seconds >= STARVED_SECONDS

    @property
    def is_read(self) -> bool:
        return str(self.message.get("prefix", "")).startswith("read-only")


@dataclass(frozen=True)
class Wait:
    """One thing of a second or more that etcd logged and that waits for the disk.

    Args:
        end: epoch seconds at which it was over, as logged; None when its line has no time.
        seconds: that it took.
        is_sync: it is a sync of the disk itself; else a write, which may also have waited for the processor.
    """

    end: float | None
    seconds: float
    is_sync: bool


def disk_waits(files: Mapping[str, str], since: float | None) -> list[Wait]:
    """The waits that `STARVED` is made of."""
    events = _all_events(_logs(files), since)
    return [Wait(event.line.time, event.seconds, event.is_fsync) for event in _of_disk(events)]


def read_etcd(files: Mapping[str, str], since: float | None) -> Signs:
    """Measure etcd's slowness; unread without a log of it."""
    logs = _logs(files)
    listing = files.get(LISTING, "")
    if not logs and "total " in listing and " etcd.yaml" not in listing:
        return Signs(looked=NAMES)  # no etcd runs here
    if not any(text.strip() for text in logs.values()):
        return Signs(unread=dict.fromkeys(NAMES, "no log of etcd is in the evidence"))
    events = _all_events(logs, since)
    applies = [event for event in events if event.message["msg"] == _SLOW]
    signs = [_applies(applies)] if applies else []
    fsyncs = [event for event in events if event.is_fsync]
    if len(fsyncs) >= STARVED_COUNT:
        signs.append(_sign(SLOW_FSYNC, fsyncs, f"{len(fsyncs)} slow fsyncs"))
    disk = _of_disk(events)
    if len(disk) >= STARVED_COUNT:
        heartbeats = len(events) - len(applies) - len(fsyncs)
        value = f"{_apply_value(applies)}; {len(fsyncs)} slow fsyncs, {heartbeats} late heartbeats"
        signs.append(_sign(STARVED, disk, value))
    return Signs((*signs, *_leaderless(logs, since)), looked=NAMES)


def _logs(files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in followed_last(files) if _LOG.match(path)}


def _all_events(logs: Mapping[str, str], since: float | None) -> list[_Event]:
    return _once(event for path, text in logs.items() for event in _events(path, text, since))


def _of_disk(events: Sequence[_Event]) -> list[_Event]:
    return [*(e for e in events if e.is_fsync), *(e for e in events if e.is_slow_write)]


def _leaderless(logs: Mapping[str, str], since: float | None) -> Iterator[Sign]:
    """The longest stretch in which one container of etcd says again and again that it has no leader, when it is a long one.

    Of one container: what each of two starts says once, minutes apart, is no outage.
    """
    told: dict[str, list[tuple[float, str, Line]]] = defaultdict(list)
    for path, text in logs.items():
        for line in lines_of(text, since, _LEADER_WORDS):
            if line.time is not None and (_NO_LEADER.search(line.text) or _HAS_LEADER.search(line.text)):
                told[_ROTATED.sub("", path)].append((line.time, path, line))
    stretches = [stretch for lines in told.values() for stretch in _stretches(sorted(lines, key=_time))]
    longest = max(stretches, key=lambda stretch: stretch[-1][0] - stretch[0][0], default=None)
    if longest is None:
        return
    (first, path, line), last = longest[0], longest[-1][0]
    if last - first >= LEADERLESS_SECONDS:
        yield Sign(
            LEADERLESS,
            subject="etcd",
            quote=line.text[:QUOTE_LIMIT],
            source=f"{path}:{line.number}",
            first=first,
            last=last,
            count=len(longest),
            value=f"{last - first:.0f} s without a break",
        )


def _time(told: tuple[float, str, Line]) -> float:
    return told[0]


def _stretches(lines: Iterable[tuple[float, str, Line]]) -> list[list[tuple[float, str, Line]]]:
    """Runs of lines without a leader; a leader or a long silence ends one."""
    found: list[list[tuple[float, str, Line]]] = []
    is_open = False
    for one in lines:
        has_leader = _NO_LEADER.search(one[2].text) is None
        if has_leader:
            is_open = False
        elif is_open and one[0] - found[-1][-1][0] <= _SILENT_SECONDS:
            found[-1].append(one)
        else:
            found.append([one])
            is_open = True
    return found


def duration_seconds(text: str) -> float:
    """Seconds of a Go duration ("4.3s", "1m2.5s", "412.7ms"); 0 for what is none."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _events(path: str, text: str, since: float | None) -> Iterable[_Event]:
    for line in lines_of(text, since, _WORDS):
        try:
            message = json.loads(line.text)
        except (ValueError, RecursionError):
            continue
        # The words may also stand inside of a request that somebody stored: only etcd's own message counts.
        if isinstance(message, dict) and str(message.get("msg", "")).startswith((_SLOW, _FSYNC, _HEARTBEAT)):
            yield _Event(path, line, message)


def _once(events: Iterable[_Event]) -> list[_Event]:
    """Without what the recorder's copy only repeats."""
    told: set[tuple[float | None, str]] = set()
    found = []
    for event in events:
        line = (event.line.time, event.line.text)
        if not (event.path.startswith(FOLLOWED) and line in told):
            found.append(event)
        told.add(line)
    return found


def _applies(applies: Sequence[_Event]) -> Sign:
    return _sign(SLOW_APPLY, applies, _apply_value(applies))


def _apply_value(applies: Sequence[_Event]) -> str:
    writes = [event for event in applies if not event.is_read]
    kinds = Counter(kind for event in writes if (kind := _kind(event.message)))
    split = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(_KINDS_SHOWN))
    slowest = max((event.seconds for event in applies), default=0.0)
    return (
        f"{len(applies)} slow applies (writes {len(writes)}{f': {split};' if split else ','} "
        f"reads {len(applies) - len(writes)}), slowest {slowest:.1f} s"
    )


def _kind(message: Mapping[str, Any]) -> str:
    """What a write was: the first message of the request behind its header; "" when it is not said."""
    found = _REQUEST.search(str(message.get("request", ""))[:_REQUEST_LOOKED_AT])
    return found[1].replace("_", " ") if found else ""


def _sign(name: str, events: Sequence[_Event], value: str) -> Sign:
    slowest = max(events, key=lambda event: event.seconds)
    times = [event.line.time for event in events if event.line.time is not None]
    return Sign(
        name,
        subject="etcd",
        quote=slowest.line.text[:QUOTE_LIMIT],
        source=f"{slowest.path}:{slowest.line.number}",
        first=min(times, default=None),
        last=max(times, default=None),
        count=len(events),
        value=value,
    )
