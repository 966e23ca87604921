"""Gather the facts of one round: every topic once, all of them side by side, nothing raised for an outside system.

A new topic is one line here: where it comes from. Two come from the caller instead: tonight's target, and the etcd
window's first sample.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.clients.permissions import Permission
from nightshift.clients.questions.kubeadm_cluster import KUBEADM_CLUSTER_QUESTION
from nightshift.clients.questions.packages import PACKAGES_QUESTION
from nightshift.clients.questions.platform import PLATFORM_QUESTION
from nightshift.clients.questions.workload_images import WORKLOAD_IMAGES_QUESTION
from nightshift.clients.tables import load_addons, load_killers
from nightshift.domain.facts.addons import ADDONS, WORKLOAD_IMAGES
from nightshift.domain.facts.packages import PACKAGES
from nightshift.domain.facts.supply import SUPPLY
from nightshift.domain.facts.versions import KILLERS, KUBEADM_CLUSTER, PLATFORM
from nightshift.domain.topics import BUDGETS, COMPONENTS, CONFIGZ, ETCD_NOW, PROBES
from nightshift.steps.look.etcd import read_etcd
from nightshift.steps.look.gathering import (
    ClusterGatherer,
    Gatherer,
    NodeGatherer,
    from_api,
    from_kube,
    from_look,
)
from nightshift.steps.look.supply import read_supply

GATHERERS: Mapping[str, Gatherer] = {
    COMPONENTS.name: from_kube(lambda kube: kube.component_versions()),
    BUDGETS.name: from_kube(lambda kube: kube.budgets()),
    PROBES.name: NodeGatherer(lambda node, _: node.probe()),
    CONFIGZ.name: NodeGatherer(
        lambda node, token: node.kubelet_configz(token), prepare=lambda session: session.kube.kubelet_token()
    ),
    ETCD_NOW.name: NodeGatherer(read_etcd, prepare=lambda session: session.clock),
    KILLERS.name: ClusterGatherer(lambda session, seen: load_killers()),
    KUBEADM_CLUSTER.name: from_api(KUBEADM_CLUSTER_QUESTION),
    PLATFORM.name: from_look(PLATFORM_QUESTION),
    ADDONS.name: ClusterGatherer(lambda session, seen: load_addons()),
    WORKLOAD_IMAGES.name: from_api(WORKLOAD_IMAGES_QUESTION),
    PACKAGES.name: from_look(PACKAGES_QUESTION),
    SUPPLY.name: ClusterGatherer(read_supply),
}


def permissions() -> tuple[Permission, ...]:
    """What asking all of it takes, each once: for the roles that enrolment applies, and for `open_night`'s check."""
    questions = (g.question for g in GATHERERS.values() if isinstance(g, ClusterGatherer))
    wanted = {permission for q in questions if q is not None for permission in q.permissions}
    return tuple(sorted(wanted, key=str))
