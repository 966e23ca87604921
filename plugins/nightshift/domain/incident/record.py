"""The record of one incident in its run's index, and what a later one means for an earlier one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from nightshift.domain.diagnosis.jobs import BEFORE_SECONDS
from nightshift.domain.errors import (
    DrainBlockedError,
    NightshiftError,
    RemoteJobError,
    VerificationError,
)
from nightshift.domain.retention import expired
from nightshift.domain.store_paths import is_safe

# Of what may pass by itself only this is about a node: it does not answer, or its disk keeps its lock.
_NODE_SILENT = ("NODE_UNREACHABLE", "NODE_LOCKED")
PERSON = "person"  # in place of a confidence: a person found the cause
# In the order of what they claim; what could not be judged claims nothing.
_SURE = ("", "unknown", "likely", "confident", PERSON)


@dataclass(frozen=True)
class Incident:
    """What is known about one incident without opening it.

    Args:
        name: of its folder, below the run's.
        node: where it happened.
        step: which step failed there.
        code: of the step's error; "" when nobody followed it.
        since: when the failed work began, seconds since the epoch.
        made: when its evidence was taken.
        has_node: the node's own archive is in it.
        confidence: see `Confidence`; PERSON when a person found the cause; "" while there is no diagnosis.
        cause: name of the first cause; "" when unknown.
        sentence: the verdict.
        corrected_by: name of the later incident that corrects this one; "" when none does.
    """

    name: str
    node: str
    step: str
    code: str = ""
    since: float = 0.0
    made: float = 0.0
    has_node: bool = False
    confidence: str = ""
    cause: str = ""
    sentence: str = ""
    corrected_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Incident | None:
        """Build it from `to_dict`; None when it is something else."""
        known = {field.name: data[field.name] for field in fields(Incident) if field.name in data}
        is_whole = {"name", "node", "step"} <= known.keys() and all(
            _is_time(value)
            if key in ("since", "made")
            else isinstance(value, bool if key == "has_node" else str)
            for key, value in known.items()
        )
        return Incident(**known) if is_whole and is_safe(known["name"]) else None

    @staticmethod
    def from_folder(
        name: str, manifest: Mapping[str, Any], diagnosis: Mapping[str, Any] | None
    ) -> Incident | None:
        """Build it from what lies in an incident's own folder; None when that is no manifest.

        A person's finding leads, and the catalogue's cause is no cause any more then.
        """
        judged = diagnosis or {}
        finding = (judged.get("finding") or {}).get("text", "")
        known = {key: manifest[key] for key in ("node", "step", "code", "since", "made") if key in manifest}
        return Incident.from_dict(
            {
                **known,
                "name": name,
                "has_node": bool(manifest.get("inside")),
                "confidence": PERSON if finding else judged.get("confidence", ""),
                "cause": "" if finding else (judged.get("first") or {}).get("cause", ""),
                "sentence": finding or judged.get("sentence", ""),
            }
        )


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Relation(StrEnum):
    """What a later incident of the same node is to an earlier one."""

    CORRECTS = "corrects"  # the same failure, looked at again, and another answer
    CONFIRMS = "confirms"  # the same failure, and the same answer
    LESS_SURE = "less sure"  # the same failure, looked at again with less to go by: the earlier answer stands
    LATER = "later"  # another failure


def relation(earlier: Incident, later: Incident) -> Relation:
    """Say what the later incident of a node is to the earlier one.

    The same failure is the same work: its job began before the earlier evidence was taken, and not before that work did.
    """
    is_same = later.step == earlier.step and earlier.since - BEFORE_SECONDS <= later.since <= earlier.made
    if not is_same:
        return Relation.LATER
    if sureness(later.confidence) < sureness(earlier.confidence):
        return Relation.LESS_SURE
    return Relation.CONFIRMS if later.cause == earlier.cause else Relation.CORRECTS


def sureness(confidence: str) -> int:
    """How much a diagnosis claims; more is more."""
    return _SURE.index(confidence) if confidence in _SURE else 0


def expired_runs(
    runs: Mapping[str, Sequence[Incident]], now: float, keep_days: int, keep_runs: int
) -> tuple[str, ...]:
    """Which runs' evidence goes: older than `keep_days`, and not of the newest `keep_runs` that have any.

    A run whose incidents nobody can read stays: its age is unknown.
    """
    newest = {run: max(i.made for i in incidents) for run, incidents in runs.items() if incidents}
    return expired(newest, now, keep_days, keep_runs)


def is_incident(error: NightshiftError) -> bool:
    """Tell whether an error is a failure on a node: neither a refusal, nor an API that is away for a while."""
    if error.code in _NODE_SILENT:
        return True
    return isinstance(error, RemoteJobError | VerificationError | DrainBlockedError)


def told_before(earlier: Iterable[Incident], step: str, code: str) -> Incident | None:
    """The report of a try before this one that found the node as silent as this one: one is enough."""
    last = next((i for i in reversed(by_time(earlier)) if i.step == step), None)
    is_known = last is not None and code == last.code and code in _NODE_SILENT and not last.has_node
    return last if is_known else None


def by_time(incidents: Iterable[Incident]) -> tuple[Incident, ...]:
    """Oldest first."""
    return tuple(sorted(incidents, key=lambda incident: (incident.made, incident.name)))
