"""What a recovery may repair: pure, idempotent, and careful with what it cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightshift.domain.debts import (
    Debt,
    DebtKind,
    in_order,
    is_foreign_cordon,
    node_debt,
    workload_debts,
)
from nightshift.domain.facts import LeaseFacts, NodeFacts, NodeProbe
from nightshift.domain.owner import is_recovery, recovery_of, run_behind
from nightshift.domain.quarantine import read_quarantine


@dataclass(frozen=True)
class RecoveryPlan:
    """What to repair now, in the order of the fields.

    The Lease comes last: while it has a holder, a recovery that died half-way is found again.

    Args:
        may_act: False when somebody alive is at the cluster; then every list is empty.
        reason: one sentence: why not, or what is going to be done.
        fence: reachable nodes to raise the token on, before anything else.
        wait_for: "cp1: kubeadm-upgrade (run r1)": work still running; its node's debts stay until it ended.
        uncordon: nodes cordoned by a dead run or by this one, to make schedulable again.
        drop_annotations: nodes whose `DEBT_ANNOTATIONS` go.
        repay: recorded debts to undo after that, one after the other; while one of them is left, neither the marks nor
            the Lease may go.
        clear_in_flight: push 0 and clear the namespace annotations.
        empty_lease: empty the Lease's holder, keep its token.
        unknown: what stays because a node could not be seen or a record not be read, one sentence each.
        aside: workers that a night set aside and that cannot be seen: their cordon and marks stay until they are back. It
            keeps nobody waiting, their owner knows of them.
    """

    may_act: bool
    reason: str
    fence: tuple[str, ...] = ()
    wait_for: tuple[str, ...] = ()
    uncordon: tuple[str, ...] = ()
    drop_annotations: tuple[str, ...] = ()
    repay: tuple[Debt, ...] = ()
    clear_in_flight: bool = False
    empty_lease: bool = False
    unknown: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


def plan_recovery(
    lease: LeaseFacts | None,
    nodes: Sequence[NodeFacts],
    probes: Mapping[str, NodeProbe | None],
    now: float,
    own: str | None,
    debts: Sequence[Debt] = (),
) -> RecoveryPlan:
    """Plan the repair of what a dead run (or this one, at its end) left behind.

    Args:
        lease: the cluster's Lease; None when it was never created.
        nodes: all nodes.
        probes: node name -> what was read over SSH; None or absent = unreachable, which is not "dead".
        now: seconds since the epoch.
        own: the owner that is recovering itself; None for the sweeper.
        debts: what the ledger on the cluster records. Whose they are does not matter, only we and the dead are at the
            cluster.
    """
    if lease is not None and lease.is_live(now) and not _is_own(lease.holder, own):
        since = now - (lease.renewed or now)
        who = f"{lease.holder} is at work" if is_recovery(lease.holder) else f"Run {lease.holder} is alive"
        return RecoveryPlan(False, f"{who}: it renewed the Lease {since:.0f} s ago.")
    owed = in_order([*debts, *filter(None, map(node_debt, nodes))])
    marked = {debt.subject for debt in owed if debt.kind is DebtKind.CORDON}
    busy = {node.name: _work_of_ours(node, probes.get(node.name), debts) for node in nodes}
    free = [node for node in nodes if f"Node/{node.name}" in marked and busy[node.name] == ()]
    wait_for = tuple(f"{name}: {work}" for name, works in busy.items() for work in works or ())
    unseen = [node for node in nodes if busy[node.name] is None and _may_be_at_work_on(node, debts)]
    aside = tuple(node.name for node in unseen if _is_set_aside(node))
    waited = [node for node in unseen if node.name not in aside]
    unknown = (*map(_unseen_sentence, waited), *map(_unread_sentence, _unreadable(debts)))
    is_settled = not wait_for and not unknown
    holder = lease.holder if lease is not None else ""
    return RecoveryPlan(
        may_act=True,
        reason=_reason(owed, wait_for, unknown, holder),
        fence=tuple(name for name, works in busy.items() if works is not None) if owed or holder else (),
        wait_for=wait_for,
        uncordon=tuple(node.name for node in free if node.is_unschedulable and not is_foreign_cordon(node)),
        drop_annotations=tuple(node.name for node in free),
        repay=() if _is_window_open(nodes, busy, unseen) else workload_debts(owed),
        clear_in_flight=is_settled,
        empty_lease=is_settled and bool(holder),
        unknown=unknown,
        aside=aside,
    )


def foresee(plan: RecoveryPlan) -> tuple[str, ...]:
    """Say what this plan does, one clause for each of its parts, in the order in which they are done."""
    parts = (
        ("raise the fencing token on", plan.fence),
        ("wait for", plan.wait_for),
        ("uncordon", plan.uncordon),
        ("drop the marks of", plan.drop_annotations),
        ("give back", tuple(str(debt) for debt in plan.repay)),
        ("clear the in-flight marks and the gauge", plan.clear_in_flight),
        ("empty the Lease and keep its token", plan.empty_lease),
        ("leave as they are, set aside and out of reach:", plan.aside),
        ("leave what cannot be seen:", tuple(text.rstrip(".") for text in plan.unknown)),
    )
    return tuple(
        f"{verb} {', '.join(what)}" if isinstance(what, tuple) else verb for verb, what in parts if what
    )


# How long after a run's end a process of it may renew its Lease: a task that was marked failed is ended at its next
# heartbeat, 5 s apart, and a request may take 10 s. One that lives on (its supervisor died) is the sweeper's.
_LEFT_OVER_SECONDS = 30.0


def is_resumed(lease: LeaseFacts, own: str, ended: float) -> bool:
    """Tell whether a run that ended then (seconds since the epoch) is at work again, because a person cleared a task.

    It holds the Lease itself and claimed it after its end. Or it kept the one it had, as nobody took it back, and renewed
    that for longer than what a process of the ended run may have left.
    """
    if lease.holder != own or lease.acquired is None or lease.renewed is None:
        return False
    return lease.acquired > ended or lease.renewed > ended + _LEFT_OVER_SECONDS


def _is_own(holder: str, own: str | None) -> bool:
    """Tell whether the Lease is the run's own, or that of an earlier recovery of it."""
    return own is not None and holder in (own, recovery_of(own))


def _may_be_at_work_on(node: NodeFacts, debts: Sequence[Debt]) -> bool:
    """Tell whether a node that cannot be seen may still carry work of a run: none works on a node it did not drain.

    A node that somebody else had cordoned has no mark of ours. It matters where something was made quiet for it.
    """
    is_window = bool(debts) and node.is_control_plane and node.is_unschedulable
    return node_debt(node) is not None or is_window


def _work_of_ours(node: NodeFacts, probe: NodeProbe | None, debts: Sequence[Debt]) -> tuple[str, ...] | None:
    """Name the work on a node that a recovery waits for; None = the node could not be seen.

    A kubeadm without a job of ours, on a node that carries nothing of ours, is a person's, who may leave it standing for
    hours. On a control plane it counts while something is quiet for the sake of one.
    """
    is_ours = node_debt(node) is not None or (node.is_control_plane and bool(debts))
    if probe is not None and not is_ours and not _jobs(probe):
        return ()
    return work_on(probe)


def _is_set_aside(node: NodeFacts) -> bool:
    """Tell whether the run that took this worker set it aside; an earlier night's mark stays while a later one tries again."""
    mark, debt = read_quarantine(node), node_debt(node)
    return not node.is_control_plane and mark is not None and debt is not None and mark.run == debt.owner


def _is_window_open(
    nodes: Sequence[NodeFacts],
    busy: Mapping[str, tuple[str, ...] | None],
    unseen: Sequence[NodeFacts],
) -> bool:
    """Tell whether a control plane is or may be at work still: workloads are quiet for exactly that long."""
    return any(node.is_control_plane and (busy[node.name] or node in unseen) for node in nodes)


def _unreadable(debts: Sequence[Debt]) -> tuple[Debt, ...]:
    return tuple(debt for debt in debts if debt.kind is DebtKind.UNREADABLE)


def _unseen_sentence(node: NodeFacts) -> str:
    return f"{node.name} could not be reached: whether work still runs there is unknown, its cordon and marks stay."


def _unread_sentence(debt: Debt) -> str:
    return f"Entry {debt.key} of the ledger of debts cannot be read: what it is about stays as it is."


def work_on(probe: NodeProbe | None) -> tuple[str, ...] | None:
    """Name what still runs on a node; None = the node could not be seen."""
    if probe is None:
        return None
    jobs = _jobs(probe)
    if not jobs and probe.kubeadm_pids:
        jobs = (f"kubeadm (pid {', '.join(map(str, probe.kubeadm_pids))})",)
    return jobs


def _jobs(probe: NodeProbe) -> tuple[str, ...]:
    return tuple(f"{job.step} (run {job.run_id})" for job in probe.jobs if job.state == "running")


def _reason(owed: Sequence[Debt], wait_for: tuple[str, ...], unknown: tuple[str, ...], holder: str) -> str:
    if wait_for:
        return f"Waiting for work that still runs: {', '.join(wait_for)}."
    if unknown:
        return " ".join(unknown)
    if owed:
        return f"Repairing what a run left on {', '.join(_named(debt) for debt in owed)}."
    if holder:
        return f"Emptying the Lease that run {run_behind(holder)} left."
    return "Nothing was left behind."


def _named(debt: Debt) -> str:
    return debt.subject.removeprefix("Node/") if debt.kind is DebtKind.CORDON else str(debt)
