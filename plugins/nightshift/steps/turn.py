"""A control-plane node's turn: no other one is in our hands, and etcd keeps its quorum without this one's member.

The gates have asked the same before the slot. Since then a drain may have taken minutes, and a cleared task comes
without a gate.
"""

from __future__ import annotations

from collections.abc import Sequence

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.domain.errors import GateClosedError, NightshiftError
from nightshift.domain.facts import EtcdSample, NodeFacts
from nightshift.domain.turn import members_missing, other_control_planes, others_in_hand, others_set_aside
from nightshift.steps.brake import KUBEADM_JOB, KUBELET_JOB
from nightshift.steps.session import Session, on_all, patiently


def require_turn(session: Session, node: NodeFacts) -> None:
    """Refuse a control-plane node while another one carries the mark of a run, or is upgraded under a person's cordon.

    Raises:
        GateClosedError: CONTROL_PLANE_BUSY.
    """
    if not node.is_control_plane:
        return
    nodes = patiently(session, "listing nodes", session.kube.nodes)
    others = others_in_hand(node, nodes) or _at_work(session, others_set_aside(node, nodes))
    if others:
        raise GateClosedError(
            "CONTROL_PLANE_BUSY",
            f"{node.name} is not touched: {', '.join(others)} is in the hands of a run.",
            cause="One control-plane node at a time. A task of an earlier node was cleared, or one was left half-done.",
            next_step=f"Let {', '.join(others)} come to its end, or be given back; then clear this task.",
        )


def require_no_other_kubeadm(session: Session, node: NodeFacts) -> None:
    """Refuse to begin a control-plane node while kubeadm works on another one, whoever started it there.

    A node that is silent tells nothing. What was begun is carried to its end beside it.

    Raises:
        GateClosedError: CONTROL_PLANE_BUSY.
    """
    others = other_control_planes(node, patiently(session, "listing nodes", session.kube.nodes))
    found = {}
    for name, answer in on_all(others, lambda other: session.on(other).probe().kubeadm_pids).items():
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: whether a kubeadm works there is not known: {answer}")
        elif answer:
            found[name] = answer
    if found:
        where = ", ".join(f"{name} (pid {', '.join(map(str, pids))})" for name, pids in found.items())
        raise GateClosedError(
            "CONTROL_PLANE_BUSY",
            f"{node.name} is not begun: kubeadm works on {where}.",
            cause="Somebody started it there. Two control planes at a time may cost etcd its quorum.",
            next_step="Let it come to its end, or end it if it waits for an answer; then clear this task.",
        )


def _at_work(session: Session, nodes: Sequence[NodeFacts]) -> tuple[str, ...]:
    """Those of `nodes` on which an upgrade's job runs, or that cannot be asked."""

    def is_at_work(node: NodeFacts) -> bool:
        jobs = (session.on(node).job(job) for job in (KUBEADM_JOB, KUBELET_JOB))
        return any(job is not None and job.state == "running" for job in jobs)

    answers = on_all(nodes, is_at_work)
    for name, answer in answers.items():
        if isinstance(answer, NightshiftError):
            session.log(
                f"{name} is cordoned by somebody else, and whether a job runs there is not known: {answer}"
            )
    return tuple(name for name, answer in answers.items() if answer is not False)


def require_quorum(session: Session, node: NodeFacts) -> None:
    """Refuse to restart a member while etcd needs it.

    Raises:
        GateClosedError: QUORUM_AT_RISK, naming the members that are missing.
    """
    nodes = patiently(session, "listing nodes", session.kube.nodes)
    members = [n for n in nodes if n.is_control_plane]
    samples: dict[str, EtcdSample | None] = {}
    for name, answer in on_all(other_control_planes(node, nodes), lambda n: _sample(session, n)).items():
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: {answer}")
        samples[name] = None if isinstance(answer, NightshiftError) else answer
    missing = members_missing([n.name for n in members], node.name, samples)
    if missing:
        raise GateClosedError(
            "QUORUM_AT_RISK",
            f"{node.name} is not upgraded: without its member and {', '.join(missing)}, etcd has no quorum.",
            cause="These members cannot be read, or have no leader, since the gate in front of this node.",
            next_step=f"Bring etcd on {', '.join(missing)} back, then clear this task.",
        )


def _sample(session: Session, node: NodeFacts) -> EtcdSample | None:
    text = session.on(node).etcd_metrics()
    return parse_etcd_metrics(text, node.name, session.clock()) if text else None
