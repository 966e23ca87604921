"""How a topic becomes a reading: from the API, from a section of the verb `look`, or by a function of its own.

An expected error (unreachable, refused, not understood) becomes the reading's problem. Only bugs are raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from nightshift.clients.questions import ApiQuestion, NodeQuestion
from nightshift.domain.errors import BlindError, NightshiftError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.limits import PARALLEL_NODES
from nightshift.domain.round import AnyTopic, Moment, NodeTopic, Reading, Round, Topic, Unread
from nightshift.domain.topics import NODES
from nightshift.steps.session import KubePort, NodePort, Session, on_all

_PARALLEL_QUESTIONS = 8  # to the API server and other services, besides the nodes


@dataclass(frozen=True)
class Seen:
    """What a gatherer may know before it looks: the nodes, and what its round was given.

    Args:
        nodes: all Node objects.
        given: readings the caller brought along (tonight's target, the etcd window's first sample), by topic.
    """

    nodes: tuple[NodeFacts, ...]
    given: Mapping[str, Reading]

    def find(self, topic: Topic[Any]) -> Any:
        """A given fact; None when it was not given or could not be read."""
        reading = self.given.get(topic.name)
        return None if reading is None else reading.value


@dataclass(frozen=True)
class ClusterGatherer:
    """Reads one fact about the whole cluster.

    Args:
        read: reads it.
        question: what is asked of the API server, where that is all; see `permissions`.
    """

    read: Callable[[Session, Seen], Any]
    question: ApiQuestion[Any] | None = None


@dataclass(frozen=True)
class SectionGatherer:
    """Reads a section of the verb `look` on each node; all sections of a round travel in one call."""

    question: NodeQuestion[Any]


@dataclass(frozen=True)
class NodeGatherer:
    """Reads something else on each node.

    Args:
        prepare: done once before the nodes are asked (a token); its value is handed to `read`.
        read: asks one node; None means the node has no such thing, and it is left out.
    """

    read: Callable[[NodePort, Any], Any]
    prepare: Callable[[Session], Any] = lambda session: None


Gatherer = ClusterGatherer | SectionGatherer | NodeGatherer


def from_kube(read: Callable[[KubePort], Any]) -> ClusterGatherer:
    """A fact that a method of the API client answers."""
    return ClusterGatherer(lambda session, seen: read(session.kube))


def from_api(question: ApiQuestion[Any]) -> ClusterGatherer:
    """A fact with a question of its own to the API server."""
    return ClusterGatherer(lambda session, seen: session.kube.ask(question), question)


def from_look(question: NodeQuestion[Any]) -> SectionGatherer:
    """A fact in a section of the verb `look`."""
    return SectionGatherer(question)


def gather(
    session: Session,
    topics: Iterable[AnyTopic],
    gatherers: Mapping[str, Gatherer],
    moment: Moment,
    *,
    nodes_ahead: Sequence[str] = (),
    given: Mapping[str, Reading] | None = None,
) -> Round:
    """Read every topic once, side by side, and return the round. What was given is not read again.

    A topic that nobody gathers and nobody brought is not in the round: who needs it is blind.
    """
    brought = dict(given or {})
    wanted = {t.name: t for t in topics if t.name not in brought and t.name in gatherers}
    readings = {**brought, NODES.name: _read_cluster(session, lambda: session.kube.nodes())}
    problem = readings[NODES.name].problem
    if problem is not None:
        readings |= {name: Reading(session.clock(), problem=problem) for name in wanted}
    else:
        seen = Seen(readings[NODES.name].value, brought)
        readings |= _read_all(session, wanted, gatherers, seen)
    return Round(moment, session.clock(), readings, tuple(nodes_ahead))


def _read_all(
    session: Session, wanted: Mapping[str, AnyTopic], gatherers: Mapping[str, Gatherer], seen: Seen
) -> dict[str, Reading]:
    questions: list[Callable[[], dict[str, Reading]]] = []
    on_nodes: dict[str, AnyTopic] = {}
    for name, topic in wanted.items():
        gatherer = gatherers[name]
        if isinstance(gatherer, ClusterGatherer):
            questions.append(_question(session, name, gatherer, seen))
        else:
            on_nodes[name] = topic
    if on_nodes:
        questions.insert(0, lambda: _read_nodes(session, on_nodes, gatherers, seen.nodes))
    readings: dict[str, Reading] = {}
    with ThreadPoolExecutor(max_workers=_PARALLEL_QUESTIONS) as pool:
        for answers in pool.map(lambda question: question(), questions):
            readings |= answers
    return readings


def _question(
    session: Session, name: str, gatherer: ClusterGatherer, seen: Seen
) -> Callable[[], dict[str, Reading]]:
    return lambda: {name: _read_cluster(session, lambda: gatherer.read(session, seen))}


def _read_cluster(session: Session, read: Callable[[], Any]) -> Reading:
    taken = session.clock()
    try:
        return Reading(taken, value=read())
    except NightshiftError as error:
        session.log(str(error))
        return Reading(taken, problem=unread(error))


@dataclass(frozen=True)
class _NodeWork:
    """What is read on one node in one go."""

    sections: Mapping[str, NodeQuestion[Any]]  # by topic
    readers: Mapping[str, Callable[[NodePort], Any]]  # by topic


def _read_nodes(
    session: Session,
    wanted: Mapping[str, AnyTopic],
    gatherers: Mapping[str, Gatherer],
    nodes: Sequence[NodeFacts],
) -> dict[str, Reading]:
    """Ask every node for all its topics; one that does not answer is silent on each of them."""
    taken = session.clock()
    prepared, failed = _prepare(session, wanted, gatherers)
    left = {name: topic for name, topic in wanted.items() if name not in failed}

    def ask(node: NodeFacts) -> dict[str, Any]:
        return _ask_node(session, node, _work_for(node, left, gatherers, prepared))

    answers = on_all(nodes, ask, PARALLEL_NODES) if left else {}
    readings = {name: Reading(taken, problem=unread(error)) for name, error in failed.items()}
    for name in left:
        values: dict[str, Any] = {}
        problems: dict[str, Unread] = {}
        for node, answer in answers.items():
            said = answer if isinstance(answer, NightshiftError) else answer.get(name)
            if isinstance(said, NightshiftError):
                problems[node] = unread(said)
            elif said is not None:
                values[node] = said
        readings[name] = Reading(taken, value=values, problems=problems)
    return readings


def _prepare(
    session: Session, wanted: Mapping[str, AnyTopic], gatherers: Mapping[str, Gatherer]
) -> tuple[dict[str, Any], dict[str, NightshiftError]]:
    prepared: dict[str, Any] = {}
    failed: dict[str, NightshiftError] = {}
    for name in wanted:
        gatherer = gatherers[name]
        if isinstance(gatherer, NodeGatherer):
            try:
                prepared[name] = gatherer.prepare(session)
            except NightshiftError as error:
                session.log(str(error))
                failed[name] = error
    return prepared, failed


def _work_for(
    node: NodeFacts,
    wanted: Mapping[str, AnyTopic],
    gatherers: Mapping[str, Gatherer],
    prepared: Mapping[str, Any],
) -> _NodeWork:
    sections: dict[str, NodeQuestion[Any]] = {}
    readers: dict[str, Callable[[NodePort], Any]] = {}
    for name, topic in wanted.items():
        if isinstance(topic, NodeTopic) and topic.only_control_planes and not node.is_control_plane:
            continue
        gatherer = gatherers[name]
        if isinstance(gatherer, SectionGatherer):
            sections[name] = gatherer.question
        elif isinstance(gatherer, NodeGatherer):
            readers[name] = _reader(gatherer, prepared[name])
    return _NodeWork(sections, readers)


def _reader(gatherer: NodeGatherer, prepared: Any) -> Callable[[NodePort], Any]:
    return lambda port: gatherer.read(port, prepared)


def _ask_node(session: Session, node: NodeFacts, work: _NodeWork) -> dict[str, Any]:
    """Values and expected errors, by topic."""
    port = session.on(node)
    found: dict[str, Any] = {}
    for name, read in work.readers.items():
        found[name] = _or_error(session, node, lambda read=read: read(port))  # type: ignore[misc]
    if work.sections:
        found |= _ask_look(session, node, port, work.sections)
    return found


def _ask_look(
    session: Session, node: NodeFacts, port: NodePort, sections: Mapping[str, NodeQuestion[Any]]
) -> dict[str, Any]:
    names = sorted({question.section for question in sections.values()})
    answers = _or_error(session, node, lambda: port.look(names))
    if isinstance(answers, NightshiftError):
        return dict.fromkeys(sections, answers)
    return {
        name: _or_error(session, node, lambda q=question: _parsed(node, q, answers))  # type: ignore[misc]
        for name, question in sections.items()
    }


def _parsed(node: NodeFacts, question: NodeQuestion[Any], answers: Mapping[str, tuple[int, str]]) -> Any:
    """The section's fact.

    Raises:
        BlindError: LOOK_INCOMPLETE, the section is missing, failed or cannot be read.
    """
    if question.section not in answers:
        raise _incomplete(node.name, question.section, "it is missing")
    code, text = answers[question.section]
    if code != 0:
        raise _incomplete(node.name, question.section, f"it ended with exit code {code}")
    try:
        return question.parse(text)
    except (ValueError, KeyError, IndexError) as error:
        raise _incomplete(node.name, question.section, f"it cannot be read: {error!r}") from error


def _incomplete(node: str, section: str, why: str) -> BlindError:
    return BlindError(
        "LOOK_INCOMPLETE",
        f"The look at node {node} has no usable section {section!r}.",
        cause=f"On the node {why}.",
        next_step=f"Run `sudo /usr/local/lib/nightshift/nightshift-node look {section}` on {node} and read its errors.",
    )


def _or_error(session: Session, node: NodeFacts, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except NightshiftError as error:
        session.log(f"{node.name}: {error}")
        return error


def unread(error: NightshiftError) -> Unread:
    """Why a fact could not be read, in the error's own words."""
    return Unread(error.code, error.message, error.cause, error.next_step)
