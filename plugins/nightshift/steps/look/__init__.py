"""Gather the facts of one round: every topic once, all of them side by side, nothing raised for an outside system.

A new topic is one line here: where it comes from. Two come from the caller instead: tonight's target, and the etcd
window's first sample.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.clients.permissions import Permission
from nightshift.clients.questions.images import NODE_IMAGES_QUESTION
from nightshift.clients.questions.placement import PODS_QUESTION, VOLUMES_QUESTION
from nightshift.domain.facts.images import NODE_IMAGES, TARGET_IMAGES
from nightshift.domain.facts.placement import VOLUMES
from nightshift.domain.topics import BUDGETS, COMPONENTS, CONFIGZ, ETCD_NOW, PODS, PROBES
from nightshift.steps.look.etcd import read_etcd
from nightshift.steps.look.gathering import (
    ClusterGatherer,
    Gatherer,
    NodeGatherer,
    from_api,
    from_kube,
    from_look,
)
from nightshift.steps.look.target_images import read_target_images

GATHERERS: Mapping[str, Gatherer] = {
    COMPONENTS.name: from_kube(lambda kube: kube.component_versions()),
    BUDGETS.name: from_kube(lambda kube: kube.budgets()),
    PROBES.name: NodeGatherer(lambda node, _: node.probe()),
    CONFIGZ.name: NodeGatherer(
        lambda node, token: node.kubelet_configz(token), prepare=lambda session: session.kube.kubelet_token()
    ),
    ETCD_NOW.name: NodeGatherer(read_etcd, prepare=lambda session: session.clock),
    PODS.name: from_api(PODS_QUESTION),
    VOLUMES.name: from_api(VOLUMES_QUESTION),
    NODE_IMAGES.name: from_look(NODE_IMAGES_QUESTION),
    TARGET_IMAGES.name: ClusterGatherer(read_target_images),
}


def permissions() -> tuple[Permission, ...]:
    """What asking all of it takes, each once: for the roles that enrolment applies, and for `open_night`'s check."""
    questions = (g.question for g in GATHERERS.values() if isinstance(g, ClusterGatherer))
    wanted = {permission for q in questions if q is not None for permission in q.permissions}
    return tuple(sorted(wanted, key=str))
