"""Gather the facts of one round: every topic once, all of them side by side, nothing raised for an outside system.

A new topic is one line here: where it comes from. Two come from the caller instead: tonight's target, and the etcd
window's first sample.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import drift, static_pods
from nightshift.clients.questions.api_use import API_REQUESTS_QUESTION, API_SERVICES_QUESTION, CRDS_QUESTION
from nightshift.clients.questions.certificates import CERTIFICATES_QUESTION
from nightshift.clients.questions.etcd import ETCD_DEVICE_LOOK, ETCD_LOOK
from nightshift.clients.questions.images import NODE_IMAGES_QUESTION
from nightshift.clients.questions.kube_proxy import KUBE_PROXY_QUESTION
from nightshift.clients.questions.kubeadm_cluster import KUBEADM_CLUSTER_QUESTION
from nightshift.clients.questions.packages import PACKAGES_QUESTION
from nightshift.clients.questions.placement import PODS_QUESTION, VOLUMES_QUESTION
from nightshift.clients.questions.platform import PLATFORM_QUESTION
from nightshift.clients.questions.webhooks import WEBHOOKS_QUESTION
from nightshift.clients.questions.workload_images import WORKLOAD_IMAGES_QUESTION
from nightshift.clients.tables import load_addons, load_killers
from nightshift.domain.facts.addons import ADDONS, WORKLOAD_IMAGES
from nightshift.domain.facts.alerts import ALERTS, RULES
from nightshift.domain.facts.api_use import API_REQUESTS, API_SERVICES, CRDS
from nightshift.domain.facts.certificates import CERTIFICATES
from nightshift.domain.facts.clock import CLOCKS
from nightshift.domain.facts.drift import CLUSTER_SETTINGS, CONTROL_PLANE_CONFIG, KUBELET_FILES
from nightshift.domain.facts.etcd import ETCD, ETCD_DEVICE
from nightshift.domain.facts.images import NODE_IMAGES, TARGET_IMAGES
from nightshift.domain.facts.packages import PACKAGES
from nightshift.domain.facts.placement import VOLUMES
from nightshift.domain.facts.static_pods import MIRROR_HASHES, STATIC_POD_DETAILS
from nightshift.domain.facts.supply import SUPPLY
from nightshift.domain.facts.versions import KILLERS, KUBE_PROXY, KUBEADM_CLUSTER, PLATFORM
from nightshift.domain.facts.webhooks import WEBHOOKS
from nightshift.domain.topics import BUDGETS, COMPONENTS, CONFIGZ, ETCD_NOW, PODS, PROBES
from nightshift.steps.look.clocks import read_clock
from nightshift.steps.look.etcd import read_etcd
from nightshift.steps.look.gathering import (
    ClusterGatherer,
    Gatherer,
    NodeGatherer,
    from_api,
    from_kube,
    from_look,
)
from nightshift.steps.look.monitoring import read_alerts, read_rules
from nightshift.steps.look.supply import read_supply
from nightshift.steps.look.target_images import read_target_images

GATHERERS: Mapping[str, Gatherer] = {
    COMPONENTS.name: from_kube(lambda kube: kube.component_versions()),
    BUDGETS.name: from_kube(lambda kube: kube.budgets()),
    ETCD.name: from_look(ETCD_LOOK),
    ETCD_DEVICE.name: from_look(ETCD_DEVICE_LOOK),
    PROBES.name: NodeGatherer(lambda node, _: node.probe()),
    MIRROR_HASHES.name: from_api(static_pods.MIRROR_HASHES),
    STATIC_POD_DETAILS.name: from_look(static_pods.STATIC_PODS),
    CONTROL_PLANE_CONFIG.name: from_look(drift.CONTROL_PLANE_CONFIG),
    KUBELET_FILES.name: from_look(drift.KUBELET_FILES),
    CLUSTER_SETTINGS.name: from_api(drift.CLUSTER_SETTINGS),
    CONFIGZ.name: NodeGatherer(
        lambda node, token: node.kubelet_configz(token), prepare=lambda session: session.kube.kubelet_token()
    ),
    ETCD_NOW.name: NodeGatherer(read_etcd, prepare=lambda session: session.clock),
    API_REQUESTS.name: from_look(API_REQUESTS_QUESTION),
    CRDS.name: from_api(CRDS_QUESTION),
    API_SERVICES.name: from_api(API_SERVICES_QUESTION),
    WEBHOOKS.name: from_api(WEBHOOKS_QUESTION),
    CERTIFICATES.name: from_look(CERTIFICATES_QUESTION),
    CLOCKS.name: NodeGatherer(read_clock, prepare=lambda session: session.clock),
    ALERTS.name: ClusterGatherer(read_alerts),
    RULES.name: ClusterGatherer(read_rules),
    KILLERS.name: ClusterGatherer(lambda session, seen: load_killers()),
    KUBEADM_CLUSTER.name: from_api(KUBEADM_CLUSTER_QUESTION),
    KUBE_PROXY.name: from_api(KUBE_PROXY_QUESTION),
    PLATFORM.name: from_look(PLATFORM_QUESTION),
    ADDONS.name: ClusterGatherer(lambda session, seen: load_addons()),
    WORKLOAD_IMAGES.name: from_api(WORKLOAD_IMAGES_QUESTION),
    PACKAGES.name: from_look(PACKAGES_QUESTION),
    SUPPLY.name: ClusterGatherer(read_supply),
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
