"""Packages and images on every node before anything is touched; nothing is installed.

Unpacking images keeps a disk busy. Control-plane nodes fetch one after the other, so that never more than one member of
etcd is slow at a time; of workers only as many at once as the policy says, because nodes may share a disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightshift.domain.errors import HeldError, NightshiftError, merge
from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.versions import DEFAULT_REGISTRY
from nightshift.steps.brake import require_may_begin
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import Held, hold
from nightshift.steps.session import Session, node_log, on_all

_JOB = "stage"


def stage(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"nodes": {name: {"seconds", "attached"}}, "images", "sentence"}.

    Raises:
        HeldError: brake or window; nodes whose job ran came to their end, no other was begun.
        NightshiftError: what went wrong, as one error that names every node; the log has each node's own words.
    """
    require_may_begin(session)
    nodes = session.kube.nodes()
    images = node_images(session, str(choice["target"]["version"]))
    session.log(f"Staging {choice['target']['package_version']} on {len(nodes)} nodes")

    def one(node: NodeFacts) -> dict[str, Any]:
        require_may_begin(session)  # of many nodes the last one's turn comes an hour later
        return _stage_on(session, node, choice["target"], images, held)

    with hold(session, nodes) as held:
        answers = {
            **on_all([n for n in nodes if n.is_control_plane], one, at_once=1),
            **on_all([n for n in nodes if not n.is_control_plane], one, session.policy.workers.stage_at_once),
        }
    staged: dict[str, dict[str, Any]] = {}
    failed: dict[str, NightshiftError] = {}
    for name, answer in answers.items():
        if isinstance(answer, NightshiftError):
            failed[name] = answer
        else:
            staged[name] = answer
    if failed:
        codes = ", ".join(f"{name} ({error.code})" for name, error in failed.items())
        session.log(f"Ready: {', '.join(staged) or 'no node'}. Not ready: {codes}.")
        raise merge(_without_held(failed))
    sentence = f"{choice['target']['package_version']} and its images lie ready on {len(staged)} nodes."
    session.log(sentence)
    return {"nodes": staged, "images": list(images), "sentence": sentence}


def _without_held(failed: Mapping[str, NightshiftError]) -> Mapping[str, NightshiftError]:
    """Return what went wrong; where that is nothing but the owner's word, that."""
    return {n: error for n, error in failed.items() if not isinstance(error, HeldError)} or failed


def node_images(session: Session, version: str) -> tuple[str, ...]:
    """Images every node needs; the control plane's own list is resolved there by the target kubeadm."""
    repository = session.kube.kubeadm_config().get("imageRepository") or DEFAULT_REGISTRY
    return (f"{repository}/kube-proxy:v{version}", session.policy.probe_image)


def _stage_on(
    session: Session, node: NodeFacts, target: Mapping[str, Any], images: Sequence[str], held: Held
) -> dict[str, Any]:
    """One node."""
    started = session.clock()
    base = session.policy.target.package_repository
    with evidence_first(session, node, _JOB, started):
        outcome = session.on(node).run_job(
            _JOB,
            held.token,
            session.owner,
            [target["minor"], target["package_version"], base, *images],
            session.policy.limits.package_job_seconds,
            node_log(session, node.name),
            held.check,
        )
    return {"seconds": round(session.clock() - started, 1), "attached": outcome.attached}
