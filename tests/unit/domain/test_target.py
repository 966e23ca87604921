from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.unit.domain.builders import components, node

from nightshift.domain.errors import ConfigError
from nightshift.domain.facts import NodeFacts, PackageFacts
from nightshift.domain.policy import TargetPolicy
from nightshift.domain.target import (
    TargetChoice,
    TargetKind,
    choose_target,
    minors_to_ask,
)

OFFERS = (
    PackageFacts("1.34", ("1.34.2-1.1", "1.34.4-1.1")),
    PackageFacts("1.35", ("1.35.2-1.1", "1.35.4-1.1", "1.35.4-1.2", "1.35.5-rc.1")),
)
ALL_1344 = ([node("cp1"), node("w1"), node("w2")], {"cp1": components()})


def offers(**changes: PackageFacts) -> tuple[PackageFacts, ...]:
    return tuple({**{"m" + o.minor[2:]: o for o in OFFERS}, **changes}.values())


def choose(
    nodes: Sequence[NodeFacts],
    running: Mapping[str, Mapping[str, str]],
    offered: Sequence[PackageFacts] = OFFERS,
    requested: str | None = None,
    **policy: Any,
) -> TargetChoice:
    return choose_target(nodes, running, offered, TargetPolicy(**policy), requested)


@pytest.mark.parametrize(
    ("versions", "kind", "target"),
    [
        pytest.param(("1.34.4", "1.34.4", "1.34.4"), "minor", "1.35.4", id="newest patch runs: next minor"),
        pytest.param(("1.34.2", "1.34.2", "1.34.2"), "patch", "1.34.4", id="patch goes first"),
        pytest.param(("1.34.4", "1.34.4", "1.34.2"), "patch", "1.34.4", id="one kubelet behind by a patch"),
        pytest.param(("1.35.2", "1.34.4", "1.34.4"), "minor", "1.35.2", id="unfinished hop keeps its target"),
        pytest.param(("1.35.4", "1.35.4", "1.34.4"), "minor", "1.35.4", id="last worker of the hop"),
        pytest.param(("1.35.4", "1.35.4", "1.35.4"), "none", None, id="newest everywhere"),
    ],
)
def test_next_hop(versions: tuple[str, str, str], kind: str, target: str | None) -> None:
    nodes = [node("cp1", versions[1]), node("w1", versions[1]), node("w2", versions[2])]
    offered = (*OFFERS, PackageFacts("1.36", ()))
    choice = choose(nodes, {"cp1": components(versions[0])}, offered)
    assert (choice.kind.value, choice.version) == (kind, target), choice.sentence


def test_the_oldest_component_counts_not_only_kubelets() -> None:
    nodes = [node("cp1", "1.35.4"), node("w1", "1.35.4")]
    running = {"cp1": {**components("1.35.4"), "kube-scheduler": "v1.34.4"}}
    choice = choose(nodes, running)
    assert choice.version == "1.35.4"
    assert choice.running == "1.34.4"
    assert choice.nodes_behind == ("cp1",)


def test_choice_carries_package_minor_and_nodes() -> None:
    choice = choose(*ALL_1344)
    assert choice.package_version == "1.35.4-1.2"
    assert choice.minor == "1.35"
    assert choice.nodes_behind == ("cp1", "w1", "w2")
    assert choice.is_hop
    assert "1.34.4 to 1.35.4" in choice.sentence
    assert TargetChoice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice


def test_patch_first_can_be_switched_off() -> None:
    nodes, running = [node("cp1", "1.34.2")], {"cp1": components("1.34.2")}
    assert choose(nodes, running, patch_first=False).version == "1.35.4"
    no_next = offers(m35=PackageFacts("1.35", ()))
    assert choose(nodes, running, no_next, patch_first=False).version == "1.34.4"


@pytest.mark.parametrize(
    ("nodes", "running", "offered", "reason"),
    [
        pytest.param([], {}, OFFERS, "no control-plane node", id="no nodes"),
        pytest.param([node("w1")], {}, OFFERS, "no control-plane node", id="no control plane"),
        pytest.param([node("cp1")], {}, OFFERS, "cp1 are not all known", id="components absent"),
        pytest.param(
            [node("cp1", "")], {"cp1": components()}, OFFERS, "cp1 are not all known", id="kubelet unknown"
        ),
        pytest.param(*ALL_1344, (), "nobody asked", id="no offers"),
        pytest.param(
            *ALL_1344, OFFERS[:1], "nobody asked what is offered for 1.35", id="next minor not asked"
        ),
        pytest.param(
            *ALL_1344,
            offers(m35=PackageFacts("1.35", (), "timed out")),
            "timed out",
            id="next minor unreachable",
        ),
        pytest.param(
            *ALL_1344,
            offers(m34=PackageFacts("1.34", (), "403")),
            "not known (403)",
            id="running minor unreachable",
        ),
        pytest.param(
            *ALL_1344, offers(m34=PackageFacts("1.34", ())), "is its address right", id="running minor absent"
        ),
        pytest.param(
            [node("cp1", "1.35.9"), node("w1")],
            {"cp1": components("1.35.9")},
            OFFERS,
            "offers no package of it",
            id="unfinished hop to something no longer offered",
        ),
    ],
)
def test_what_cannot_be_known_is_blind_never_nothing(
    nodes: Sequence[NodeFacts],
    running: Mapping[str, Mapping[str, str]],
    offered: Sequence[PackageFacts],
    reason: str,
) -> None:
    choice = choose(nodes, running, offered)
    assert choice.kind is TargetKind.BLIND
    assert choice.version is None
    assert not choice.is_hop
    assert reason in choice.sentence


def test_a_known_patch_needs_no_knowledge_of_the_next_minor() -> None:
    choice = choose([node("cp1", "1.34.2")], {"cp1": components("1.34.2")}, OFFERS[:1])
    assert choice.version == "1.34.4"


def test_a_vanished_package_of_an_unfinished_hop_is_replaced_by_the_nearest_newer_one() -> None:
    choice = choose([node("cp1", "1.35.3"), node("w1")], {"cp1": components("1.35.3")})
    assert choice.version == "1.35.4"
    assert choice.nodes_behind == ("cp1", "w1")


def test_next_minor_not_published_yet_is_nothing() -> None:
    choice = choose(*ALL_1344, offers(m35=PackageFacts("1.35", ())))
    assert choice.kind is TargetKind.NONE
    assert "nothing newer is offered" in choice.sentence


def test_newest_minor_holds_the_hop_but_not_the_patch() -> None:
    held = choose(*ALL_1344, OFFERS[:1], newest_minor="1.34")
    assert held.kind is TargetKind.NONE
    assert "newest_minor is 1.34" in held.sentence
    patch = choose([node("cp1", "1.34.2")], {"cp1": components("1.34.2")}, OFFERS[:1], newest_minor="1.34")
    assert patch.version == "1.34.4"


def test_pin_is_reached_and_then_kept() -> None:
    nodes, running = [node("cp1", "1.34.2")], {"cp1": components("1.34.2")}
    assert choose(nodes, running, pinned_version="1.34.4").package_version == "1.34.4-1.1"
    done = choose(*ALL_1344, (), pinned_version="1.34.4")
    assert done.kind is TargetKind.NONE
    assert "pinned" in done.sentence
    unknown = choose(nodes, running, (PackageFacts("1.34", (), "away"),), pinned_version="1.34.4")
    assert unknown.kind is TargetKind.BLIND


@pytest.mark.parametrize(
    ("policy", "code", "said"),
    [
        ({"pinned_version": "1.36.0"}, "TARGET_SKIPS_MINOR", "Ask for a 1.35 release first"),
        ({"pinned_version": "1.34.2"}, "TARGET_IS_DOWNGRADE", "older than 1.34.4"),
        ({"pinned_version": "1.35.9"}, "TARGET_UNKNOWN", "offers 1.35.2, 1.35.4"),
        ({"pinned_version": "newest"}, "TARGET_UNKNOWN", "newest"),
        ({"newest_minor": "1.33"}, "TARGET_IS_DOWNGRADE", "already runs"),
        ({"newest_minor": "one"}, "TARGET_UNKNOWN", "one"),
        (
            {"newest_minor": "1.34", "pinned_version": "1.35.4"},
            "TARGET_ABOVE_CEILING",
            "pinned_version 1.35.4",
        ),
        ({"newest_minor": "1.34", "requested": "1.35.4"}, "TARGET_ABOVE_CEILING", "target_version 1.35.4"),
        ({"requested": "1.36.0"}, "TARGET_SKIPS_MINOR", "leave the form's target_version empty"),
        ({"requested": "1.34.2"}, "TARGET_IS_DOWNGRADE", "target_version 1.34.2"),
        ({"requested": "1.35.9"}, "TARGET_UNKNOWN", "target_version 1.35.9"),
        ({"requested": "soon"}, "TARGET_UNKNOWN", "Write it like 1.35.4"),
    ],
)
def test_impossible_policies_are_errors(policy: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(*ALL_1344, **policy)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert caught.value.next_step


def test_a_wish_of_the_form_goes_before_the_policys_pin() -> None:
    choice = choose(*ALL_1344, pinned_version="1.34.4", requested="v1.35.2")
    assert choice.version == "1.35.2"
    assert "target_version" in choice.sentence
    policy = TargetPolicy(pinned_version="1.34.4")
    assert minors_to_ask(*ALL_1344, policy, "1.35.2") == ("1.35",)
    assert choose(*ALL_1344, pinned_version="1.34.4", requested="").kind is TargetKind.NONE


def test_a_pin_the_repository_lacks_entirely() -> None:
    with pytest.raises(ConfigError, match="offers nothing"):
        choose(*ALL_1344, (PackageFacts("1.35", ()),), pinned_version="1.35.4")


def test_nodes_more_than_one_minor_apart_are_refused_by_name() -> None:
    nodes = [node("cp1", "1.36.1"), node("w7", "1.34.4")]
    with pytest.raises(ConfigError) as caught:
        choose(nodes, {"cp1": components("1.36.1")})
    assert caught.value.code == "TARGET_SKIPS_MINOR"
    assert "w7 runs 1.34.4" in str(caught.value)
    assert "to 1.35 by hand" in str(caught.value)


@pytest.mark.parametrize(
    ("running", "policy", "minors"),
    [
        ("1.34.4", {}, ("1.34", "1.35")),
        ("1.34.4", {"newest_minor": "1.34"}, ("1.34",)),
        ("1.34.4", {"pinned_version": "1.35.4"}, ("1.35",)),
        ("1.35.4", {}, ("1.35",)),  # w1 still on 1.34.4: only the hop under way matters
        ("junk", {}, ()),
    ],
)
def test_minors_to_ask_are_exactly_those_the_choice_reads(
    running: str, policy: dict[str, Any], minors: tuple[str, ...]
) -> None:
    nodes = [node("cp1", running), node("w1")]
    assert minors_to_ask(nodes, {"cp1": components(running)}, TargetPolicy(**policy)) == minors
