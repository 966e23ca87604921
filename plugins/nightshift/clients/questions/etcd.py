"""The sections `etcd` and `etcd-device` of the look.

etcd's JSON gateway writes 64-bit numbers as text and leaves out what is zero, false or empty (seen on 3.6.5).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

from nightshift.clients.questions import NodeQuestion
from nightshift.domain.facts.etcd import (
    DEFAULT_QUOTA_BYTES,
    EtcdDevice,
    EtcdMember,
    EtcdState,
    EtcdStatus,
    Writer,
)
from nightshift.domain.versions import parse_minor

_CONDITIONS = ("absent", "stopped", "silent", "answers")


def parse_etcd(text: str) -> EtcdState:
    """Read the section `etcd`.

    Raises:
        ValueError, KeyError: it is not what the section prints.
    """
    lines = dict(_pairs(text))
    condition = lines["condition"]
    if condition not in _CONDITIONS:
        raise ValueError(f"unknown condition {condition!r}")
    if condition != "answers":
        return EtcdState(cast(Any, condition))
    status, members = _object(lines["status"]), _object(lines["members"])
    return EtcdState("answers", _status(status, members, lines["quota"]))


def _status(status: Mapping[str, Any], members: Mapping[str, Any], given_quota: str) -> EtcdStatus:
    leader = str(status.get("leader", "0"))
    return EtcdStatus(
        member_id=str(status["header"]["member_id"]),
        version=_version(str(status["version"])),
        leader_id=None if leader == "0" else leader,
        is_learner=status.get("isLearner") is True,
        database_bytes=int(status["dbSize"]),
        in_use_bytes=int(status.get("dbSizeInUse", 0)),
        quota_bytes=_quota(int(status.get("dbSizeQuota", 0)), given_quota),
        raft_index=int(status.get("raftIndex", 0)),
        applied_index=int(status.get("raftAppliedIndex", 0)),
        errors=tuple(str(error).strip() for error in status.get("errors", ())),
        members=tuple(_member(entry) for entry in members["members"]),
    )


def _version(text: str) -> str:
    parse_minor(".".join(text.split(".")[:2]))
    return text


def _quota(said: int, given: str) -> int:
    """3.6 says 0 in its status for "not set", 3.5 says nothing; both then use the default."""
    if said:
        return said
    return DEFAULT_QUOTA_BYTES if given in ("-", "0") else int(given)


def _member(entry: Mapping[str, Any]) -> EtcdMember:
    return EtcdMember(
        member_id=str(entry["ID"]),
        name=str(entry.get("name", "")),
        peer_urls=tuple(str(url) for url in entry.get("peerURLs", ())),
        is_learner=entry.get("isLearner") is True,
    )


def parse_device(text: str) -> EtcdDevice | None:
    """Read the section `etcd-device`; None on a node without etcd's data.

    Raises:
        ValueError, KeyError: it is not what the section prints.
    """
    if not text.strip():
        return None
    lines = list(_pairs(text))
    known = dict(lines)
    source, rotates, chain = known["device"].split("\t")
    pressure = known.get("pressure")
    return EtcdDevice(
        source=source,
        chain=tuple(chain.split()),
        rotates={"1": True, "0": False, "-": None}[rotates],
        pressure_percent=_finite(pressure) if pressure is not None else None,
        window_seconds=_finite(known["window"]),
        writers=tuple(_writer(rest) for name, rest in lines if name == "writer"),
    )


def _writer(text: str) -> Writer:
    pid, written, place, command, unit = text.split("\t")
    return Writer(int(pid), command, "" if unit == "-" else unit, int(written), place == "device")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Lines `name TAB rest`."""
    for line in text.splitlines():
        name, tab, rest = line.partition("\t")
        if not tab:
            raise ValueError(f"no name and value: {line[:200]!r}")
        yield name, rest


def _object(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object: {text[:200]!r}")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"no number: {text!r}")
    return number


ETCD_LOOK = NodeQuestion(section="etcd", parse=parse_etcd)
ETCD_DEVICE_LOOK = NodeQuestion(section="etcd-device", parse=parse_device)
