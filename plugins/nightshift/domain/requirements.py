"""Whether labels meet requirements, as the scheduler reads selectors."""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.placement import Requirement, Term, Terms


def selects(terms: Terms, node: NodeFacts) -> bool:
    """Tell whether one of the terms holds for a node."""
    return any(all(_meets(requirement, node.labels, node.name) for requirement in term) for term in terms)


def holds(selector: Term, labels: Mapping[str, str]) -> bool:
    """Tell whether all requirements hold for a pod's labels."""
    return all(_meets(requirement, labels, "") for requirement in selector)


def _meets(requirement: Requirement, labels: Mapping[str, str], name: str) -> bool:
    value = name if requirement.is_field else labels.get(requirement.key)
    operator, values = requirement.operator, requirement.values
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    try:  # Gt, Lt
        return value is not None and (
            int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
        )
    except (ValueError, IndexError):
        return False
