"""Gate: is every node Ready, calm, without pressure, and not put aside by somebody else?

A node that is not Ready or under pressure blocks, and the message says what the kubelet says (a container runtime that is
down is told there); one whose state the API does not know is blind. A node that has been Ready for less than
`nodes.settle_seconds` blocks before the night: it was away a moment ago. Between two nodes it only warns, and only of
nodes that are next: the night's own restarts let nodes flip. A node that somebody else cordoned blocks when it is a
control plane (somebody is working on it); a worker only warns, and stays cordoned after its upgrade because Nightshift
never uncordons what it did not cordon.

Between two nodes of a night, a worker that was set aside is not asked after unless it is next: the night goes on without
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from nightshift.domain.debts import is_foreign_cordon
from nightshift.domain.facts import NodeFacts
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.look_again import at_moment
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import left_aside
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "node_health"
TITLE = "Node health"
NEEDS: tuple[AnyTopic, ...] = (NODES,)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge the Node objects."""
    everyone = round_.get(NODES)
    aside = left_aside(round_, everyone, policy.workers)
    nodes = [node for node in everyone if node.name not in aside]
    findings = [
        finding
        for node in nodes
        for finding in (*_judge(node), *_judge_settled(node, round_, policy.nodes.settle_seconds))
    ]
    if not any(node.is_control_plane for node in nodes):
        findings.append(
            Finding(
                Outcome.BLIND,
                "NODE_STATE_UNKNOWN",
                f"None of {len(nodes)} nodes is labelled as a control plane.",
                "The API gave no nodes, or they lack node-role.kubernetes.io/control-plane.",
                "Look at kubectl get nodes; kubeadm sets that label when it makes a control plane.",
            )
        )
    return conclude(
        NAME,
        findings,
        passed=f"All {len(nodes)} nodes are Ready and without pressure.",
        value=f"{sum(n.is_ready is True for n in nodes)} of {len(nodes)} Ready",
        threshold="all Ready, no pressure",
        evidence={
            node.name: {
                "ready": node.is_ready,
                "since": _date(node.ready_since) if node.ready_since else None,
                "pressures": list(node.pressures),
            }
            for node in nodes
        },
    )


def _judge(node: NodeFacts) -> Iterator[Finding]:
    if node.is_ready is None:
        yield Finding(
            Outcome.BLIND,
            "NODE_STATE_UNKNOWN",
            f"The API does not know whether {node.name} is Ready{_since(node.ready_since)}.",
            "Its kubelet stopped reporting: the node is down, or cut off.",
            f"Look at {node.name} itself (power, network, kubelet), then check again.",
        )
    elif not node.is_ready:
        yield Finding(
            Outcome.BLOCK,
            "NODE_NOT_READY",
            f"{node.name} is not Ready{_since(node.ready_since)}.",
            f"Its kubelet says: {node.ready_message}."
            if node.ready_message
            else "Its kubelet says so, and not why.",
            f"kubectl describe node {node.name}; repair it, or take it out of the cluster.",
            value="NotReady",
            threshold="Ready",
        )
    if node.pressures:
        yield Finding(
            Outcome.BLOCK,
            "NODE_UNDER_PRESSURE",
            f"{node.name} reports {', '.join(node.pressures)}.",
            "The kubelet is short of that resource and evicts pods.",
            f"Relieve {node.name}, wait until the condition is False, then check again.",
            value=", ".join(node.pressures),
            threshold="no pressure",
        )
    if is_foreign_cordon(node):
        yield _cordoned(node)


def _judge_settled(node: NodeFacts, round_: Round, settle_seconds: int) -> Iterator[Finding]:
    if node.is_ready is not True or node.ready_since is None:
        return
    age = max(0.0, round_.now - node.ready_since)
    is_before = round_.moment is Moment.NIGHT
    if age >= settle_seconds or not (is_before or node.name in round_.nodes_ahead):
        return
    left = settle_seconds - age
    yield Finding(
        Outcome.BLOCK if is_before else Outcome.WARN,
        "NODE_NOT_SETTLED",
        f"{node.name} is Ready for {age:.0f} s only ({_date(node.ready_since)}); {settle_seconds} s are asked for.",
        "It was not Ready, or not reachable, before that; what is the matter with it may come again.",
        f"Find out why it was away: journalctl -u kubelet on {node.name}, kubectl describe node {node.name}.",
        value=f"{age:.0f} s",
        threshold=f"{settle_seconds} s",
        look_again=at_moment(round_.now + left, f"when {node.name} has been Ready for {settle_seconds} s"),
    )


def _since(seconds: float | None) -> str:
    return f" since {_date(seconds)}" if seconds else ""


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _cordoned(node: NodeFacts) -> Finding:
    if node.is_control_plane:
        outcome, consequence = Outcome.BLOCK, "somebody is working on the control plane"
    else:
        outcome, consequence = Outcome.WARN, "it will be upgraded and left cordoned"
    return Finding(
        outcome,
        "NODE_CORDONED",
        f"{node.name} was cordoned by somebody else{f' with {node.cordoned_by}' if node.cordoned_by else ''}"
        f"{_since(node.cordoned_since)}: {consequence}.",
        "It is unschedulable, and this cordon is not Nightshift's.",
        f"Ask who put it aside; kubectl uncordon {node.name} when they are done.",
        value="cordoned",
        threshold="schedulable",
    )
