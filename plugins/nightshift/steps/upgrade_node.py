"""kubeadm on one node, as a job that outlives us; its first evidence is saved before anything is retried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.errors import VerificationError
from nightshift.domain.facts import JobFacts, NodeFacts
from nightshift.domain.plan import KUBEADM_COMMANDS, kubeadm_command
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS
from nightshift.steps.attach import follow_own_job
from nightshift.steps.brake import KUBEADM_JOB, asking, given_back, noticing
from nightshift.steps.drain_node import drain_held
from nightshift.steps.evidence import baseline, evidence_first, tell_earlier_end
from nightshift.steps.hold import Held, hold
from nightshift.steps.kubelet_settings import note_settings
from nightshift.steps.quiesce import quiesce_again
from nightshift.steps.session import JobResult, Session, node_log, patiently, wait_until
from nightshift.steps.snapshot import require_way_back
from nightshift.steps.turn import require_no_other_kubeadm, require_quorum, require_turn


def upgrade_node(
    session: Session, node_name: str, choice: Mapping[str, Any], addresses: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Answer {"node", "version", "command", "attached", "seconds", "package_seconds", "sentence"}.

    `addresses` are the plan's: this step's own job is looked for before the API is asked, see steps/attach.py.
    `package_seconds` is what of it was the installation of kubeadm's package; None when the job did not say.
    A node that lost its cordon meanwhile (a recovery gave it back) is drained again first, and for a control plane
    what the policy quiesces is made quiet again.

    Raises:
        RemoteJobError: JOB_FAILED and relatives; the message says where the evidence lies.
        VerificationError: VERIFY_FAILED, kubeadm was content and the world did not follow; SNAPSHOT_ABSENT.
        GateClosedError: QUORUM_AT_RISK, etcd needs this node's member now; CONTROL_PLANE_BUSY.
        HeldError: brake or window, before kubeadm was begun; the node is given back.
        StoppedError: STOPPED_HALF_WAY.
    """
    version = str(choice["target"]["version"])
    wanted = [_arguments(session, command, version) for command in KUBEADM_COMMANDS]
    follow_own_job(session, node_name, KUBEADM_JOB, wanted, addresses)
    node = session.node(node_name)
    started = session.clock()
    ask = asking(session, node, KUBEADM_JOB)
    with hold(session, [node]) as held, given_back(session, node_name):
        ask()
        drain_held(session, node_name, held, ask)
        if node.is_control_plane:
            quiesce_again(session, held)
        known = session.on(node).job(KUBEADM_JOB)
        is_running = known is not None and known.state == "running"
        if node.is_control_plane and not is_running:
            require_way_back(session)
        tell_earlier_end(session, node, known)
        command = _choose_command(session, node, version, known)
        session.log(f"{node_name}: kubeadm upgrade {command} to {version}")
        if not is_running:
            _get_ready(session, node)
        # A job that is attached to began before this try.
        since = known.started if known and is_running else session.clock()
        with evidence_first(session, node, KUBEADM_JOB, since):
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


def _get_ready(session: Session, node: NodeFacts) -> None:
    """Keep what is before kubeadm; for a control plane ask once more whether it is its turn: all before took minutes."""
    note_settings(session, node)
    if node.is_control_plane:
        baseline(session, node)
        require_turn(session, node)
        require_no_other_kubeadm(session, node)
        require_quorum(session, node)


def _choose_command(session: Session, node: NodeFacts, version: str, known: JobFacts | None) -> str:
    """The kubeadm command that is due on this node now."""
    config = patiently(session, "reading kubeadm-config", session.kube.kubeadm_config)
    return kubeadm_command(node, version, config.get("kubernetesVersion"), known)


def _arguments(session: Session, command: str, version: str) -> tuple[str, ...]:
    """What the node-side job is told."""
    return (
        command,
        version,
        str(session.policy.limits.upgrade_manifests_seconds),
        session.policy.target.package_repository,
        *session.policy.ignored_preflight_checks,
    )


def _run(session: Session, node: NodeFacts, command: str, version: str, held: Held) -> JobResult:
    """The node-side job."""
    return session.on(node).run_job(
        KUBEADM_JOB,
        held.token,
        session.owner,
        _arguments(session, command, version),
        session.policy.limits.kubeadm_job_seconds,
        node_log(session, node.name),
        noticing(session, held.check),
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
