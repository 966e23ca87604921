"""Which pods leave a node, which stay, and what stands in the way - as `kubectl drain` decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.facts import BudgetFacts, PodFacts
from nightshift.domain.policy import DrainPolicy

EVICT_ANNOTATION = "nightshift.io/evict"


@dataclass(frozen=True)
class PodNote:
    """A pod and why it is treated the way it is."""

    pod: PodFacts
    reason: str
    budgets: tuple[str, ...] = ()  # "namespace/name" of the PodDisruptionBudgets meant


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
    """Classify the pods of one node."""
    raise NotImplementedError


def require_drainable(node: str, plan: DrainPlan) -> None:
    """Refuse before the first eviction when the drain cannot end.

    Raises:
        DrainBlockedError: DRAIN_BLOCKED, naming every blocking pod and budget.
    """
    raise NotImplementedError


def selector_matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector (matchLabels and matchExpressions) selects these labels; {} selects all."""
    raise NotImplementedError
