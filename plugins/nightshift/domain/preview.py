"""What a night would do, said beforehand: the order of nodes, what each drain evicts, bytes, minutes, and what blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.plan import EXPECTED_OUTAGE_SECONDS, MEMBERS_FOR_QUORUM, Plan
from nightshift.domain.verdicts import Decision, Outcome

# From drain to uncordon on the small lab; a node that was upgraded before is expected to take what it took last.
FIRST_CONTROL_PLANE_SECONDS = 180.0
FIRST_WORKER_SECONDS = 60.0
_MIB = 1024 * 1024
_NAMED_PODS = 12


@dataclass(frozen=True)
class NodePreview:
    """One node of the plan.

    Args:
        name: of the node.
        place: "control plane 1", "canary", "wave 2".
        command: kubeadm's: "apply" or "node".
        evicted: pods a drain would evict, "namespace/name"; None: they could not be read.
        fetched_bytes: images and packages it would fetch, as they lie on its disk; None: not known.
        seconds: from drain to uncordon.
        is_measured: `seconds` is what this node took last time.
    """

    name: str
    place: str
    command: str
    evicted: tuple[str, ...] | None
    fetched_bytes: int | None
    seconds: float
    is_measured: bool


@dataclass(frozen=True)
class Preview:
    """A whole night as it would be.

    Args:
        target: the version it would upgrade to; "" while none is known.
        nodes: in the order of the night.
        leftover: nodes for a later night.
        outage_seconds: how long the API would be away in all, at most; 0: it stays.
        seconds: expected from the first drain to the last uncordon; nodes of one wave go side by side.
        closed: "gate: message" of every gate that would keep the night from beginning.
        warned: the same of every warning.
        uploads: what would be written into kubeadm-config before the first node, one sentence each.
        rehearsal: whether the target's API server would be rehearsed before that, one sentence.
        look_again: when another look may say something else, one sentence; "" when nothing is closed.
    """

    target: str
    nodes: tuple[NodePreview, ...]
    leftover: tuple[str, ...]
    outage_seconds: float
    seconds: float
    closed: tuple[str, ...]
    warned: tuple[str, ...]
    uploads: tuple[str, ...] = ()
    rehearsal: str = ""
    look_again: str = ""

    @property
    def sentence(self) -> str:
        """The preview in plain words, for the run's note."""
        if self.closed:
            return f"Dry run, nothing was changed. The night would not begin: {' '.join(self.closed)}"
        if not self.nodes:
            return "Dry run, nothing was changed. No node would be upgraded."
        order = ", ".join(node.name for node in self.nodes)
        later = f" {', '.join(self.leftover)} would continue on a later night." if self.leftover else ""
        outage = (
            f" The API would be away for up to {_minutes(self.outage_seconds)}."
            if self.outage_seconds
            else " The API would stay up."
        )
        return (
            f"Dry run, nothing was changed. The night would upgrade {order} to {self.target} in about "
            f"{_minutes(self.seconds)}."
            f"{later}{outage}{''.join(' ' + upload for upload in self.uploads)}"
        )

    def lines(self) -> list[str]:
        """The whole preview for the task's log, one line per node and per gate that says something."""
        said = [_node_line(node) for node in self.nodes]
        said += [f"Would stop it: {text}" for text in self.closed]
        said += [self.look_again] if self.look_again else []
        said += [f"Warns: {text}" for text in self.warned]
        return [self.sentence, *said, *self.uploads, *([self.rehearsal] if self.rehearsal else [])]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {
            "sentence": self.sentence,
            "target": self.target,
            "nodes": [
                {**node.__dict__, "evicted": None if node.evicted is None else list(node.evicted)}
                for node in self.nodes
            ],
            "leftover": list(self.leftover),
            "outage_seconds": self.outage_seconds,
            "seconds": self.seconds,
            "closed": list(self.closed),
            "warned": list(self.warned),
            "uploads": list(self.uploads),
            "rehearsal": self.rehearsal,
            "look_again": self.look_again,
        }


def preview(
    plan: Plan,
    decision: Decision,
    *,
    target: str,
    members: int,
    evicted: Mapping[str, Sequence[str]] | None,
    fetched_bytes: Mapping[str, int],
    measured_seconds: Mapping[str, float],
    uploads: Sequence[str] = (),
    rehearsal: str = "",
) -> Preview:
    """Say what the night would be.

    Args:
        plan: tonight's plan, made although the answer may be no.
        decision: what the gates say.
        target: the version it would upgrade to; "" while none is known.
        members: control-plane nodes of the cluster.
        evicted: node -> pods its drain would evict; None: they could not be read.
        fetched_bytes: node -> bytes it would fetch, as far as known.
        measured_seconds: node -> what it took last time, as far as known.
        uploads: what would be written into kubeadm-config, one sentence each.
        rehearsal: whether there would be one, one sentence.
    """
    groups: list[tuple[str, tuple[str, ...], str]] = [
        (f"control plane {n}", (s.node,), s.command) for n, s in enumerate(plan.control_plane, 1)
    ]
    groups += [
        ("canary" if n == 1 else f"wave {n}", tuple(wave), "node") for n, wave in enumerate(plan.waves, 1)
    ]
    nodes = tuple(
        NodePreview(
            name,
            place,
            command,
            None if evicted is None else tuple(evicted.get(name, ())),
            fetched_bytes.get(name),
            measured_seconds.get(name, _usual(place)),
            name in measured_seconds,
        )
        for place, names, command in groups
        for name in names
    )
    by_name = {node.name: node for node in nodes}
    has_outage = members < MEMBERS_FOR_QUORUM and bool(plan.control_plane)
    shut = (Outcome.BLOCK, Outcome.HOLD, Outcome.BLIND)
    return Preview(
        target=target,
        nodes=nodes,
        leftover=plan.leftover,
        outage_seconds=float(EXPECTED_OUTAGE_SECONDS * len(plan.control_plane)) if has_outage else 0.0,
        seconds=sum(max(by_name[n].seconds for n in names) for _, names, _ in groups),
        closed=tuple(f"{v.gate}: {v.message}" for v in decision.verdicts if v.outcome in shut),
        warned=tuple(f"{v.gate}: {v.message}" for v in decision.verdicts if v.outcome is Outcome.WARN),
        uploads=tuple(uploads),
        rehearsal=rehearsal,
        look_again=decision.look_again,
    )


def _usual(place: str) -> float:
    return FIRST_CONTROL_PLANE_SECONDS if place.startswith("control plane") else FIRST_WORKER_SECONDS


def _node_line(node: NodePreview) -> str:
    if node.evicted is None:
        pods = "its pods could not be read"
    else:
        named = ", ".join(node.evicted[:_NAMED_PODS])
        more = len(node.evicted) - _NAMED_PODS
        pods = f"evicts {len(node.evicted)} pods" + (f": {named}" if named else "")
        pods += f" and {more} more" if more > 0 else ""
    fetched = (
        "" if node.fetched_bytes is None else f", fetches {node.fetched_bytes / _MIB:.0f} MiB (unpacked)"
    )
    how = "as last time" if node.is_measured else "not measured here yet"
    return (
        f"{node.place}: {node.name}, kubeadm upgrade {node.command}, {pods}{fetched}, "
        f"about {_minutes(node.seconds)} ({how})"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
