"""Cordon and empty one node, evictions only: budgets are law, and what blocks is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.domain.debts import OWNER_ANNOTATION
from nightshift.domain.drain import DrainPlan, plan_drain, require_drainable
from nightshift.domain.errors import DrainBlockedError, GateClosedError, VerificationError
from nightshift.domain.facts import NodeFacts, PodFacts
from nightshift.steps.brake import KUBEADM_JOB, asking, given_back
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import Held, hold, require_held
from nightshift.steps.session import Session, patiently
from nightshift.steps.turn import require_no_other_kubeadm, require_turn

_POLL_SECONDS = 0.5
_BUDGET_RETRY_SECONDS = 2.0  # kubectl waits 5 s; a budget often frees up the second its new pod is ready
_PARALLEL_EVICTIONS = 8


@dataclass
class _Progress:
    """What is known while the drain goes on; keys are pod UIDs."""

    accepted: dict[str, str] = field(default_factory=dict)  # evicted: "namespace/name"
    not_before: dict[str, float] = field(default_factory=dict)  # when to ask again
    reasons: dict[str, str] = field(default_factory=dict)  # the API's last no


def drain_node(session: Session, node_name: str) -> dict[str, Any]:
    """Answer {"node", "cordoned_by_us", "evicted": [...], "skipped": [...], "seconds", "sentence"}.

    Raises:
        DrainBlockedError: DRAIN_BLOCKED, naming pods and budgets. The node stays cordoned; recovery gives it back.
        HeldError: brake or window; the node is given back.
        GateClosedError: CONTROL_PLANE_BUSY, another control-plane node is in the hands of a run or of a person's kubeadm.
    """
    node = session.node(node_name)
    ask = asking(session, node, KUBEADM_JOB, begins=True)
    with hold(session, [node]) as held, given_back(session, node_name):
        ask()
        require_no_other_kubeadm(session, node)
        return drain_held(session, node_name, held, ask)


def drain_held(session: Session, node_name: str, held: Held, ask: Callable[[], None]) -> dict[str, Any]:
    """The drain itself, under a Lease that is already held. On a drained node it is two quick questions.

    `ask` raises when the owner's word ends it, see steps/brake.py.
    """
    node = session.node(node_name)
    require_turn(session, node)
    with evidence_first(session, node, "drain", session.clock()):
        return _drain(session, node, held, ask)


def _drain(session: Session, node: NodeFacts, held: Held, ask: Callable[[], None]) -> dict[str, Any]:
    """Plan, cordon, evict, read back."""
    started, node_name = session.clock(), node.name
    plan = _plan(session, node_name, with_budgets=True)
    require_drainable(node_name, plan)
    is_ours = _cordon(session, node, held)
    if not is_ours:
        session.log(f"{node_name} was cordoned by somebody else before; it will be left cordoned")
    _announce(session, node_name, plan)
    progress = _Progress()
    _evict_all(session, node_name, held, ask, progress)
    _require_cordoned(session, node_name, held)
    seconds = round(session.clock() - started, 1)
    evicted = sorted(progress.accepted.values())
    sentence = f"{node_name} is drained: {len(evicted)} pods evicted in {seconds:.0f} s."
    session.log(sentence)
    return {
        "node": node_name,
        "cordoned_by_us": is_ours,
        "evicted": evicted,
        "skipped": [_name(note.pod) for note in plan.skip],
        "seconds": seconds,
        "sentence": sentence,
    }


def _cordon(session: Session, node: NodeFacts, held: Held) -> bool:
    """Cordon; False: somebody else had done it before. Of two control planes that come at once none goes on."""
    name = node.name
    is_ours = patiently(
        session, f"cordoning {name}", lambda: session.kube.cordon(name, session.owner, held.token)
    )
    try:
        require_turn(session, node)
    except GateClosedError:
        if is_ours and OWNER_ANNOTATION not in node.annotations:
            patiently(
                session,
                f"giving {name} back",
                lambda: session.kube.uncordon(name, session.owner, str(held.token)),
            )
        raise
    return is_ours


def _plan(session: Session, node_name: str, *, with_budgets: bool) -> DrainPlan:
    """Classify the pods that are on the node now."""
    pods = patiently(session, f"listing pods of {node_name}", lambda: session.kube.pods_on(node_name))
    budgets = patiently(session, "listing budgets", session.kube.budgets) if with_budgets else ()
    return plan_drain(pods, budgets, session.policy.drain)


def _announce(session: Session, node_name: str, plan: DrainPlan) -> None:
    """Say before the first eviction what will go and what may be waited for."""
    session.log(f"{node_name}: {len(plan.evict)} pods to evict, {len(plan.skip)} stay")
    for note in plan.tight:
        session.log(f"{_name(note.pod)} waits for {', '.join(note.budgets) or 'its budget'}: {note.reason}")


def _evict_all(
    session: Session, node_name: str, held: Held, ask: Callable[[], None], progress: _Progress
) -> None:
    """Look, ask, wait, until nothing is left to evict or the time is up.

    Each round looks at the node afresh: a pod counts as gone when its UID is, and a newcomer is seen.
    """
    timeout = session.policy.drain.timeout_seconds
    deadline = session.clock() + timeout
    with ThreadPoolExecutor(max_workers=_PARALLEL_EVICTIONS) as pool:
        while True:
            held.check()
            ask()
            plan = _plan(session, node_name, with_budgets=False)
            require_drainable(node_name, plan)
            if not plan.evict:
                return
            if session.clock() >= deadline:
                raise _blocked(node_name, timeout, plan.evict, progress)
            # The last question: this try may have stood still since the others.
            _require_cordoned(session, node_name, held)
            due = [pod for pod in plan.evict if _is_due(session, pod, progress)]
            for pod, answer in zip(due, pool.map(lambda p: _evict(session, p), due), strict=True):
                _note(session, node_name, pod, answer, progress)
            session.sleep(_POLL_SECONDS)


def _is_due(session: Session, pod: PodFacts, progress: _Progress) -> bool:
    """Neither on its way out nor told to wait."""
    if pod.is_terminating or pod.uid in progress.accepted:
        return False
    return session.clock() >= progress.not_before.get(pod.uid, 0.0)


def _evict(session: Session, pod: PodFacts) -> Eviction:
    return patiently(
        session, f"evicting {_name(pod)}", lambda: session.kube.evict(pod.namespace, pod.name, pod.uid)
    )


def _note(session: Session, node_name: str, pod: PodFacts, answer: Eviction, progress: _Progress) -> None:
    """Take down one answer; a permanent no ends the drain."""
    if answer.outcome is EvictionOutcome.EVICTED:
        progress.accepted[pod.uid] = _name(pod)
        session.log(f"Evicted {_name(pod)}")
    elif answer.outcome is EvictionOutcome.REFUSED:
        progress.reasons[pod.uid] = answer.detail
        raise _blocked(node_name, None, [pod], progress)
    elif answer.outcome is not EvictionOutcome.GONE:
        if progress.reasons.get(pod.uid) != answer.detail:
            session.log(f"{_name(pod)} cannot go yet: {answer.detail}")
        progress.reasons[pod.uid] = answer.detail
        progress.not_before[pod.uid] = session.clock() + _BUDGET_RETRY_SECONDS


def _blocked(
    node_name: str, timeout: int | None, pods: Iterable[PodFacts], progress: _Progress
) -> DrainBlockedError:
    """Name what is left and why."""
    left = [f"{_name(p)} ({progress.reasons.get(p.uid, 'is terminating')})" for p in pods]
    when = f"within {timeout} s" if timeout is not None else "at all"
    return DrainBlockedError(
        "DRAIN_BLOCKED",
        f"{node_name} could not be drained {when}: {'; '.join(left)}.",
        cause="These pods were not allowed to go, or do not end. Nothing was forced.",
        next_step="Make room in the budgets named (more replicas, or maxUnavailable), then clear this task.",
    )


def _require_cordoned(session: Session, node_name: str, held: Held) -> None:
    """Ask before every eviction, and in the end: from a node that takes pods none is to go, and none has gone for good."""
    node = patiently(session, f"reading {node_name}", lambda: session.node(node_name))
    if not node.is_unschedulable:
        require_held(session, held)  # whoever took the cluster from this run gave the node back
        raise VerificationError(
            "VERIFY_FAILED",
            f"{node_name} is schedulable again, before its drain was over.",
            cause="Somebody uncordoned it, or a later try of this task was done with it.",
            next_step="Find out who; then clear this task: it drains again.",
        )


def _name(pod: PodFacts) -> str:
    return f"{pod.namespace}/{pod.name}"
