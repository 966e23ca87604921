"""How slow etcd was, from its own log: count, maximum and kind of the slow applies, slow fsyncs, late heartbeats.

JSON lines as etcd 3.5 to 3.6 writes them. Matched by `msg`, never by `caller`, which moves between versions. etcd samples equal messages
(the first 100 of a second, then each 100th), so the count is a lower bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.diagnosis.lines import Line, lines_of
from nightshift.domain.diagnosis.manifests import LISTING
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

SLOW_APPLY = "etcd.slow_apply"
STARVED = "etcd.starved"
NAMES = frozenset({SLOW_APPLY, STARVED})

# A busy healthy lab logs hundreds of applies of 0.1 to 0.95 s; a starved etcd (the incident: 4.3 s, the lab's delayed fsync: 0.8 s
# each, so many above 1 s) logs whole seconds, again and again.
STARVED_SECONDS = 1.0
STARVED_COUNT = 5
_LOG = re.compile(r"^pods/kube-system_etcd-[^/]+/etcd/\d+\.log$")
_DURATION = re.compile(r"([\d.]+)(h|ms|µs|us|ns|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_SLOW = "apply request took too long"
_FSYNC = "slow fdatasync"
_HEARTBEAT = "leader failed to send out heartbeat on time"


@dataclass(frozen=True)
class _Event:
    path: str
    line: Line
    message: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return duration_seconds(str(self.message.get("took", "")))


def read_etcd(files: Mapping[str, str], since: float | None) -> Signs:
    """Measure etcd's slowness; unread without a log of it."""
    logs = {path: text for path, text in files.items() if _LOG.match(path)}
    listing = files.get(LISTING, "")
    if not logs and "total " in listing and " etcd.yaml" not in listing:
        return Signs(looked=NAMES)  # no etcd runs here
    if not any(text.strip() for text in logs.values()):
        return Signs(unread=dict.fromkeys(NAMES, "no log of etcd is in the evidence"))
    events = [event for path, text in logs.items() for event in _events(path, text, since)]
    applies = [event for event in events if event.message["msg"] == _SLOW]
    signs = [_applies(applies)] if applies else []
    very_slow = [e for e in applies if e.seconds >= STARVED_SECONDS]
    disk = [e for e in events if e.message["msg"] != _SLOW]
    if len(very_slow) >= STARVED_COUNT or len(disk) >= STARVED_COUNT:
        signs.append(_sign(STARVED, very_slow or disk, _starved_value(applies, disk)))
    return Signs(tuple(signs), looked=NAMES)


def duration_seconds(text: str) -> float:
    """Seconds of a Go duration ("4.3s", "1m2.5s", "412.7ms"); 0 for what is none."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _events(path: str, text: str, since: float | None) -> Iterable[_Event]:
    for line in lines_of(text, since):
        if not any(words in line.text for words in (_SLOW, _FSYNC, _HEARTBEAT)):
            continue
        try:
            message = json.loads(line.text)
        except ValueError:
            continue
        # The words may also stand inside of a request that somebody stored: only etcd's own message counts.
        if isinstance(message, dict) and str(message.get("msg", "")).startswith((_SLOW, _FSYNC, _HEARTBEAT)):
            yield _Event(path, line, message)


def _applies(applies: Sequence[_Event]) -> Sign:
    return _sign(SLOW_APPLY, applies, _apply_value(applies))


def _apply_value(applies: Sequence[_Event]) -> str:
    reads = sum(str(event.message.get("prefix", "")).startswith("read-only") for event in applies)
    slowest = max((event.seconds for event in applies), default=0.0)
    return (
        f"{len(applies)} slow applies (writes {len(applies) - reads}, reads {reads}), slowest {slowest:.1f} s"
    )


def _starved_value(applies: Sequence[_Event], disk: Sequence[_Event]) -> str:
    fsyncs = sum(str(event.message["msg"]).startswith(_FSYNC) for event in disk)
    return f"{_apply_value(applies)}; {fsyncs} slow fsyncs, {len(disk) - fsyncs} late heartbeats"


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
