"""A worker that cannot be upgraded is set aside for the night, so that one bad node does not keep a fleet waiting.

Set aside means: given back as it is, marked, and told. The mark is no debt: it stays until the node is upgraded, or a
person drops it. The canary and control planes are never set aside: there a failure is about all nodes that come after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nightshift.domain.facts import NodeFacts
from nightshift.domain.policy import WorkerPolicy
from nightshift.domain.round import Moment, Round

QUARANTINE_ANNOTATION = "nightshift.io/quarantined"
# What is wrong with one node. Everything else (a lost Lease, an API that is away, a file that cannot be read, a task that
# was killed and left no word) says nothing about this node, or something about all of them.
_OF_THE_NODE = (
    "DPKG_BUSY",
    "DRAIN_BLOCKED",
    "JOB_FAILED",
    "JOB_LOST",
    "JOB_TIMED_OUT",
    "NODE_LOCKED",
    "NODE_UNREACHABLE",
    "VERIFY_FAILED",
)
_LAST_STEP = (
    "uncordon"  # a node that came that far is upgraded; who keeps us from giving it back is not known
)


@dataclass(frozen=True)
class Quarantine:
    """What a node's mark says.

    Args:
        reason: code of the error, as in docs/runbooks.
        run: the owner that set the node aside, see domain/owner.py; "" when the mark cannot be read.
        since: UTC, ISO; "" when the mark cannot be read.
    """

    reason: str
    run: str
    since: str

    def to_text(self) -> str:
        """The annotation's value."""
        return json.dumps({"reason": self.reason, "run": self.run, "since": self.since})

    def __str__(self) -> str:
        """For people: "DRAIN_BLOCKED, since 2026-11-24T23:40:00+00:00"."""
        return f"{self.reason}, since {self.since}" if self.since else self.reason


def new_quarantine(reason: str, run: str, now: float) -> Quarantine:
    """Set aside now (seconds since the epoch)."""
    return Quarantine(reason, run, datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"))


def read_quarantine(node: NodeFacts) -> Quarantine | None:
    """What a node's mark says; None when it has none. A mark that cannot be read is one all the same."""
    text = node.annotations.get(QUARANTINE_ANNOTATION)
    if text is None:
        return None
    try:
        said = json.loads(text)
        return Quarantine(str(said["reason"]), str(said["run"]), str(said["since"]))
    except (ValueError, TypeError, KeyError):
        return Quarantine(text or "no reason given", "", "")


def set_aside_by(run: str, nodes: Sequence[NodeFacts]) -> tuple[str, ...]:
    """Names of the nodes that this run set aside."""
    marks = ((node.name, read_quarantine(node)) for node in nodes)
    return tuple(name for name, mark in marks if mark is not None and mark.run == run)


def left_aside(round_: Round, nodes: Sequence[NodeFacts], policy: WorkerPolicy) -> frozenset[str]:
    """Names of the workers that were set aside and that a gate does not wait for.

    In front of a slot or wave those that are not behind it; before the night those that the plan leaves out, because the
    policy does not try them again: what is wrong with them is known, and must not close every later night.
    """
    if round_.moment is not Moment.PLACE and policy.retry_quarantined:
        return frozenset()
    return frozenset(
        node.name
        for node in nodes
        if QUARANTINE_ANNOTATION in node.annotations
        and not node.is_control_plane
        and node.name not in round_.nodes_ahead
    )


def why_not(failure: Mapping[str, Any] | None, policy: WorkerPolicy) -> str:
    """Say why a failed worker is not set aside and the night stops instead; "" when it is.

    Args:
        failure: {"step", "code"} of the node's step that failed; None when none left a word.
        policy: the cluster's.
    """
    if policy.on_failure == "stop":
        return "the policy says workers.on_failure: stop"
    if failure is None:
        return "the task that failed left no word, so it is unknown what is wrong"
    if failure["step"] == _LAST_STEP or failure["code"] not in _OF_THE_NODE:
        return f"{failure['code']} is not about this node alone"
    return ""
