"""Whatever a gate needs and its round has not makes it blind, in whatever combination."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.builders import (
    AWAY,
    NOW,
    POLICY,
    components,
    etcd,
    etcd_after,
    node,
    probe,
    round_of,
)

from nightshift.domain.facts.static_pods import StaticPodDetails
from nightshift.domain.gates import GATES, Gate
from nightshift.domain.gates.judging import judge
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment, NodeTopic, Reading, Round, Topic
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Answer, Outcome, Verdict, fold_verdicts

COLOUR = Topic[str]("colour", "the colour")
SIZES = NodeTopic[int]("sizes", "the sizes")
MEMBERS = NodeTopic[int]("members", "the members", only_control_planes=True)
EXTRA = Topic[str]("extra", "the extra")


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    sizes = round_.by_node(SIZES)
    big = [name for name, size in sizes.items() if size > 10]
    outcome, code = (Outcome.BLOCK, "TOO_BIG") if big else (Outcome.PASS, "OK")
    return Verdict("toy", outcome, code, f"big: {', '.join(big)}.", evidence={"sizes": dict(sizes)})


TOY = Gate("toy", "Toy", "Gate: toy", (NODES, COLOUR, SIZES, MEMBERS), (EXTRA,), frozenset(Moment), check)
NODE_OBJECTS = (node("cp1"), node("w1"), node("w2"))
FACTS: dict[str, Any] = {
    "nodes": NODE_OBJECTS,
    "colour": "red",
    "sizes": {"cp1": 1, "w1": 2, "w2": 3},
    "members": {"cp1": 1},
}


def say(**changes: Any) -> Verdict:
    return judge(TOY, round_of(**{**FACTS, **changes}), POLICY)


def without(*names: str) -> Round:
    return round_of(**{name: value for name, value in FACTS.items() if name not in names})


def test_all_there_is_the_gates_own_verdict() -> None:
    assert say().outcome is Outcome.PASS


@pytest.mark.parametrize("topic", sorted(FACTS))
def test_a_missing_topic_is_blind_and_named(topic: str) -> None:
    verdict = judge(TOY, without(topic), POLICY)
    assert (verdict.outcome, verdict.code, verdict.gate) == (Outcome.BLIND, "FACT_NOT_ASKED", "toy")
    assert verdict.resolution


def test_what_is_merely_wanted_may_be_missing() -> None:
    assert judge(TOY, without("extra"), POLICY).outcome is Outcome.PASS


def test_a_wanted_topic_that_the_gate_cannot_do_without_after_all_is_blind() -> None:
    insisting = replace(
        TOY, check=lambda round_, policy: Verdict("toy", Outcome.PASS, "OK", round_.get(EXTRA))
    )
    assert judge(insisting, round_of(**FACTS), POLICY).code == "FACT_NOT_ASKED"


def test_all_that_is_missing_is_said() -> None:
    verdict = judge(TOY, without("colour", "members"), POLICY)
    assert "the colour" in verdict.message
    assert "the members" in verdict.message


def test_a_silent_node_is_blind_in_its_own_words() -> None:
    verdict = say(sizes={"cp1": 1, "w1": None, "w2": 3})
    assert (verdict.outcome, verdict.code, verdict.cause) == (Outcome.BLIND, AWAY.code, AWAY.cause)


def test_what_the_others_showed_is_not_lost_beside_a_silent_node() -> None:
    verdict = say(sizes={"cp1": 1, "w1": None, "w2": 30})
    assert verdict.outcome is Outcome.BLIND
    assert verdict.message.endswith("Also: big: w2.")
    assert verdict.evidence["found"] == {"outcome": "block", "code": "TOO_BIG"}


def test_a_node_nobody_asked_is_blind() -> None:
    verdict = say(sizes={"cp1": 1, "w1": 2})
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "NODE_NOT_ASKED")
    assert "w2" in verdict.message


def test_a_node_that_left_the_cluster_is_not_missed() -> None:
    gone = {"cp1": 1, "w1": 2, "w2": 3, "w9": None}
    assert say(sizes=gone).outcome is Outcome.PASS


def test_of_a_control_planes_topic_workers_are_not_missed() -> None:
    assert say(members={"cp1": 1}).outcome is Outcome.PASS
    assert say(members={"w1": 1}).outcome is Outcome.BLIND


@pytest.mark.parametrize(
    ("moment", "ahead", "outcome"),
    [
        (Moment.NIGHT, (), Outcome.BLIND),
        (Moment.PLACE, ("w2",), Outcome.PASS),
        (Moment.PLACE, ("w1",), Outcome.BLIND),
    ],
)
def test_a_worker_set_aside_is_not_waited_for_in_front_of_others(
    moment: Moment, ahead: tuple[str, ...], outcome: Outcome
) -> None:
    aside = (node("cp1"), node("w1", annotations={QUARANTINE_ANNOTATION: "{}"}), node("w2"))
    sizes = {"cp1": 1, "w1": None, "w2": 3}
    assert say(nodes=aside, sizes=sizes, moment=moment, nodes_ahead=ahead).outcome is outcome


HEALTHY: dict[str, Any] = {
    "nodes": NODE_OBJECTS,
    "components": {"cp1": components()},
    "target": TargetChoice(TargetKind.MINOR, "hop", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4"),
    "probes": {n.name: probe(n.name) for n in NODE_OBJECTS},
    "static_pod_details": {n.name: StaticPodDetails(None, {}, {}) for n in NODE_OBJECTS},
    "configz": {
        n.name: {"imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 80} for n in NODE_OBJECTS
    },
    "etcd_before": {"cp1": etcd(taken=NOW - 60)},
    "etcd_now": {"cp1": etcd_after(taken=NOW)},
}
# The gates whose facts are those above; the others have tables of their own.
FIVE = [GATES[n] for n in ("etcd_latency", "disk_usage", "node_health", "version_skew", "static_pods")]
WAYS = ("absent", "unread", "too old", "of no age", "a node silent", "a node forgotten")


def fold(round_: Round) -> Answer:
    verdicts = [judge(gate, round_, POLICY) for gate in FIVE]
    return fold_verdicts(verdicts, [gate.name for gate in FIVE]).answer


def test_with_all_facts_there_the_healthy_cluster_is_a_go() -> None:
    assert fold(round_of(**HEALTHY)) is Answer.GO


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(sorted(HEALTHY)), st.sampled_from(WAYS), min_size=1),
    st.sampled_from(["cp1", "w1", "w2"]),
)
def test_no_combination_of_missing_facts_ever_folds_to_go(missing: dict[str, str], name: str) -> None:
    round_ = round_of(**HEALTHY)
    readings = dict(round_.readings)
    for topic, way in missing.items():
        readings = without_fact(readings, topic, way, name)
    assert fold(replace(round_, readings=readings)) is Answer.BLIND


def without_fact(readings: dict[str, Reading], topic: str, way: str, name: str) -> dict[str, Reading]:
    reading = readings[topic]
    is_by_node = isinstance(reading.value, dict) and topic != "components"
    if is_by_node and way in ("a node silent", "a node forgotten"):
        name = "cp1" if topic.startswith("etcd") else name
        left = {node: fact for node, fact in reading.value.items() if node != name}
        problems = {name: AWAY} if way == "a node silent" else {}
        return {**readings, topic: replace(reading, value=left, problems=problems)}
    if way == "too old":
        return {**readings, topic: replace(reading, taken=NOW - 181)}
    if way == "of no age":
        return {**readings, topic: replace(reading, taken=float("nan"))}
    if way == "unread":
        return {**readings, topic: Reading(NOW, problem=AWAY)}
    return {key: value for key, value in readings.items() if key != topic}
