"""One round: every topic once, nothing raised for an outside system, bugs not hidden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader, NodeQuestion
from nightshift.domain.errors import BlindError, TrustError
from nightshift.domain.round import AnyTopic, Moment, NodeTopic, NotRead, Reading, Round, Topic
from nightshift.domain.topics import NODES, PROBES
from nightshift.steps import look
from nightshift.steps.look.gathering import (
    ClusterGatherer,
    Gatherer,
    NodeGatherer,
    from_api,
    from_kube,
    from_look,
    gather,
)
from nightshift.steps.session import Session

COLOUR = Topic[str]("colour", "the colour")
NAMES = Topic[tuple[str, ...]]("names", "the names")
HEIGHTS = NodeTopic[int]("heights", "the heights")
WIDTHS = NodeTopic[int]("widths", "the widths")
MEMBERS = NodeTopic[str]("members", "the members", only_control_planes=True)


def blind(*_: Any) -> Any:
    raise BlindError("PROBE_INCOMPLETE", "Half of it.", cause="a full disk", next_step="Look.")


def read(session: Session, *topics: AnyTopic, **gatherers: Gatherer) -> Round:
    return gather(session, topics, gatherers, Moment.NIGHT)


def test_facts_of_the_cluster_of_nodes_and_of_sections(cluster: FakeCluster, session: Session) -> None:
    for node in cluster.fakes.values():
        node.texts["tape"] = "7\n"
    found = read(
        session,
        COLOUR,
        HEIGHTS,
        MEMBERS,
        colour=from_kube(lambda kube: "ready" if kube.ready() else "away"),
        heights=from_look(NodeQuestion("tape", int)),
        members=NodeGatherer(lambda node, word: word + node.name, prepare=lambda session: "member "),
    )
    assert found.get(COLOUR) == "ready"
    assert found.by_node(HEIGHTS) == {"cp1": 7, "w1": 7, "w2": 7}
    assert found.by_node(MEMBERS) == {"cp1": "member cp1"}
    assert [node.name for node in found.get(NODES)] == ["cp1", "w1", "w2"]


def test_each_topic_is_read_once_whoever_wants_it(cluster: FakeCluster, session: Session) -> None:
    read(session, COLOUR, COLOUR, NODES, NODES, colour=from_kube(lambda kube: str(kube.brake())))
    assert sorted(cluster.api_calls) == ["brake", "nodes"]


def test_all_sections_of_a_node_travel_in_one_call(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def watched(sections: list[str]) -> dict[str, tuple[int, str]]:
        asked.append(sections)
        return dict.fromkeys(sections, (0, "1"))

    for node in cluster.fakes.values():
        monkeypatch.setattr(node, "look", watched)
    read(
        session,
        HEIGHTS,
        WIDTHS,
        heights=from_look(NodeQuestion("tape", int)),
        widths=from_look(NodeQuestion("ruler", int)),
    )
    assert asked == [["ruler", "tape"]] * 3


def test_an_api_that_is_away_is_every_topics_problem(cluster: FakeCluster, session: Session) -> None:
    cluster.api_away_until = cluster.now + 1000
    found = read(session, PROBES, PROBES, probes=NodeGatherer(lambda node, _: node.probe()))
    for topic in (NODES, PROBES):
        assert found.readings[topic.name].problem.code == "API_UNREACHABLE"  # type: ignore[union-attr]


def test_a_node_that_is_away_is_silent_on_each_of_its_topics_with_its_own_reason(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.fakes["w1"].is_away = True
    cluster.fakes["w2"].broken = TrustError("NODE_SCRIPT_TAMPERED", "x", cause="y", next_step="z")
    for node in cluster.fakes.values():
        node.texts["tape"] = "7"
    found = read(
        session,
        HEIGHTS,
        PROBES,
        heights=from_look(NodeQuestion("tape", int)),
        probes=NodeGatherer(lambda node, _: node.probe()),
    )
    for topic in (HEIGHTS, PROBES):
        codes = {name: unread.code for name, unread in found.silent(topic).items()}
        assert codes == {"w1": "NODE_UNREACHABLE", "w2": "NODE_SCRIPT_TAMPERED"}
        assert set(found.by_node(topic)) == {"cp1"}


@pytest.mark.parametrize("text", ["", "seven", None], ids=["empty", "not understood", "failed on the node"])
def test_a_section_that_cannot_be_used_is_silence(
    cluster: FakeCluster, session: Session, text: str | None
) -> None:
    for node in cluster.fakes.values():
        node.texts["tape"] = "7"
    cluster.fakes["w1"].texts["tape"] = text
    found = read(session, HEIGHTS, heights=from_look(NodeQuestion("tape", int)))
    assert set(found.by_node(HEIGHTS)) == {"cp1", "w2"}
    unread = found.silent(HEIGHTS)["w1"]
    assert unread.code == "LOOK_INCOMPLETE"
    assert "'tape'" in unread.message


def test_a_section_that_is_not_in_the_answer_is_silence(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.fakes["w1"], "look", lambda sections: {})
    found = read(session, HEIGHTS, heights=from_look(NodeQuestion("tape", int)))
    assert "it is missing" in found.silent(HEIGHTS)["w1"].cause


def test_what_must_be_prepared_and_cannot_is_the_problem_of_that_topic_only(session: Session) -> None:
    found = read(
        session,
        HEIGHTS,
        WIDTHS,
        heights=NodeGatherer(lambda node, _: 1, prepare=blind),
        widths=NodeGatherer(lambda node, _: 2),
    )
    assert found.readings["heights"].problem.code == "PROBE_INCOMPLETE"  # type: ignore[union-attr]
    assert found.by_node(WIDTHS) == {"cp1": 2, "w1": 2, "w2": 2}


def test_a_node_without_such_a_thing_is_left_out(session: Session) -> None:
    found = read(session, HEIGHTS, heights=NodeGatherer(lambda node, _: None if node.name == "w1" else 1))
    assert set(found.by_node(HEIGHTS)) == {"cp1", "w2"}
    assert found.silent(HEIGHTS) == {}


def test_an_expected_error_is_a_problem_and_a_bug_is_raised(session: Session) -> None:
    assert read(session, COLOUR, colour=ClusterGatherer(blind)).readings["colour"].problem is not None
    with pytest.raises(ZeroDivisionError):
        read(session, COLOUR, colour=ClusterGatherer(lambda session, seen: 1 / 0))


def test_what_was_given_is_not_read_again_and_may_be_looked_up(session: Session) -> None:
    given = {COLOUR.name: Reading(session.clock(), value="red")}
    gatherers: dict[str, Gatherer] = {
        "colour": ClusterGatherer(blind),
        "names": ClusterGatherer(lambda session, seen: (*(n.name for n in seen.nodes), seen.find(COLOUR))),
    }
    found = gather(session, [COLOUR, NAMES], gatherers, Moment.PLACE, nodes_ahead=["w1"], given=given)
    assert found.get(NAMES) == ("cp1", "w1", "w2", "red")
    assert (found.moment, found.nodes_ahead) == (Moment.PLACE, ("w1",))


def test_a_topic_that_nobody_gathers_is_missing_and_not_fine(session: Session) -> None:
    with pytest.raises(NotRead) as raised:
        read(session, COLOUR).get(COLOUR)
    assert raised.value.unread.code == "FACT_NOT_ASKED"


def _names(reader: ApiReader) -> tuple[str, ...]:
    return tuple(item["metadata"]["name"] for item in reader.list("/api/v1/things"))


THINGS = ApiQuestion(_names, (Permission("list", "", "things"),))


def test_a_question_to_the_api_and_an_answer_of_another_shape(cluster: FakeCluster, session: Session) -> None:
    assert read(session, NAMES, names=from_api(THINGS)).get(NAMES) == ()  # a server without such a resource
    cluster.documents["/api/v1/things"] = {"items": [{"metadata": {"name": "a"}}]}
    assert read(session, NAMES, names=from_api(THINGS)).get(NAMES) == ("a",)
    cluster.documents["/api/v1/things"] = {"items": [{}]}
    problem = read(session, NAMES, names=from_api(THINGS)).readings["names"].problem
    assert problem is not None
    assert problem.code == "API_ANSWER_UNKNOWN"


def test_permissions_are_those_of_all_questions_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    more = ApiQuestion(_names, (Permission("list", "", "things"), Permission("get", "", "others")))
    gatherers = {"a": from_api(THINGS), "b": from_api(more), "c": from_kube(lambda kube: kube.ready())}
    monkeypatch.setattr(look, "GATHERERS", gatherers)
    assert look.permissions() == (Permission("get", "", "others"), Permission("list", "", "things"))


@pytest.fixture(autouse=True)
def _no_session_stays_open(session: Session) -> Iterator[None]:
    yield
    session.close()
