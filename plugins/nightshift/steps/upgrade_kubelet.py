"""kubelet and kubectl on one node, until the Node object says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.errors import VerificationError
from nightshift.steps.drain_node import drain_held
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import hold
from nightshift.steps.session import Session, node_log, wait_until


def upgrade_kubelet(session: Session, node_name: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"node", "version", "attached", "seconds", "sentence"}.

    A node that lost its cordon meanwhile (a recovery gave it back) is drained again first.

    Raises:
        RemoteJobError: JOB_FAILED and relatives; the message says where the evidence lies.
        VerificationError: VERIFY_FAILED, the node did not come back Ready with the new kubelet.
    """
    version = str(choice["target"]["version"])
    node = session.node(node_name)
    started = session.clock()
    with hold(session, [node]) as held:
        drain_held(session, node_name, held)
        session.log(f"{node_name}: kubelet {node.kubelet_version} to {version}")
        with evidence_first(session, node, "kubelet-upgrade", session.clock()):
            outcome = session.on(node).run_job(
                "kubelet-upgrade",
                held.token,
                session.owner,
                [version],
                session.policy.limits.package_job_seconds,
                node_log(session, node_name),
                held.check,
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
