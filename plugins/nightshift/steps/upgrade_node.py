"""kubeadm on one node, as a job that outlives us; its first evidence is saved before anything is retried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.errors import VerificationError
from nightshift.domain.facts import JobFacts, NodeFacts
from nightshift.domain.plan import kubeadm_command
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS
from nightshift.steps.drain_node import drain_held
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import Held, hold
from nightshift.steps.session import JobResult, Session, node_log, patiently, wait_until
from nightshift.steps.turn import require_quorum

_JOB = "kubeadm-upgrade"


def upgrade_node(session: Session, node_name: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"node", "version", "command", "attached", "seconds", "package_seconds", "sentence"}.

    `package_seconds` is what of it was the installation of kubeadm's package; None when the job did not say.
    A node that lost its cordon meanwhile (a recovery gave it back) is drained again first.

    Raises:
        RemoteJobError: JOB_FAILED and relatives; the message says where the evidence lies.
        VerificationError: VERIFY_FAILED, kubeadm was content and the world did not follow.
        GateClosedError: QUORUM_AT_RISK, etcd needs this node's member now; CONTROL_PLANE_BUSY.
    """
    version = str(choice["target"]["version"])
    node = session.node(node_name)
    started = session.clock()
    with hold(session, [node]) as held:
        drain_held(session, node_name, held)
        known = session.on(node).job(_JOB)
        command = _choose_command(session, node, version, known)
        session.log(f"{node_name}: kubeadm upgrade {command} to {version}")
        is_begun = known is not None and known.state == "running"
        if node.is_control_plane and not is_begun:
            require_quorum(session, node)
        # A job that is attached to began before this try.
        since = known.started if known and is_begun else session.clock()
        with evidence_first(session, node, _JOB, since):
            outcome = _run(session, node, command, version, held)
            if node.is_control_plane:
                require_components(session, node_name, version)
    seconds = round(session.clock() - started, 1)
    sentence = f"{node_name}: kubeadm upgrade {command} to {version} done in {seconds:.0f} s."
    session.log(sentence)
    return {
        "node": node_name,
        "version": version,
        "command": command,
        "attached": outcome.attached,
        "seconds": seconds,
        "package_seconds": (outcome.result or {}).get("package_seconds"),
        "sentence": sentence,
    }


def _choose_command(session: Session, node: NodeFacts, version: str, known: JobFacts | None) -> str:
    """The kubeadm command that is due on this node now."""
    config = patiently(session, "reading kubeadm-config", session.kube.kubeadm_config)
    return kubeadm_command(node, version, config.get("kubernetesVersion"), known)


def _run(session: Session, node: NodeFacts, command: str, version: str, held: Held) -> JobResult:
    """The node-side job."""
    limits = session.policy.limits
    arguments = (
        command,
        version,
        str(limits.upgrade_manifests_seconds),
        session.policy.target.package_repository,
        *session.policy.ignored_preflight_checks,
    )
    return session.on(node).run_job(
        _JOB,
        held.token,
        session.owner,
        arguments,
        limits.kubeadm_job_seconds,
        node_log(session, node.name),
        held.check,
    )


def require_components(session: Session, node_name: str, version: str) -> None:
    """Wait until the API is ready and this node's control-plane pods are of the target version.

    Raises:
        VerificationError: VERIFY_FAILED, naming what is still old.
    """
    seen: dict[str, str] = {}

    def has_followed() -> bool:
        versions = session.kube.component_versions().get(node_name, {})
        seen.clear()
        seen.update({c: versions.get(c, "absent") for c in CONTROL_PLANE_COMPONENTS})
        return set(seen.values()) == {version} and session.kube.ready()

    limit = session.policy.limits.node_ready_seconds
    if not wait_until(session, limit, has_followed):
        said = ", ".join(f"{c} {v}" for c, v in seen.items()) or "the API did not answer"
        raise VerificationError(
            "VERIFY_FAILED",
            f"{node_name} did not reach {version} within {limit} s: {said}; API ready: {session.kube.ready()}.",
            cause="kubeadm ended well, but the pods the API shows are others or the API is not ready.",
            next_step=f"Look at the control-plane containers on {node_name} (crictl ps -a), then clear this task.",
        )
