"""Gather the facts of one round: every topic once, all of them side by side, nothing raised for an outside system.

A new topic is one line here: where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.clients.questions.images import NODE_IMAGES_QUESTION
from nightshift.clients.questions.placement import PODS_QUESTION, VOLUMES_QUESTION
from nightshift.domain.facts.images import NODE_IMAGES, TARGET_IMAGES
from nightshift.domain.facts.placement import VOLUMES
from nightshift.domain.topics import BUDGETS, COMPONENTS, PODS, PROBES
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
    PODS.name: from_api(PODS_QUESTION),
    VOLUMES.name: from_api(VOLUMES_QUESTION),
    NODE_IMAGES.name: from_look(NODE_IMAGES_QUESTION),
    TARGET_IMAGES.name: ClusterGatherer(read_target_images),
}
