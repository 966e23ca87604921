"""Whatever a gate needs and its round has not makes it blind, in whatever combination."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.domain.builders import AWAY, NOW, POLICY, node, round_of
from tests.unit.domain.missing_facts import (
    KEYS,
    MAY_BE_MISSING,
    NEEDED,
    NODE_NAMES,
    OPEN,
    Needed,
    healthy_round,
    optional_fields,
    without_field,
    without_key,
)

from nightshift.domain.gates import GATES, Gate
from nightshift.domain.gates.judging import judge
from nightshift.domain.overrides import apply_overrides
from nightshift.domain.policy import ClusterPolicy, Override
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment, NodeTopic, Reading, Round, Topic, Unread
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


def test_without_the_nodes_nobody_knows_who_must_have_answered() -> None:
    unaware = replace(TOY, needs=(SIZES,), wants=(COLOUR, EXTRA, MEMBERS))
    assert judge(unaware, round_of(**FACTS), POLICY).outcome is Outcome.PASS
    assert judge(unaware, without("nodes"), POLICY).code == "FACT_NOT_ASKED"


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
    assert [(f["outcome"], f["code"]) for f in verdict.evidence["findings"]] == [
        ("blind", AWAY.code),
        ("block", "TOO_BIG"),
    ]


def test_an_override_of_one_unknown_says_nothing_about_another() -> None:
    unread = Unread("KUBELET_CONFIG_UNREADABLE", "w2 says nothing.", "Its kubelet is away.", "Start it.")
    round_ = round_of(**{**FACTS, "sizes": {"cp1": 1, "w1": None, "w2": None}})
    readings = dict(round_.readings)
    readings["sizes"] = replace(readings["sizes"], problems={"w1": AWAY, "w2": unread})
    verdict = judge(TOY, replace(round_, readings=readings), POLICY)
    wanted = Override("toy", AWAY.code, "w1 is in repair", "ann", NOW + 60)
    left = apply_overrides(verdict, [wanted], NOW)
    assert (left.outcome, left.code) == (Outcome.BLIND, "KUBELET_CONFIG_UNREADABLE")
    both = [wanted, replace(wanted, code="KUBELET_CONFIG_UNREADABLE")]
    assert apply_overrides(verdict, both, NOW).outcome is Outcome.WARN


def test_a_gate_that_breaks_is_blind_by_name() -> None:
    broken = replace(TOY, check=lambda round_, policy: {}["no such fact"])
    verdict = judge(broken, round_of(**FACTS), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "GATE_BROKEN")
    assert "no such fact" in verdict.message


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


def test_what_the_plan_leaves_out_closes_no_later_night() -> None:
    aside = (node("cp1"), node("w1", annotations={QUARANTINE_ANNOTATION: "{}"}), node("w2"))
    leaving = replace(POLICY, workers=replace(POLICY.workers, retry_quarantined=False))
    round_ = round_of(**{**FACTS, "nodes": aside, "sizes": {"cp1": 1, "w1": None, "w2": 3}})
    assert judge(TOY, round_, leaving).outcome is Outcome.PASS
    assert judge(TOY, round_, POLICY).outcome is Outcome.BLIND


WAYS = ("absent", "unread", "too old", "of no age", "a node silent", "a node forgotten")
OWNER = replace(POLICY, accept_api_outage=True)  # the stock cluster has one control plane
MOMENTS = {moment: [gate for gate in GATES.values() if moment in gate.moments] for moment in Moment}


def fold(round_: Round) -> Answer:
    verdicts = [judge(gate, round_, OWNER) for gate in MOMENTS[round_.moment]]
    return fold_verdicts(verdicts, [verdict.gate for verdict in verdicts]).answer


@pytest.mark.parametrize(("moment", "ahead"), [(Moment.NIGHT, ""), *((Moment.PLACE, n) for n in NODE_NAMES)])
def test_with_all_facts_there_every_gate_passes_the_healthy_cluster(moment: Moment, ahead: str) -> None:
    round_ = healthy_round(moment, ahead)
    said = {gate.name: judge(gate, round_, OWNER) for gate in MOMENTS[moment]}
    assert {
        name: verdict.message for name, verdict in said.items() if verdict.outcome is not Outcome.PASS
    } == {}


def test_every_field_that_may_be_missing_is_needed_or_has_a_reason_not_to_be() -> None:
    known = {*map(str, NEEDED), *MAY_BE_MISSING, *OPEN}
    assert sorted(optional_fields(healthy_round(Moment.NIGHT)) - known) == []
    assert not set(map(str, NEEDED)) & {*MAY_BE_MISSING, *OPEN}


def removals() -> st.SearchStrategy[Any]:
    """One fact less: a whole topic in some way, a field, or a key."""
    fields = st.sampled_from(NEEDED).flatmap(lambda n: st.tuples(st.just(n), st.sampled_from(n.gone)))
    keys = [(topic, key) for topic, names in KEYS.items() for key in names]
    topics = sorted({topic.name for gate in GATES.values() for topic in gate.needs})
    whole = st.tuples(st.sampled_from(topics), st.sampled_from(WAYS))
    return st.one_of(fields, st.sampled_from(keys), whole)


def removed(round_: Round, removal: tuple[Any, Any], name: str) -> tuple[Round, bool]:
    """The round without it, and whether a gate that is asked now needs it."""
    what, how = removal
    if isinstance(what, Needed):
        less = without_field(round_, what, how, name)
        return less, round_.moment in what.moments and repr(less) != repr(round_)
    if what in KEYS and how in KEYS[what]:
        less = without_key(round_, what, how, name)
        return less, less is not round_
    needed = {topic.name for gate in MOMENTS[round_.moment] for topic in gate.needs}
    return without_topic(round_, what, how, name), what in needed


@pytest.mark.no_cover  # many examples of what other tests cover
@pytest.mark.parametrize("moment", list(Moment))
@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(removals(), min_size=1, max_size=3), st.sampled_from(NODE_NAMES))
def test_no_combination_of_missing_facts_ever_folds_to_go(
    moment: Moment, missing: list[tuple[Any, Any]], name: str
) -> None:
    round_, is_missed = healthy_round(moment, name if moment is Moment.PLACE else ""), False
    for removal in missing:
        round_, needed = removed(round_, removal, name)
        is_missed = is_missed or needed
    assume(is_missed)
    assert fold(round_) is not Answer.GO


@pytest.mark.parametrize(
    ("needed", "moment"),
    [(needed, moment) for needed in NEEDED for moment in sorted(needed.moments)],
    ids=str,
)
def test_each_field_is_missed_alone(needed: Needed, moment: Moment) -> None:
    healthy = {name: healthy_round(moment, name if moment is Moment.PLACE else "") for name in NODE_NAMES}
    tried = [
        (name, gone, *removed(round_, (needed, gone), name))
        for name, round_ in healthy.items()
        for gone in needed.gone
    ]
    missed = [(name, gone, less) for name, gone, less, is_missed in tried if is_missed]
    assert missed, "no stock node has this fact"
    assert [(name, gone) for name, gone, less in missed if fold(less) is Answer.GO] == []


def without_topic(round_: Round, topic: str, way: str, name: str) -> Round:
    """The round without this topic, or without one node's answer to it."""
    others = {key: reading for key, reading in round_.readings.items() if key != topic}
    reading = round_.readings.get(topic)
    if reading is None or way == "absent":
        return replace(round_, readings=others)
    asked = {t.name: t for gate in GATES.values() for t in gate.needs}[topic]
    if way == "too old":
        less = replace(reading, taken=round_.now - 181)
    elif way == "of no age":
        less = replace(reading, taken=float("nan"))
    elif isinstance(asked, NodeTopic) and way != "unread" and reading.value is not None:
        name = "cp1" if asked.only_control_planes else name
        left = {node: fact for node, fact in reading.value.items() if node != name}
        less = replace(reading, value=left, problems={name: AWAY} if way == "a node silent" else {})
    else:
        less = Reading(round_.now, problem=AWAY)
    return replace(round_, readings={**others, topic: less})
