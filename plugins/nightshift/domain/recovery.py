"""What a recovery may repair: pure, idempotent, and careful with what it cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.facts import LeaseFacts, NodeFacts, NodeProbe

OWNER_ANNOTATION = "nightshift.io/owner"
ANNOTATION_PREFIX = "nightshift.io/"


@dataclass(frozen=True)
class RecoveryPlan:
    """What to repair now. Do it in the order of the fields; the Lease comes last, so that a recovery
    which dies half-way is found again.

    Args:
        may_act: False when somebody alive is at the cluster; then every list is empty.
        reason: one sentence: why not, or what is going to be done.
        fence: reachable nodes to raise the token on, before anything else.
        wait_for: "cp1: kubeadm-upgrade (run r1)": work still running; its node's debts stay until it ended.
        uncordon: nodes cordoned by a dead run or by this one, to make schedulable again.
        drop_annotations: nodes whose nightshift.io/* annotations go.
        clear_in_flight: push 0 and clear the namespace annotations.
        empty_lease: empty the Lease's holder, keep its token.
        unknown: what stays because a node could not be seen, one sentence each.
    """

    may_act: bool
    reason: str
    fence: tuple[str, ...] = ()
    wait_for: tuple[str, ...] = ()
    uncordon: tuple[str, ...] = ()
    drop_annotations: tuple[str, ...] = ()
    clear_in_flight: bool = False
    empty_lease: bool = False
    unknown: tuple[str, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing is left for a later recovery once this plan is carried out."""
        return self.may_act and not self.wait_for and not self.unknown


def plan_recovery(
    lease: LeaseFacts | None,
    nodes: Sequence[NodeFacts],
    probes: Mapping[str, NodeProbe | None],
    now: float,
    own_run_id: str | None,
) -> RecoveryPlan:
    """Plan the repair of what a dead run (or this one, at its end) left behind.

    Args:
        lease: the cluster's Lease; None when it was never created.
        nodes: all nodes.
        probes: node name -> what was read over SSH; None or absent = unreachable, which is not "dead".
        now: seconds since the epoch.
        own_run_id: the run that is recovering itself; None for the sweeper.
    """
    raise NotImplementedError
