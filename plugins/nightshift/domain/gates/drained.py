"""What the gates about drains share: which nodes will be drained, and which budgets are near their pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nightshift.domain.facts import BudgetFacts, PodFacts
from nightshift.domain.round import Moment, Round
from nightshift.domain.topics import NODES, TARGET

BudgetsBySpace = Mapping[str, Sequence[BudgetFacts]]


def drained_nodes(round_: Round) -> tuple[str, ...]:
    """Names of the nodes ahead; before the night those that are behind the target, or all while that is not known."""
    names = tuple(node.name for node in round_.get(NODES))
    if round_.moment is Moment.PLACE:
        return tuple(name for name in names if name in round_.nodes_ahead)
    target = round_.find(TARGET)
    if target is None or not target.is_hop:
        return names
    return tuple(name for name in names if name in target.nodes_behind)


def by_namespace(budgets: Iterable[BudgetFacts]) -> BudgetsBySpace:
    """Budgets by namespace: with thousands of pods, most budgets are of no concern to a node."""
    found: dict[str, list[BudgetFacts]] = {}
    for budget in budgets:
        found.setdefault(budget.namespace, []).append(budget)
    return found


def near_pods(pods: Iterable[PodFacts], budgets: BudgetsBySpace) -> list[BudgetFacts]:
    """The budgets of the namespaces that these pods are in."""
    spaces = sorted({pod.namespace for pod in pods})
    return [budget for space in spaces for budget in budgets.get(space, ())]
