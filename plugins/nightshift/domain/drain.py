"""Which pods leave a node, which stay, and what stands in the way - as `kubectl drain` decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.errors import DrainBlockedError
from nightshift.domain.facts import BudgetFacts, PodFacts
from nightshift.domain.policy import DrainPolicy

EVICT_ANNOTATION = "nightshift.io/evict"

# What stands in a pod's way.
UNREPLICATED = "unreplicated"  # nothing would start it again
LOCAL_DATA = "local data"  # in an emptyDir that the policy protects
OVERLAP = "overlap"  # more than one budget: the eviction API refuses
DEADLOCK = "deadlock"  # a budget that no waiting satisfies
SYNC_FAILED = "sync failed"  # a budget that the disruption controller cannot count: it allows none, ever
TIGHT = "tight"  # a budget that allows none now


@dataclass(frozen=True)
class PodNote:
    """A pod and why it is treated the way it is.

    Args:
        pod: the pod.
        reason: in words.
        budgets: "namespace/name" of the PodDisruptionBudgets meant.
        kind: what stands in the way of a blocker or a tight pod: `UNREPLICATED`, `LOCAL_DATA`, `OVERLAP`, `DEADLOCK`,
            `SYNC_FAILED`, `TIGHT`.
    """

    pod: PodFacts
    reason: str
    budgets: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class DrainPlan:
    """What draining one node means.

    Args:
        evict: pods to evict (finished and already terminating ones included: eviction passes them).
        skip: pods that stay, with the reason (mirror pods, DaemonSets).
        blockers: pods that can never be evicted as things are; nothing is evicted while there is one.
        tight: pods whose budget allows no disruption right now but may later; they are waited for.
    """

    evict: tuple[PodFacts, ...]
    skip: tuple[PodNote, ...]
    blockers: tuple[PodNote, ...]
    tight: tuple[PodNote, ...]


def plan_drain(pods: Sequence[PodFacts], budgets: Sequence[BudgetFacts], policy: DrainPolicy) -> DrainPlan:
    """Classify the pods of one node, with kubectl's filters in kubectl's order.

    Args:
        pods: every pod on the node.
        budgets: PodDisruptionBudgets of all namespaces.
        policy: what the owner allows.
    """
    evict: list[PodFacts] = []
    skip: list[PodNote] = []
    blockers: list[PodNote] = []
    tight: list[PodNote] = []
    for pod in sorted(pods, key=lambda p: (p.namespace, p.name)):
        stays = _reason_to_stay(pod)
        if stays:
            skip.append(PodNote(pod, stays))
            continue
        refused = _refusal(pod, policy)
        note = _budget_note(pod, budgets_that_count(pod, budgets))
        if refused:
            blockers.append(refused)
        elif note and note.kind != TIGHT:
            blockers.append(note)
        else:
            evict.append(pod)
            if note:
                tight.append(note)
    return DrainPlan(tuple(evict), tuple(skip), tuple(blockers), tuple(tight))


def require_drainable(node: str, plan: DrainPlan) -> None:
    """Refuse before the first eviction when the drain cannot end.

    Raises:
        DrainBlockedError: DRAIN_BLOCKED, naming every blocking pod and budget.
    """
    if not plan.blockers:
        return
    named = "; ".join(f"{n.pod.namespace}/{n.pod.name}: {n.reason}" for n in plan.blockers)
    budgets = ", ".join(dict.fromkeys(b for note in plan.blockers for b in note.budgets))
    raise DrainBlockedError(
        "DRAIN_BLOCKED",
        f"{node} cannot be drained, {len(plan.blockers)} pods are in the way. {named}.",
        cause=f"Waiting would not help{f' (budgets: {budgets})' if budgets else ''}; nothing was evicted.",
        next_step="Change those budgets or replica counts, annotate bare pods that may go with "
        f'{EVICT_ANNOTATION}: "true", or change drain in the cluster\'s YAML.',
    )


def selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a selector (matchLabels, matchExpressions) selects these labels; {} selects all, None nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _expression_matches(expression, labels) for expression in expressions
    )


def _expression_matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Evaluate one requirement; an unknown operator counts as matching, the careful side for a budget."""
    key, operator = expression["key"], expression["operator"]
    values = expression.get("values") or ()
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    return True


def _is_finished(pod: PodFacts) -> bool:
    return pod.phase in ("Succeeded", "Failed")


def _reason_to_stay(pod: PodFacts) -> str:
    """Say why the pod is left where it is; "" when it must go."""
    if pod.controller_kind == "DaemonSet" and not _is_finished(pod):
        return f"managed by {pod.controller}, which would start it here again"
    if pod.is_mirror:
        return "mirror of a static pod; only its manifest on the node can stop it"
    return ""


def _refusal(pod: PodFacts, policy: DrainPolicy) -> PodNote | None:
    """Say why the policy does not let the pod go; None when it does."""
    if _is_finished(pod) or pod.is_terminating:
        return None
    if pod.has_emptydir and not policy.delete_emptydir_data:
        reason = "has emptyDir data, which drain.delete_emptydir_data protects"
        return PodNote(pod, reason, kind=LOCAL_DATA)
    is_allowed = policy.evict_unreplicated or pod.annotations.get(EVICT_ANNOTATION) == "true"
    if pod.controller is None and not is_allowed:
        return PodNote(pod, "has no controller, nothing would start it again", kind=UNREPLICATED)
    return None


def budgets_that_count(pod: PodFacts, budgets: Sequence[BudgetFacts]) -> list[BudgetFacts]:
    """Return the budgets the API server would ask: none for pods that do not run or are already going."""
    if _is_finished(pod) or pod.phase == "Pending" or pod.is_terminating:
        return []
    return [b for b in budgets if b.namespace == pod.namespace and selector_matches(b.selector, pod.labels)]


def _budget_note(pod: PodFacts, matching: Sequence[BudgetFacts]) -> PodNote | None:
    """Say how budgets stand in the way; None when they do not."""
    names = tuple(f"{b.namespace}/{b.name}" for b in matching)
    if len(matching) > 1:
        reason = f"more than one PodDisruptionBudget selects it ({', '.join(names)}), which eviction refuses"
        return PodNote(pod, reason, names, OVERLAP)
    if not matching or matching[0].disruptions_allowed > 0 or _goes_unready(pod, matching[0]):
        return None
    budget = matching[0]
    if budget.sync_error:
        reason = f"budget {names[0]} can never allow a disruption (its controller fails: {budget.sync_error})"
        return PodNote(pod, reason, names, SYNC_FAILED)
    if not budget.is_computed:
        return PodNote(pod, f"budget {names[0]} is not computed yet", names, TIGHT)
    numbers = f"{budget.current_healthy} healthy, {budget.desired_healthy} required of {budget.expected_pods}"
    if budget.current_healthy <= budget.desired_healthy and budget.desired_healthy >= budget.expected_pods:
        return PodNote(pod, f"budget {names[0]} can never allow a disruption ({numbers})", names, DEADLOCK)
    return PodNote(pod, f"budget {names[0]} allows no disruption now ({numbers})", names, TIGHT)


def _goes_unready(pod: PodFacts, budget: BudgetFacts) -> bool:
    """Tell whether the API evicts this pod without asking the budget, because it is not ready anyway."""
    if pod.is_ready:
        return False
    return budget.always_evicts_unready or budget.current_healthy >= budget.desired_healthy > 0
