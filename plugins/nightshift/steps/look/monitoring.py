"""Alerts and the owner's rules: asked of Prometheus and Alertmanager, or evaluated over what was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nightshift.clients.prometheus_api import (
    NoAnswer,
    firing_in_alertmanager,
    firing_in_prometheus,
    query_fires,
)
from nightshift.domain.facts.alerts import AlertFacts, AlertSource, AlertSources, RuleResult, RuleResults
from nightshift.domain.policy import Rule
from nightshift.domain.target import TargetKind
from nightshift.domain.topics import TARGET
from nightshift.steps.look.gathering import Seen
from nightshift.steps.session import Session


def read_alerts(session: Session, seen: Seen) -> AlertSources:
    """Ask whom the policy names. Who does not answer is written down: whether that matters is the gate's to judge."""
    policy = session.policy.alerts
    return AlertSources(
        _ask(session, policy.prometheus_url, firing_in_prometheus),
        _ask(session, policy.alertmanager_url, firing_in_alertmanager),
    )


def _ask(
    session: Session, url: str | None, read: Callable[[str], tuple[AlertFacts, ...]]
) -> AlertSource | None:
    if url is None:
        return None
    try:
        return AlertSource(url, read(url))
    except NoAnswer as error:
        session.log(f"{url}: {error}")
        return AlertSource(url, problem=str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return AlertSource(url, problem=f"its answer was not understood: {error!r}")


def read_rules(session: Session, seen: Seen) -> RuleResults:
    """Evaluate every rule of the policy; what cannot be evaluated is written down, too."""
    facts = rule_facts(session, seen)
    return RuleResults({rule.name: _evaluate(session, rule, facts) for rule in session.policy.rules})


def rule_facts(session: Session, seen: Seen) -> dict[str, Any]:
    """What CEL rules see; documented in docs/operations.md. A target that is not known is not there: rules that ask break."""
    choice = seen.find(TARGET)
    known = choice is not None and choice.kind is not TargetKind.BLIND
    target = {"target": {"version": choice.version or "", "minor": choice.minor or ""}} if known else {}
    return {
        "cluster": session.policy.name,
        **target,
        "nodes": [
            {
                "name": node.name,
                "is_control_plane": node.is_control_plane,
                "kubelet": node.kubelet_version,
                "ready": node.is_ready is True,
                "unschedulable": node.is_unschedulable,
                "pressures": list(node.pressures),
                "labels": dict(node.labels),
                "annotations": dict(node.annotations),
            }
            for node in seen.nodes
        ],
    }


def _evaluate(session: Session, rule: Rule, facts: dict[str, Any]) -> RuleResult:
    try:
        if rule.promql is not None:
            return _ask_prometheus(session.policy.alerts.prometheus_url, rule.promql)
        # Imported here: the grammar takes 0.15 s to load, and few clusters have such rules.
        from nightshift.clients.rules_cel import evaluate

        return RuleResult(evaluate(rule.cel or "", facts))
    except (NoAnswer, ValueError) as error:
        session.log(f"rule {rule.name}: {error}")
        return RuleResult(None, problem=str(error))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        return RuleResult(None, problem=f"the answer was not understood: {error!r}")


def _ask_prometheus(url: str | None, promql: str) -> RuleResult:
    if url is None:
        raise NoAnswer("the policy has no alerts.prometheus_url")
    fired, details = query_fires(url, promql)
    return RuleResult(fired, details)
