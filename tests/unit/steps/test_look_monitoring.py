"""Gatherers of their own: alerts and rules, and a node's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import node

from nightshift.clients import prometheus_api
from nightshift.clients.prometheus_api import NoAnswer
from nightshift.domain.errors import BlindError
from nightshift.domain.facts.alerts import AlertFacts
from nightshift.domain.policy import AlertPolicy, Rule
from nightshift.domain.round import Reading
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import TARGET
from nightshift.steps.look import monitoring
from nightshift.steps.look.clocks import read_clock
from nightshift.steps.look.gathering import Seen
from nightshift.steps.session import Session

PROMETHEUS, ALERTMANAGER = "http://prometheus:9090", "http://alertmanager:9093"
CHOICE = TargetChoice(TargetKind.MINOR, "next", version="1.35.4", minor="1.35")
SEEN = Seen((node("cp1"), node("w1", labels={"frozen": "yes"})), {TARGET.name: Reading(0.0, value=CHOICE)})


def asking(session: Session, *rules: Rule, **alerts: Any) -> Session:
    session.policy = replace(session.policy, rules=rules, alerts=AlertPolicy(**alerts))
    return session


def test_without_addresses_nobody_is_asked(session: Session) -> None:
    assert monitoring.read_alerts(asking(session), SEEN).asked == ()


def test_who_does_not_answer_is_written_down(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> tuple[AlertFacts, ...]:
        raise NoAnswer("Connection refused")

    monkeypatch.setattr(monitoring, "firing_in_prometheus", refuse)
    monkeypatch.setattr(monitoring, "firing_in_alertmanager", lambda url: (AlertFacts({"alertname": "A"}),))
    found = monitoring.read_alerts(
        asking(session, prometheus_url=PROMETHEUS, alertmanager_url=ALERTMANAGER), SEEN
    )
    assert found.prometheus is not None
    assert (found.prometheus.address, found.prometheus.problem) == (PROMETHEUS, "Connection refused")
    assert found.alertmanager is not None
    assert [a.name for a in found.alertmanager.alerts] == ["A"]


def test_an_answer_of_another_form_is_a_problem_and_no_crash(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_api, "_get", lambda url, path: [{"no": "labels"}])
    found = monitoring.read_alerts(asking(session, alertmanager_url=ALERTMANAGER), SEEN)
    assert found.alertmanager is not None
    assert "not understood" in found.alertmanager.problem


def test_rules_see_nodes_and_target(session: Session) -> None:
    rules = (
        Rule("frozen", "m", cel="target.minor == '1.35' && nodes.exists(n, 'frozen' in n.labels)"),
        Rule("calm", "m", cel="nodes.exists(n, n.unschedulable)"),
        Rule("typo", "m", cel="node.size() > 1"),
    )
    found = monitoring.read_rules(asking(session, *rules), SEEN).by_name
    assert {name: result.fired for name, result in found.items()} == {
        "frozen": True,
        "calm": False,
        "typo": None,
    }
    assert "undeclared reference to 'node'" in found["typo"].problem


@pytest.mark.parametrize(
    ("choice", "fired"),
    [
        (TargetChoice(TargetKind.NONE, "nothing to do"), True),
        (TargetChoice(TargetKind.BLIND, "no repository answers"), None),
        (None, None),
    ],
)
def test_no_target_is_empty_and_an_unknown_one_breaks_the_rule(
    session: Session, choice: TargetChoice | None, fired: bool | None
) -> None:
    rule = Rule("none", "m", cel="target.version == '' && target.minor == ''")
    seen = Seen(SEEN.nodes, {TARGET.name: Reading(0.0, value=choice)} if choice else {})
    assert monitoring.read_rules(asking(session, rule), seen).by_name["none"].fired is fired


def test_promql_is_asked_at_the_policys_prometheus(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def fires(url: str, promql: str) -> tuple[bool, tuple[str, ...]]:
        asked.append((url, promql))
        if promql == "broken":
            raise NoAnswer("parse error")
        return True, ("up 0",)

    monkeypatch.setattr(monitoring, "query_fires", fires)
    rules = (Rule("down", "m", promql="up == 0"), Rule("broken", "m", promql="broken"))
    found = monitoring.read_rules(asking(session, *rules, prometheus_url=PROMETHEUS), SEEN).by_name
    assert asked == [(PROMETHEUS, "up == 0"), (PROMETHEUS, "broken")]
    assert (found["down"].fired, found["down"].details) == (True, ("up 0",))
    assert (found["broken"].fired, found["broken"].problem) == (None, "parse error")


class SlowNode:
    """A node whose clock is off, reached over a way that takes so long each time."""

    name = "w1"

    def __init__(self, off: float, ways: Sequence[float], answer: str | None = None) -> None:
        self.now, self.off, self.ways, self.answer = 1000.0, off, list(ways), answer

    def look(self, sections: Sequence[str]) -> Mapping[str, tuple[int, str]]:
        way = self.ways.pop(0)
        self.now += way / 2
        said = f"{self.now + self.off}" if self.answer is None else self.answer
        self.now += way / 2
        return {"clock": (0, said)}


@pytest.mark.parametrize(
    ("ways", "left", "uncertainty"),
    [
        ([0.1], 0, 0.05),
        ([3.0, 0.1], 0, 0.05),
        ([0.8, 0.7, 0.9, 0.6, 0.8, 0.15], 0, 0.075),  # a busy node: one quick answer is enough
        ([0.5] * 11, 1, 0.25),
        ([3.0, 1.0, 2.0, 0.1], 1, 0.5),  # six seconds are enough
    ],
)
def test_the_answer_with_the_shortest_way_counts(ways: list[float], left: int, uncertainty: float) -> None:
    slow = SlowNode(-0.7, ways)
    found = read_clock(slow, lambda: slow.now)  # type: ignore[arg-type]
    assert found.seconds == pytest.approx(-0.7)
    assert found.uncertainty == pytest.approx(uncertainty)
    assert len(slow.ways) == left


def test_a_node_that_does_not_say_its_time_is_blind() -> None:
    slow = SlowNode(0.0, [0.1], answer="no time")
    with pytest.raises(BlindError, match="LOOK_INCOMPLETE"):
        read_clock(slow, lambda: slow.now)  # type: ignore[arg-type]
