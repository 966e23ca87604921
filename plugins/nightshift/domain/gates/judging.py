"""Ask one gate: whatever it needs and this round has not makes it blind, beside everything else it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nightshift.domain.gates import Gate
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import left_aside
from nightshift.domain.round import AnyTopic, NodeTopic, NotRead, Round, Unread
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Outcome, Verdict


def judge(gate: Gate, round_: Round, policy: ClusterPolicy) -> Verdict:
    """The gate's verdict on this round.

    A topic that could not be read at all makes it blind at once. Nodes that did not answer make it blind beside what
    the others showed: a finding on one node is not lost because another one is down. Nodes that are no longer in the
    cluster are not missed; in front of a slot or wave neither are those that the night set aside.
    """
    unread = list(_unread(gate, round_))
    if unread:
        return _blind(gate.name, unread)
    try:
        verdict = gate.check(round_, policy)
    except NotRead as error:  # a topic it wants, and here cannot do without
        return _blind(gate.name, [error.unread])
    silent = list(_silent(gate, round_))
    return _blinded(verdict, silent) if silent else verdict


def _unread(gate: Gate, round_: Round) -> Iterator[Unread]:
    for topic in gate.needs:
        try:
            round_.by_node(topic) if isinstance(topic, NodeTopic) else round_.get(topic)
        except NotRead as error:
            yield error.unread


def _silent(gate: Gate, round_: Round) -> Iterator[Unread]:
    """Why nodes that belong to the cluster gave no answer on what the gate needs."""
    for topic in gate.needs:
        if isinstance(topic, NodeTopic):
            expected = _expected(topic, round_)
            answered = round_.by_node(topic)
            for name in sorted(expected - set(answered)):
                yield round_.silent(topic).get(name) or _no_answer(topic, name)


def _expected(topic: NodeTopic[object], round_: Round) -> set[str]:
    """Names of the nodes that must have answered."""
    nodes = round_.get(NODES)
    asked = {n.name for n in nodes if n.is_control_plane or not topic.only_control_planes}
    return asked - left_aside(round_, nodes)


def _no_answer(topic: AnyTopic, node: str) -> Unread:
    return Unread(
        "NODE_NOT_ASKED",
        f"Node {node} gave no answer about {topic.title}.",
        "The node joined the cluster while the round was gathered.",
        "Ask again: clear the task.",
    )


def _blind(gate: str, unread: list[Unread]) -> Verdict:
    first = unread[0]
    return Verdict(
        gate,
        Outcome.BLIND,
        first.code,
        _joined(u.message for u in unread),
        cause=_joined(u.cause for u in unread),
        resolution=_joined(u.resolution for u in unread),
    )


def _blinded(verdict: Verdict, silent: list[Unread]) -> Verdict:
    """The verdict with what could not be read in front; what was found stays in its message and evidence."""
    blind = _blind(verdict.gate, silent)
    also = "" if verdict.outcome is Outcome.PASS else f" Also: {verdict.message}"
    return replace(
        blind,
        message=blind.message + also,
        evidence={**verdict.evidence, "found": {"outcome": verdict.outcome.value, "code": verdict.code}},
    )


def _joined(sentences: Iterator[str]) -> str:
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence))
