"""Which version comes next: running versions against a freshly read package index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nightshift.domain.errors import UnreachableError
from nightshift.domain.facts import NodeFacts, PackageFacts
from nightshift.domain.target import TargetKind, choose_target, minors_to_ask
from nightshift.domain.verdicts import Answer
from nightshift.domain.versions import newest_package, releases_in
from nightshift.steps.session import Session

_ANSWERS = {
    TargetKind.PATCH: Answer.GO,
    TargetKind.MINOR: Answer.GO,
    TargetKind.NONE: Answer.NOTHING,
    TargetKind.BLIND: Answer.BLIND,
}


def detect_target(session: Session, requested_version: str | None = None) -> dict[str, Any]:
    """Answer {"answer": go|nothing|blind, "sentence", "target": dict, "nodes": [...], "components": {...}}.

    Pass the whole dict on as `choice`. `requested_version` goes before the policy's pin, for this run only.

    Raises:
        ConfigError: TARGET_SKIPS_MINOR, TARGET_IS_DOWNGRADE, TARGET_ABOVE_CEILING, TARGET_UNKNOWN.
    """
    policy = session.policy.target
    nodes, components = session.kube.nodes(), session.kube.component_versions()
    for node in nodes:
        running = ", ".join(f"{c} {v}" for c, v in sorted(components.get(node.name, {}).items()))
        session.log(f"{node.name}: kubelet {node.kubelet_version}{', ' + running if running else ''}")
    offers = ask_repository(session, nodes, minors_to_ask(nodes, components, policy, requested_version))
    target = choose_target(nodes, components, offers, policy, requested_version)
    session.log(target.sentence)
    return {
        "answer": _ANSWERS[target.kind].value,
        "sentence": target.sentence,
        "target": target.to_dict(),
        "nodes": [
            {"name": n.name, "kubelet": n.kubelet_version, "is_control_plane": n.is_control_plane}
            for n in nodes
        ],
        "components": components,
    }


def ask_repository(
    session: Session, nodes: Sequence[NodeFacts], minors: Sequence[str]
) -> tuple[PackageFacts, ...]:
    """What the repository offers, seen from a control-plane node: that is where packages will come from.

    A node that cannot be reached passes the question on; a node that is not what was enrolled ends it.
    """
    reasons = []
    for node in (n for n in nodes if n.is_control_plane):
        try:
            base = session.policy.target.package_repository
            offers = tuple(session.on(node).package_index(minor, base) for minor in minors)
        except UnreachableError as error:
            session.log(f"{node.name}: {error}")
            reasons.append(f"{node.name}: {error.message}")
            continue
        for offer in offers:
            said = offer.error or f"{len(offer.versions)} versions, newest {_newest(offer)}"
            session.log(f"Repository of {offer.minor}, asked from {node.name}: {said}")
        return offers
    why = "; ".join(reasons) or "the cluster shows no control-plane node"
    return tuple(PackageFacts(minor, (), error=why) for minor in minors)


def _newest(offer: PackageFacts) -> str:
    releases = releases_in(offer.versions)
    return (newest_package(offer.versions, releases[-1]) if releases else None) or "none"
