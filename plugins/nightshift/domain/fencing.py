"""How a Lease whose token went back catches up with nodes that remember a bigger one."""

from __future__ import annotations

from collections.abc import Iterable

from nightshift.domain.facts import LeaseFacts


def token_to_catch_up(lease: LeaseFacts, holder: str, token: int, seen: Iterable[int]) -> int | None:
    """Return the token the Lease must be raised to, so that nodes take it; None = it is not `holder`'s any more.

    A node that knows a bigger token than the Lease's holder means one of two things. Either somebody took over:
    then the Lease says so, because it is always raised before the nodes are. Or the Lease went back: it was made
    anew, or came out of an older etcd snapshot, while the nodes kept what they had seen.

    Args:
        lease: as it was read *after* a node refused.
        holder: who asks.
        token: what the holder was given.
        seen: tokens of the nodes.
    """
    if (lease.holder, lease.token) != (holder, token):
        return None
    return max((token, *seen)) + 1
