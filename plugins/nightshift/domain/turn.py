"""One control-plane node at a time, whoever asks: a night, a retry, or a person who clears a task of an earlier node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightshift.domain.debts import DEBT_ANNOTATIONS
from nightshift.domain.facts import EtcdSample, NodeFacts
from nightshift.domain.plan import MEMBERS_FOR_QUORUM


def other_control_planes(node: NodeFacts, nodes: Sequence[NodeFacts]) -> tuple[NodeFacts, ...]:
    """Return the control-plane nodes beside this one; always none for a worker, whose turn hangs on none of them."""
    if not node.is_control_plane:
        return ()
    return tuple(n for n in nodes if n.is_control_plane and n.name != node.name)


def others_in_hand(node: NodeFacts, nodes: Sequence[NodeFacts]) -> tuple[str, ...]:
    """Return the other control-plane nodes that carry the mark of a run; always none for a worker."""
    return tuple(n.name for n in other_control_planes(node, nodes) if _is_marked(n))


def others_set_aside(node: NodeFacts, nodes: Sequence[NodeFacts]) -> tuple[NodeFacts, ...]:
    """Return the other control-plane nodes that somebody else cordoned; always none for a worker.

    A run leaves no mark on them, also while it upgrades them: only their jobs tell.
    """
    return tuple(n for n in other_control_planes(node, nodes) if n.is_unschedulable and not _is_marked(n))


def _is_marked(node: NodeFacts) -> bool:
    return any(key in node.annotations for key in DEBT_ANNOTATIONS)


def members_missing(
    members: Sequence[str], node: str, samples: Mapping[str, EtcdSample | None]
) -> tuple[str, ...]:
    """Return the other members without which etcd has no quorum while `node`'s is restarted; () = it keeps it.

    Args:
        members: all control-plane nodes.
        node: the one that is upgraded next.
        samples: member -> what it says now; None or absent = it could not be read, which counts as missing.
    """
    if len(members) < MEMBERS_FOR_QUORUM:
        return ()  # no quorum without `node` in any case: the owner has accepted that, see domain/plan.py
    others = [member for member in members if member != node]
    missing = tuple(member for member in others if not _is_well(samples.get(member)))
    return missing if len(others) - len(missing) < len(members) // 2 + 1 else ()


def _is_well(sample: EtcdSample | None) -> bool:
    return sample is not None and sample.has_leader is True
