from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.gate_rounds import POLICY, round_of

from nightshift.domain.facts.alerts import ALERTS, AlertFacts, AlertSource, AlertSources
from nightshift.domain.gates import alerts
from nightshift.domain.policy import AlertPolicy
from nightshift.domain.verdicts import Outcome, Verdict

PROMETHEUS, ALERTMANAGER = "http://prometheus:9090", "http://alertmanager:9093"


def alert(name: str = "KubeAPIDown", severity: str = "critical", **changes: Any) -> AlertFacts:
    labels = {"alertname": name, "severity": severity, "cluster": "prod"}
    return replace(AlertFacts(labels, since=1_789_990_000.0, summary="The API is down."), **changes)


def verdict_of(
    *firing: AlertFacts,
    manager: tuple[AlertFacts, ...] | None = None,
    problem: str = "",
    **policy: Any,
) -> Verdict:
    sources = AlertSources(
        AlertSource(PROMETHEUS, firing, problem),
        None if manager is None else AlertSource(ALERTMANAGER, manager),
    )
    return alerts.check(
        round_of({ALERTS: sources}), replace(POLICY, alerts=AlertPolicy(prometheus_url=PROMETHEUS, **policy))
    )


@pytest.mark.parametrize(
    ("fired", "policy", "outcome"),
    [
        (alert(), {}, Outcome.BLOCK),
        (alert(severity="warning"), {}, Outcome.PASS),
        (alert(severity="page"), {"severities": ("critical", "page")}, Outcome.BLOCK),
        (alert(severity="page"), {}, Outcome.PASS),
        (alert(), {"ignore": ("KubeAPIDown",)}, Outcome.PASS),
        (alert("NightshiftBlocked"), {}, Outcome.PASS),
        (alert("k8s_upgrade_blocked"), {}, Outcome.PASS),
        (alert("NightshiftBlocked"), {"own_prefixes": ()}, Outcome.BLOCK),
        (
            AlertFacts({"alertname": "A", "prio": "1"}),
            {"severity_label": "prio", "severities": ("1",)},
            Outcome.BLOCK,
        ),
        (AlertFacts({"severity": "critical"}), {}, Outcome.BLOCK),
    ],
)
def test_one_alert(fired: AlertFacts, policy: dict[str, Any], outcome: Outcome) -> None:
    verdict = verdict_of(fired, **policy)
    assert verdict.outcome is outcome
    assert verdict.code == ("OK" if outcome is Outcome.PASS else "ALERT_FIRING")


def test_the_message_names_alert_labels_and_since() -> None:
    message = verdict_of(alert()).message
    assert "KubeAPIDown {cluster=prod} (critical) is firing since 2026-09-21" in message
    assert "The API is down" in message


def test_a_silence_in_alertmanager_quietens_prometheus() -> None:
    """Prometheus knows of no silences; its external labels are added on the way."""
    known = alert(is_silenced=True)
    known = replace(known, labels={**known.labels, "replica": "a"})
    assert verdict_of(alert(), manager=(known,)).outcome is Outcome.PASS
    assert verdict_of(alert(), manager=()).outcome is Outcome.BLOCK
    assert verdict_of(alert(), alert("EtcdDown"), manager=(known,)).outcome is Outcome.BLOCK


def test_an_alert_that_both_know_is_said_once() -> None:
    verdict = verdict_of(alert(), manager=(alert(),))
    assert verdict.message.count("KubeAPIDown") == 1


@pytest.mark.parametrize(("required", "outcome"), [(False, Outcome.WARN), (True, Outcome.BLIND)])
def test_no_answer(required: bool, outcome: Outcome) -> None:
    verdict = verdict_of(problem="Connection refused", required=required)
    assert (verdict.outcome, verdict.code) == (outcome, "ALERTS_UNREADABLE")
    assert PROMETHEUS in verdict.message


def test_no_answer_of_one_does_not_hide_what_the_other_says() -> None:
    verdict = verdict_of(problem="Connection refused", manager=(alert(),))
    assert verdict.outcome is Outcome.BLOCK
    assert "Connection refused" in verdict.message


def test_without_an_address_nobody_is_asked_and_that_is_said() -> None:
    verdict = alerts.check(round_of({ALERTS: AlertSources()}), POLICY)
    assert verdict.outcome is Outcome.PASS
    assert "Nobody was asked" in verdict.message
