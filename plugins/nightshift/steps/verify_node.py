"""Did this node really follow? Asked of the node itself and of the API, not of what we sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.clients.questions.static_pods import STATIC_PODS
from nightshift.domain.errors import VerificationError
from nightshift.domain.facts import NodeFacts, NodeProbe
from nightshift.domain.gates import static_pods
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS
from nightshift.domain.verdicts import Outcome
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import renewing_meanwhile
from nightshift.steps.reconcile_drift import lost_settings
from nightshift.steps.session import Session, wait_until

_SETTLE_SECONDS = 60.0  # static pods may still be settling after the kubelet's restart
_POLL_SECONDS = 1.0


def verify_node(session: Session, node_name: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"node", "checks": [...], "sentence"}.

    Raises:
        VerificationError: VERIFY_FAILED, listing every check that does not hold.
        UnreachableError: the node or the API could not be asked.
    """
    version = str(choice["target"]["version"])
    # The node is cordoned still, and what is looked at may not answer for longer than the Lease lives.
    with (
        renewing_meanwhile(session),
        evidence_first(session, session.node(node_name), "verify", session.clock()),
    ):
        _require_right(session, node_name, version)
    checks = ["kubelet", "ready", "static pods"]
    sentence = f"{node_name} runs {version}: {', '.join(checks)} verified."
    session.log(sentence)
    return {"node": node_name, "checks": checks, "sentence": sentence}


def _require_right(session: Session, node_name: str, version: str) -> None:
    """Look until everything holds, or has not held for too long."""

    def look() -> list[str]:
        return node_problems(session, session.node(node_name), version)

    is_right = wait_until(session, _SETTLE_SECONDS, lambda: not look(), _POLL_SECONDS)
    problems = [] if is_right else look()  # a node or API that is away is raised as what it is
    if problems:
        raise VerificationError(
            "VERIFY_FAILED",
            f"{node_name} is not what it should be: {'; '.join(problems)}.",
            cause=f"The upgrade to {version} ended, but these checks did not hold for {_SETTLE_SECONDS:.0f} s.",
            next_step=f"Look at {node_name}; when it is right, clear this task: it only looks.",
        )


def node_problems(session: Session, node: NodeFacts, version: str) -> list[str]:
    """Everything about this node that is not as it should be after the hop."""
    problems = []
    if node.kubelet_version != version:
        problems.append(f"the Node object reports kubelet {node.kubelet_version}")
    if node.is_ready is not True:
        problems.append("the node is not Ready")
    probe = session.on(node).probe()
    if probe.kubelet_version != version:
        problems.append(f"the kubelet binary is {probe.kubelet_version or 'unreadable'}")
    problems += _static_pod_problems(session, node, probe)
    if node.is_control_plane:
        problems += lost_settings(session, probe)
        problems += _control_plane_problems(session, node, version)
    return problems


def _static_pod_problems(session: Session, node: NodeFacts, probe: NodeProbe) -> list[str]:
    """The static-pod gate's findings on this node that would block: kubeadm's own work, and ours, pass it too."""
    code, text = session.on(node).look([STATIC_PODS.section]).get(STATIC_PODS.section, (1, ""))
    if code != 0:
        return [f"its static pods could not be looked at (exit code {code})"]
    try:
        details = STATIC_PODS.parse(text)
    except ValueError as error:
        return [f"its static pods could not be read ({error})"]
    findings = static_pods.judge_node(node, probe, details)
    return [finding.message for finding in findings if finding.outcome is Outcome.BLOCK]


def _control_plane_problems(session: Session, node: NodeFacts, version: str) -> list[str]:
    """Etcd without a leader, old pods, an API that is not ready."""
    problems = []
    versions = session.kube.component_versions().get(node.name, {})
    for component in CONTROL_PLANE_COMPONENTS:
        if versions.get(component) != version:
            problems.append(f"{component} is {versions.get(component, 'absent')}")
    text = session.on(node).etcd_metrics()
    if text is not None:  # None: external etcd, not this node's business
        sample = parse_etcd_metrics(text, node.name, session.clock())
        if sample is None or not sample.has_leader:
            problems.append("its etcd member has no leader")
    if not session.kube.ready():
        problems.append("the API is not ready")
    return problems
