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
    silent = list(_silent(gate, round_, policy))
    try:
        verdict = gate.check(round_, policy)
    except NotRead as error:  # a topic it wants, and here cannot do without
        return _blind(gate.name, [*silent, error.unread])
    except Exception as error:  # noqa: BLE001  # whatever it is, the gate is blind and the others are heard
        verdict = _broken(gate.name, error)
    if verdict.outcome is not Outcome.BLIND:  # else it says so in its own words
        silent += _unasked(gate, round_)
    return _blinded(verdict, silent) if silent else verdict


def _unread(gate: Gate, round_: Round) -> Iterator[Unread]:
    # Who must have answered is known from the Node objects.
    needs_nodes = any(isinstance(topic, NodeTopic) for topic in gate.needs)
    for topic in dict.fromkeys((*gate.needs, *((NODES,) if needs_nodes else ()))):
        try:
            round_.by_node(topic) if isinstance(topic, NodeTopic) else round_.get(topic)
        except NotRead as error:
            yield error.unread


def _silent(gate: Gate, round_: Round, policy: ClusterPolicy) -> Iterator[Unread]:
    """Why nodes that belong to the cluster gave no answer on what the gate needs."""
    for topic in gate.needs:
        if isinstance(topic, NodeTopic):
            expected = _asked(topic, round_) - left_aside(round_, round_.get(NODES), policy.workers)
            answered = round_.by_node(topic)
            for name in sorted(expected - set(answered)):
                yield round_.silent(topic).get(name) or _no_answer(topic, name)


def _unasked(gate: Gate, round_: Round) -> Iterator[Unread]:
    """What nobody could tell: a cluster that has no such node has not shown that all is well."""
    for topic in gate.needs:
        if isinstance(topic, NodeTopic) and not _asked(topic, round_) and not round_.by_node(topic):
            yield _nobody(topic)


def _asked(topic: NodeTopic[object], round_: Round) -> set[str]:
    """Names of the nodes that belong to the topic."""
    return {n.name for n in round_.get(NODES) if n.is_control_plane or not topic.only_control_planes}


def _no_answer(topic: AnyTopic, node: str) -> Unread:
    return Unread(
        "NODE_NOT_ASKED",
        f"Node {node} gave no answer about {topic.title}.",
        "The node joined the cluster while the round was gathered.",
        "Ask again: clear the task.",
    )


def _nobody(topic: NodeTopic[object]) -> Unread:
    kind = "control-plane node" if topic.only_control_planes else "node"
    return Unread(
        "NODE_NOT_ASKED",
        f"Nobody could be asked about {topic.title}: the cluster has no {kind}.",
        f"The API lists no {kind}.",
        "Look at kubectl get nodes: the label node-role.kubernetes.io/control-plane makes one a control plane.",
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
