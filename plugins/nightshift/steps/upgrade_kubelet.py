"""kubelet and kubectl on one node, until the Node object says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.errors import VerificationError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.versions import Version
from nightshift.steps.attach import follow_own_job
from nightshift.steps.brake import KUBELET_JOB, asking, noticing
from nightshift.steps.drain_node import drain_held
from nightshift.steps.evidence import evidence_first, tell_earlier_end
from nightshift.steps.hold import hold
from nightshift.steps.session import Session, node_log, patiently, wait_until


def upgrade_kubelet(
    session: Session, node_name: str, choice: Mapping[str, Any], addresses: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Answer {"node", "version", "attached", "seconds", "sentence"}.

    `addresses` are the plan's: this step's own job is looked for before the API is asked, see steps/attach.py.
    A node that lost its cordon meanwhile (a recovery gave it back) is drained again first.

    Raises:
        RemoteJobError: JOB_FAILED and relatives; the message says where the evidence lies.
        VerificationError: KUBELET_TOO_EARLY; VERIFY_FAILED, the node did not come back Ready with the new kubelet.
        StoppedError: STOPPED_HALF_WAY, the brake says "stop now"; recovery gives the node back.
    """
    version = str(choice["target"]["version"])
    follow_own_job(session, node_name, KUBELET_JOB, [(version,)], addresses)
    node = session.node(node_name)
    started = session.clock()
    is_done = node.kubelet_version == version
    ask = _nothing_to_ask if is_done else asking(session, node, KUBELET_JOB)
    if not is_done:
        require_api_first(session, node, version)
    with hold(session, [node]) as held:
        ask()
        drain_held(session, node_name, held, ask)
        known = session.on(node).job(KUBELET_JOB)
        tell_earlier_end(session, node, known)
        session.log(f"{node_name}: kubelet {node.kubelet_version} to {version}")
        # A job that is attached to began before this try.
        since = known.started if known is not None and known.state == "running" else session.clock()
        with evidence_first(session, node, KUBELET_JOB, since):
            outcome = session.on(node).run_job(
                KUBELET_JOB,
                held.token,
                session.owner,
                [version],
                session.policy.limits.package_job_seconds,
                node_log(session, node_name),
                noticing(session, held.check),
            )
            require_kubelet(session, node_name, version)
    seconds = round(session.clock() - started, 1)
    sentence = f"{node_name}: kubelet {version} is Ready after {seconds:.0f} s."
    session.log(sentence)
    return {
        "node": node_name,
        "version": version,
        "attached": outcome.attached,
        "seconds": seconds,
        "sentence": sentence,
    }


def _nothing_to_ask() -> None:
    """The new kubelet runs already: nothing is begun that anybody could stop."""


def require_api_first(session: Session, node: NodeFacts, version: str) -> None:
    """Let no kubelet become newer than the API servers: a control plane's than its own, a worker's than any.

    Raises:
        VerificationError: KUBELET_TOO_EARLY.
    """
    found = patiently(session, "reading the API servers' versions", session.kube.component_versions)
    asked = [node.name] if node.is_control_plane else sorted(found)
    servers = {name: found.get(name, {}).get("kube-apiserver", "") for name in asked}
    late = [
        f"{name} ({seen or 'absent'})" for name, seen in servers.items() if not _is_reached(seen, version)
    ]
    if late or not servers:
        raise VerificationError(
            "KUBELET_TOO_EARLY",
            f"Kubelet {version} on {node.name} would be newer than the API server of {', '.join(late) or 'nobody'}.",
            cause="A task before this one was marked as success before it was done.",
            next_step="Clear `upgrade_node` of the node named, with downstream: the night goes on from there.",
        )


def _is_reached(seen: str, version: str) -> bool:
    try:
        return Version.parse(seen) >= Version.parse(version)
    except ValueError:
        return False


def require_kubelet(session: Session, node_name: str, version: str) -> None:
    """Wait until the Node object reports this kubelet and Ready.

    Raises:
        VerificationError: VERIFY_FAILED, with what it reports instead.
    """
    seen = {"said": "the API did not answer"}

    def has_followed() -> bool:
        node = session.kube.node(node_name)
        if node is None:
            seen["said"] = "there is no such Node object"
            return False
        ready = {True: "Ready", False: "NotReady", None: "Ready unknown"}[node.is_ready]
        seen["said"] = f"it reports kubelet {node.kubelet_version}, {ready}"
        return node.kubelet_version == version and node.is_ready is True

    limit = session.policy.limits.node_ready_seconds
    if not wait_until(session, limit, has_followed):
        raise VerificationError(
            "VERIFY_FAILED",
            f"{node_name} did not come back with kubelet {version} within {limit} s: {seen['said']}.",
            cause="The kubelet did not start, does not reach the API, or is not Ready yet.",
            next_step=f"On {node_name}: systemctl status kubelet; journalctl -u kubelet. Then clear this task.",
        )
