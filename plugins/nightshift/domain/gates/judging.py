"""Ask one gate: whatever it needs and this round has not makes it blind, beside everything else it found."""

from __future__ import annotations

from collections.abc import Iterator

from nightshift.domain.gates import Gate
from nightshift.domain.gates.findings import Finding, conclude, findings_of
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
    except Exception as error:  # noqa: BLE001  # whatever it is, the gate is blind and the others are heard
        return _broken(gate.name, error)
    silent = list(_silent(gate, round_, policy))
    return _blinded(verdict, silent) if silent else verdict


def _unread(gate: Gate, round_: Round) -> Iterator[Unread]:
    for topic in gate.needs:
        try:
            round_.by_node(topic) if isinstance(topic, NodeTopic) else round_.get(topic)
        except NotRead as error:
            yield error.unread


def _silent(gate: Gate, round_: Round, policy: ClusterPolicy) -> Iterator[Unread]:
    """Why nodes that belong to the cluster gave no answer on what the gate needs."""
    for topic in gate.needs:
        if isinstance(topic, NodeTopic):
            expected = _expected(topic, round_, policy)
            answered = round_.by_node(topic)
            for name in sorted(expected - set(answered)):
                yield round_.silent(topic).get(name) or _no_answer(topic, name)


def _expected(topic: NodeTopic[object], round_: Round, policy: ClusterPolicy) -> set[str]:
    """Names of the nodes that must have answered."""
    nodes = round_.get(NODES)
    asked = {n.name for n in nodes if n.is_control_plane or not topic.only_control_planes}
    return asked - left_aside(round_, nodes, policy.workers)


def _no_answer(topic: AnyTopic, node: str) -> Unread:
    return Unread(
        "NODE_NOT_ASKED",
        f"Node {node} gave no answer about {topic.title}.",
        "The node joined the cluster while the round was gathered.",
        "Ask again: clear the task.",
    )


def _blind(gate: str, unread: list[Unread]) -> Verdict:
    """One finding for each thing that could not be read: an owner's override of one says nothing about another."""
    return conclude(gate, _findings(unread), passed="")


def _findings(unread: list[Unread]) -> list[Finding]:
    return [Finding(Outcome.BLIND, u.code, u.message, u.cause, u.resolution) for u in dict.fromkeys(unread)]


def _blinded(verdict: Verdict, silent: list[Unread]) -> Verdict:
    """The verdict with what could not be read beside what was found: neither is lost."""
    found = [] if verdict.outcome is Outcome.PASS else findings_of(verdict)
    return conclude(verdict.gate, [*_findings(silent), *found], passed="", evidence=verdict.evidence)


def _broken(gate: str, error: Exception) -> Verdict:
    """A fault of this gate must not silence the others of its round."""
    return Verdict(
        gate,
        Outcome.BLIND,
        "GATE_BROKEN",
        f"Gate {gate} broke on what it was given: {error!r}.",
        cause="This is a fault of Nightshift, or a fact has a shape it does not expect.",
        resolution="Report it with this message; an override of this finding lets the night go on without the gate.",
    )
