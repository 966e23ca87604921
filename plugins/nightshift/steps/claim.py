"""Take the cluster: Lease first, then the marks and gauges that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.brake import require_may_begin
from nightshift.steps.hold import TARGET_ANNOTATION, acquire, announce, push
from nightshift.steps.session import Session, patiently


def claim(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"token", "started", "sentence"}; a run that already holds the cluster only renews.

    Raises:
        LeaseHeldError: LEASE_HELD, somebody else is at it.
    """
    # Cleared with a task of a night under way it comes again. Then the owner's word is asked at each node, where it is
    # known whether kubeadm was begun: a claim that ends here would take everything after it along, `release` too.
    if patiently(session, "reading the Lease", session.kube.lease).holder != session.owner:
        require_may_begin(session)
    token = acquire(session)
    version = str(choice["target"]["version"])

    def mark() -> None:
        announce(session)
        session.kube.set_namespace_annotations({TARGET_ANNOTATION: version})

    # Cleared in the midst of kubeadm this begins between two absences of the API. No longer than our Lease lives.
    patiently(session, "marking the cluster", mark, session.policy.limits.lease_seconds / 2)
    push(session, {"k8s_upgrade_snapshot_taken": 0.0, "k8s_upgrade_blocked": 0.0, "k8s_upgrade_held": 0.0})
    sentence = f"Cluster {session.policy.name} claimed by {session.owner} with token {token} for {version}."
    session.log(sentence)
    return {"token": token, "started": session.clock(), "sentence": sentence}
