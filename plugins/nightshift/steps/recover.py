"""The one recovery: fence, repay, empty the Lease. Idempotent, safe beside itself and beside a new run.

Called by the night's teardown and failure callback (for their own run) and by the sweeper (for whoever died).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from nightshift.domain.debts import DEBT_ANNOTATIONS, OWNER_ANNOTATION, TOKEN_ANNOTATION, Debt
from nightshift.domain.errors import FencedError, NightshiftError, UnreachableError
from nightshift.domain.facts import LeaseFacts, NodeFacts, NodeProbe
from nightshift.domain.owner import is_recovery, meant_owner, run_behind
from nightshift.domain.recovery import RecoveryPlan, foresee, is_resumed, plan_recovery
from nightshift.domain.takeover import fence
from nightshift.steps.debts import due_debts, repay, repay_all
from nightshift.steps.hold import RUN_ANNOTATION, is_surely_dead, push, renewing
from nightshift.steps.session import Session, on_all, patiently

_FENCE_TRIES = 3
_POLL_SECONDS = 5.0
T = TypeVar("T")
_NO_PLAN = RecoveryPlan(False, "Nothing was looked at yet.")


@dataclass(frozen=True)
class _Patience:
    """Asks the API until a deadline: a single control plane's is away several times while it is upgraded.

    Only for calls that are safe to repeat.
    """

    session: Session
    deadline: float

    @property
    def is_over(self) -> bool:
        """Tell whether the deadline has passed."""
        return self.session.clock() >= self.deadline

    def __call__(self, call: Callable[[], T]) -> T:
        """Do `call`, again and again while the API is away."""
        left = max(0.0, self.deadline - self.session.clock())
        return patiently(self.session, "recovery", call, left)


@dataclass(frozen=True)
class _Look:
    """The cluster at one moment, and what may be repaired in it."""

    lease: LeaseFacts
    nodes: tuple[NodeFacts, ...]
    marks: Mapping[str, str]  # nightshift.io/ annotations of our namespace
    debts: tuple[Debt, ...]  # recorded in the ledger, without those that are only watched
    probes: Mapping[str, NodeProbe | None] = field(default_factory=dict)
    plan: RecoveryPlan = _NO_PLAN

    @property
    def has_debts(self) -> bool:
        """Tell whether anything at all was left behind."""
        return bool(self.lease.holder or self.marks or self.debts or self.indebted)

    @property
    def is_all_aside(self) -> bool:
        """Tell whether all that was left is on nodes that were set aside and are out of reach."""
        return not (self.lease.holder or self.marks or self.debts) and set(self.indebted) <= set(
            self.plan.aside
        )

    @property
    def indebted(self) -> tuple[str, ...]:
        """Nodes that carry marks."""
        return tuple(n.name for n in self.nodes if _has_marks(n))


def recover(
    session: Session,
    own_run_id: str | None,
    reason: str,
    *,
    wait_seconds: float = 0.0,
    dry_run: bool = False,
    run_ended: float | None = None,
) -> dict[str, Any]:
    """Answer {"answer": recovered|nothing|live|waiting|partial|dry_run, "done", "repaid", "remaining": [...], "sentence"}.

    `repaid` is what of `done` came out of the ledger of debts.

    Args:
        session: the cluster.
        own_run_id: the run that ends itself, by Airflow's run id or as an owner; None (sweeper) or empty repairs
            only what nobody alive owns: Lease expired and no job active. An unreachable node is unknown, not
            dead: its debts stay.
        reason: why recovery was called, for the log.
        wait_seconds: how long to wait for jobs that still run, and for an API that is away.
        dry_run: only look, and say what would be done.
        run_ended: when that run ended, seconds since the epoch, for a recovery that may come late: a run that is at
            work again by now is left alone. None: whatever the run does, it is to end.
    """
    session.log(f"Recovery: {reason}")
    own = _meant(session, own_run_id)
    ask = _Patience(session, session.clock() + wait_seconds)
    for _ in range(_FENCE_TRIES):
        look = ask(lambda: _look(session, own))
        if own is not None and run_ended is not None and is_resumed(look.lease, own, run_ended):
            return _said(session, "live", [], [], f"Run {own} is at work again since it ended.")
        if dry_run:
            return _foretell(session, look, own)
        nothing_to_do = _stand_back(session, look, own, may_wait=wait_seconds > 0)
        if nothing_to_do is not None:
            return nothing_to_do
        if own is None and not is_surely_dead(session, look.lease):
            continue
        taken = _take_lease(session, look, own, ask)
        if taken is not None:
            return _work(session, taken, ask)
    return _said(session, "live", [], [], "Others write the Lease all the time; the cluster is theirs.")


def sweep(session: Session, own_run_id: str | None, reason: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Recover as the sweeper does: "away" is an answer, while the API does not say anything.

    It comes every minute, also in the middle of every night of a single control plane. When a person named a run,
    the API's absence stays an error.
    """
    try:
        result = recover(session, own_run_id, reason, dry_run=dry_run)
        if result["answer"] == "nothing":
            _settle_gauge(session)
        return result
    except UnreachableError as error:
        if _meant(session, own_run_id) is not None:
            raise
        sentence = (
            f"The API does not answer ({error.cause.rstrip('.')}). Nothing is known about what may have been left "
            "behind; the sweeper looks again in a minute."
        )
        return _said(session, "away", [], [], sentence)


def _foretell(session: Session, look: _Look, own: str | None) -> dict[str, Any]:
    """Say what a recovery would do now; nothing is written."""
    if not look.plan.may_act or not look.has_debts:
        would = f"do nothing. {look.plan.reason}"
    elif look.plan.wait_for and own is None:
        would = f"do nothing yet. {look.plan.reason}"
    else:
        whose = f" (held by {look.lease.holder})" if look.lease.holder else ""
        would = f"{'; '.join(foresee(look.plan))}{whose}."
    remaining = [*look.plan.wait_for, *look.plan.unknown]
    return _said(session, "dry_run", [], remaining, f"Dry run, nothing was written. It would {would}")


def _settle_gauge(session: Session) -> None:
    """Clear the gauge of a run that ended while the Pushgateway was away, and keep that of one that claims now.

    A run says 1 after its claim. So a claim that came before this push shows in the Lease, and one that comes later
    is said later.
    """
    push(session, {"k8s_upgrade_in_flight": 0.0})
    if session.kube.lease().holder:
        push(session, {"k8s_upgrade_in_flight": 1.0})


def _stand_back(session: Session, look: _Look, own: str | None, *, may_wait: bool) -> dict[str, Any] | None:
    """Answer what there is to say when nothing is to be done, or not by us; None: go on."""
    if not look.plan.may_act:
        return _said(session, "live", [], [], look.plan.reason)
    if not look.has_debts or look.is_all_aside:
        if own is not None:
            push(session, {"k8s_upgrade_in_flight": 0.0})  # an earlier push may have failed
        return _said(session, "nothing", [], [], f"Nothing was left behind.{_aside_sentence(look.plan)}")
    is_waited_for = is_recovery(look.lease.holder) and look.lease.is_live(session.clock())
    if look.plan.wait_for and (own is None or (is_waited_for and not may_wait)):
        # The sweeper does not fence either: a live run whose API is away cannot renew while its job works.
        return _said(session, "waiting", [], list(look.plan.wait_for), look.plan.reason)
    return None


def _take_lease(session: Session, look: _Look, own: str | None, ask: _Patience) -> _Look | None:
    """Take the Lease from whoever has it; None when it changed meanwhile.

    From here on the fenced run gets no token any more, also not from a process that lives on, and a second recovery
    knows that there is a first.
    """
    limit = session.policy.limits.lease_seconds
    fenced = fence(look.lease, own, session.owner, session.clock(), limit)
    try:
        taken = ask(lambda: session.kube.fence_lease(look.lease, fenced))
    except UnreachableError:
        # It may have been written and its answer lost: nobody should wait for a recovery that is over.
        _abandon(session, fenced)
        raise
    return None if taken is None else _planned(session, replace(look, lease=taken), run_behind(taken.holder))


def _work(session: Session, taken: _Look, ask: _Patience) -> dict[str, Any]:
    """Fence the nodes, wait for what still runs, repay. What this recovery cannot finish, the next one can at once."""
    holder, token = taken.lease.holder, taken.lease.token
    done: list[str] = []
    try:
        with renewing(session, holder, token):
            fenced = _fence_nodes(session, [n for n in taken.nodes if n.name in taken.plan.fence], token)
            look = ask(lambda: _look(session, run_behind(holder), fenced))  # only now can no new job begin
            while look.plan.wait_for and not ask.is_over and _is_same(look.lease, taken.lease):
                session.log(look.plan.reason)
                done += _repay_nodes(session, look, ask)  # one node's work keeps no other node back
                session.sleep(_POLL_SECONDS)
                look = ask(lambda: _look(session, run_behind(holder), fenced))
            return _repay(session, replace(look, lease=taken.lease), ask, done)
    finally:
        _abandon(session, taken.lease)


def _abandon(session: Session, lease: LeaseFacts) -> None:
    """Give up a Lease that is still ours: its holder stays as a debt that the next recovery finds."""
    try:
        session.kube.abandon_lease(lease.holder, lease.token)
    except NightshiftError as error:
        session.log(f"The recovery's Lease stays until it expires: {error.cause}")


def _is_same(one: LeaseFacts, other: LeaseFacts) -> bool:
    """Tell whether nobody took the Lease from one look to the other."""
    return (one.holder, one.token) == (other.holder, other.token)


def _meant(session: Session, run_id: str | None) -> str | None:
    """The owner that ends itself; None when nobody was named."""
    named = (run_id or "").strip()
    return meant_owner(named, session.installation, session.policy.name) if named else None


def _look(session: Session, own: str | None, fenced: Collection[str] | None = None) -> _Look:
    """Read everything; nodes are asked over SSH only when there is something to decide.

    Args:
        session: the cluster.
        own: the owner that ends itself; None for the sweeper.
        fenced: nodes that take no old token any more; work may still begin on all others, so what they say now
            settles nothing. None: no node was fenced yet.
    """
    lease, nodes = session.kube.lease(), session.kube.nodes()
    marks, debts = session.kube.namespace_annotations(), due_debts(session.kube, session.clock())
    look = _planned(session, _Look(lease, nodes, marks, debts), own)
    if not look.plan.may_act or not look.has_debts:
        return look
    probes: dict[str, NodeProbe | None] = {}
    for name, answer in on_all(nodes, lambda node: session.on(node).probe()).items():
        probes[name] = None
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: {answer}")
        elif fenced is None or name in fenced:
            probes[name] = answer
    return _planned(session, replace(look, probes=probes), own)


def _planned(session: Session, look: _Look, own: str | None) -> _Look:
    """The same look with the plan that follows from it."""
    plan = plan_recovery(look.lease, look.nodes, look.probes, session.clock(), own, look.debts)
    return replace(look, plan=plan)


def _fence_nodes(session: Session, nodes: list[NodeFacts], token: int) -> list[str]:
    """Raise the token where it can be raised, and return where; an unreachable node keeps its debts anyway.

    A job that already runs is left to its end: killing kubeadm in the middle of a manifest swap is worse than waiting.
    """
    fenced = []
    for name, error in on_all(nodes, lambda node: session.on(node).fence(token)).items():
        if isinstance(error, NightshiftError):
            session.log(f"{name}: not fenced: {error}")
        if error is None or isinstance(
            error, FencedError
        ):  # a token that is larger still bars the old run too
            fenced.append(name)
    session.log(f"Fenced with token {token}: {', '.join(fenced) or 'no node'}")
    return fenced


def _repay(session: Session, look: _Look, ask: _Patience, done: list[str]) -> dict[str, Any]:
    """Do what the plan allows beside what is `done`, Lease last; then look again and say what is left."""
    holder, token = look.lease.holder, look.lease.token
    if not _is_same(ask(session.kube.lease), look.lease):
        return {**ask(lambda: _overtaken(session)), "done": done}
    done = [*done, *_repay_nodes(session, look, ask)]
    repaid, kept = _repay_recorded(session, look, ask)
    done += repaid
    if not kept:
        done += _clear_marks(session, look, ask)
        if look.plan.empty_lease and ask(lambda: session.kube.release_lease(holder, token)):
            done.append(f"Lease of {run_behind(holder)} emptied, token {token} kept")
    left = [
        f"{n.name} still carries our marks"
        for n in ask(session.kube.nodes)
        if _is_left(n, look.plan.drop_annotations)
    ]
    remaining = [*look.plan.wait_for, *look.plan.unknown, *left, *kept]
    if look.plan.wait_for:
        answer = "waiting"
    elif remaining:
        answer = "partial"
    else:
        answer = "recovered"
    sentence = "; ".join(done) + "." if done else "Nothing could be repaired yet."
    if remaining:
        sentence += f" Left for the next recovery: {'; '.join(remaining)}."
    sentence += _aside_sentence(look.plan)
    return {**_said(session, answer, done, remaining, sentence), "repaid": repaid}


def _aside_sentence(plan: RecoveryPlan) -> str:
    """Say what stays on nodes that a night set aside; "" when there are none."""
    if not plan.aside:
        return ""
    return f" Set aside and out of reach: {', '.join(plan.aside)}; cordon and marks stay until that is back."


def _overtaken(session: Session) -> dict[str, Any]:
    """Somebody took the Lease from this recovery: another one that finished, or a run that goes on."""
    look = _look(session, None)
    if not look.has_debts:
        return _said(session, "nothing", [], [], "Another recovery took over; nothing is left behind.")
    who = look.lease.holder or "Nobody"
    return _said(
        session, "live", [], [], f"Somebody took over from this recovery; {who} has the Lease by now."
    )


def _repay_nodes(session: Session, look: _Look, ask: _Patience) -> list[str]:
    """Uncordon what a run cordoned, and drop its marks. Only the marks that were seen: a newer claim's stay."""
    done = []
    marks = {
        n.name: (n.annotations.get(OWNER_ANNOTATION), n.annotations.get(TOKEN_ANNOTATION)) for n in look.nodes
    }
    for name in look.plan.drop_annotations:
        is_lifted = name in look.plan.uncordon
        drop = session.kube.uncordon if is_lifted else session.kube.drop_node_annotations
        if ask(partial(drop, name, *marks[name])):
            done.append(f"{name} uncordoned" if is_lifted else f"marks of {name} dropped")
    return done


def _repay_recorded(session: Session, look: _Look, ask: _Patience) -> tuple[list[str], list[str]]:
    """Undo what the ledger records, one debt after the other; what was done, and what had to be left and why.

    One that is refused keeps no other back, but marks and Lease stay, so that the next recovery comes for it.
    """
    done, failed = repay_all(
        look.plan.repay, lambda debt: ask(partial(repay, session.kube, debt, session.clock()))
    )
    for name, error in failed.items():
        session.log(f"{name}: {error}")
    kept = [f"{name} is not given back ({e.code}: {e.cause.rstrip('.')})" for name, e in failed.items()]
    return done, kept


def _clear_marks(session: Session, look: _Look, ask: _Patience) -> list[str]:
    """Namespace annotations and the in-flight gauge, unless a new run has put up its own meanwhile."""
    if not look.plan.clear_in_flight:
        return []
    marks = ask(session.kube.namespace_annotations)
    if marks.get(RUN_ANNOTATION) != look.marks.get(RUN_ANNOTATION):
        return []
    if marks:
        ask(lambda: session.kube.set_namespace_annotations(dict.fromkeys(marks)))
    push(session, {"k8s_upgrade_in_flight": 0.0})
    return ["in-flight marks cleared"]


def _is_left(node: NodeFacts, dropped: tuple[str, ...]) -> bool:
    """A node that was to be clean by now and is not."""
    return node.name in dropped and _has_marks(node)


def _has_marks(node: NodeFacts) -> bool:
    """Tell whether a run left its marks on this node."""
    return any(key in node.annotations for key in DEBT_ANNOTATIONS)


def _said(
    session: Session, answer: str, done: list[str], remaining: list[str], sentence: str
) -> dict[str, Any]:
    session.log(f"Recovery {answer}: {sentence}")
    return {"answer": answer, "done": done, "remaining": remaining, "sentence": sentence}
