"""Who is asked about packages and images, and for what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.errors import BlindError, UnreachableError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.supply import SUPPLY, Supplied
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import TARGET
from nightshift.steps.gates import ask
from nightshift.steps.look import GATHERERS
from nightshift.steps.look.gathering import Seen, gather
from nightshift.steps.look.supply import read_supply
from nightshift.steps.session import Session

HOP = TargetChoice(TargetKind.MINOR, "hop", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4")
UNKNOWN = TargetChoice(TargetKind.BLIND, "The repository said no.", running="1.34.4")


def given(session: Session, target: TargetChoice) -> dict[str, Reading]:
    return {TARGET.name: Reading(session.clock(), target)}


def look(session: Session, target: TargetChoice) -> Round:
    return gather(session, [SUPPLY], GATHERERS, Moment.NIGHT, given=given(session, target))


def asked(cluster: FakeCluster, node: str) -> list[tuple[str, ...]]:
    return [call for call in cluster.fakes[node].calls if call[0] == "supply"]


def test_one_control_plane_node_is_asked_for_everything(cluster: FakeCluster, session: Session) -> None:
    supply = look(session, HOP).get(SUPPLY)
    assert supply.node == "cp1"
    assert supply.unasked == ()
    assert [name for name in cluster.fakes if asked(cluster, name)] == ["cp1"]
    ((_, minor, package, *images),) = asked(cluster, "cp1")
    assert (minor, package) == ("1.35", "1.35.4-1.1")
    assert "registry.k8s.io/etcd:3.6.6-0" in images
    assert session.policy.probe_image in images
    assert len(images) == 8


def test_without_a_target_the_repositories_say_why(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["cp1"].supplied["1.35"] = Supplied.REFUSED
    (verdict,) = ask(session, ["supply"], Moment.NIGHT, given=given(session, UNKNOWN))
    assert (verdict["outcome"], verdict["code"]) == ("block", "REPOSITORY_REFUSED")
    assert asked(cluster, "cp1") == [("supply", "1.34", "-"), ("supply", "1.35", "-")]


def test_that_there_is_no_next_minor_is_no_finding(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["cp1"].supplied["1.35"] = Supplied.MISSING
    (verdict,) = ask(session, ["supply"], Moment.NIGHT, given=given(session, UNKNOWN))
    assert (verdict["outcome"], verdict["code"]) == ("blind", "TARGET_NOT_CHOSEN")


def test_with_nothing_to_do_nobody_is_asked(cluster: FakeCluster, session: Session) -> None:
    (verdict,) = ask(
        session, ["supply"], Moment.NIGHT, given=given(session, TargetChoice(TargetKind.NONE, "all there"))
    )
    assert verdict["outcome"] == "pass"
    assert not any(asked(cluster, name) for name in cluster.fakes)


def test_no_control_plane_node_can_be_reached(cluster: FakeCluster, session: Session) -> None:
    for name, facts in cluster.nodes.items():
        cluster.fakes[name].is_away = facts.is_control_plane
    (verdict,) = ask(session, ["supply"], Moment.NIGHT, given=given(session, HOP))
    assert (verdict["outcome"], verdict["code"]) == ("blind", "SUPPLY_SILENT")


def test_a_node_that_is_away_passes_the_question_on(cluster: FakeCluster, session: Session) -> None:
    first = cluster.nodes["cp1"]
    away = replace(first, name="cp0")

    def on(node: NodeFacts) -> Any:
        if node.name == "cp0":
            raise UnreachableError("NODE_UNREACHABLE", "cp0 is off.", cause="power", next_step="Start it.")
        return cluster.fakes[node.name]

    patched = replace(session, ssh=on)
    assert read_supply(patched, Seen((away, first), given(session, HOP))).node == "cp1"
    with pytest.raises(BlindError, match="SUPPLY_SILENT"):
        read_supply(patched, Seen((away,), given(session, HOP)))


@pytest.mark.parametrize("gate", ["version_killers", "compatibility", "packages", "supply"])
def test_a_stock_cluster_passes(session: Session, gate: str) -> None:
    (verdict,) = ask(session, [gate], Moment.NIGHT, given=given(session, HOP))
    assert verdict["outcome"] == "pass", verdict["message"]
