"""Gather the facts of one round: every topic once, all of them side by side, nothing raised for an outside system.

A new topic is one line here: where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.clients.questions import drift, static_pods
from nightshift.domain.facts.drift import CLUSTER_SETTINGS, CONTROL_PLANE_CONFIG, KUBELET_FILES
from nightshift.domain.facts.static_pods import STATIC_POD_DETAILS
from nightshift.domain.topics import BUDGETS, COMPONENTS, PROBES
from nightshift.steps.look.gathering import Gatherer, NodeGatherer, from_api, from_kube, from_look

GATHERERS: Mapping[str, Gatherer] = {
    COMPONENTS.name: from_kube(lambda kube: kube.component_versions()),
    BUDGETS.name: from_kube(lambda kube: kube.budgets()),
    PROBES.name: NodeGatherer(lambda node, _: node.probe()),
    STATIC_POD_DETAILS.name: from_look(static_pods.STATIC_PODS),
    CONTROL_PLANE_CONFIG.name: from_look(drift.CONTROL_PLANE_CONFIG),
    KUBELET_FILES.name: from_look(drift.KUBELET_FILES),
    CLUSTER_SETTINGS.name: from_api(drift.CLUSTER_SETTINGS),
}
