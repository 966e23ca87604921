"""Gather the facts of one round: every topic once, all of them side by side, nothing raised for an outside system.

A new topic is one line here: where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.clients.questions.etcd import ETCD_DEVICE_LOOK, ETCD_LOOK
from nightshift.domain.facts.etcd import ETCD, ETCD_DEVICE
from nightshift.domain.topics import BUDGETS, COMPONENTS, PROBES
from nightshift.steps.look.gathering import Gatherer, NodeGatherer, from_kube, from_look

GATHERERS: Mapping[str, Gatherer] = {
    COMPONENTS.name: from_kube(lambda kube: kube.component_versions()),
    BUDGETS.name: from_kube(lambda kube: kube.budgets()),
    ETCD.name: from_look(ETCD_LOOK),
    ETCD_DEVICE.name: from_look(ETCD_DEVICE_LOOK),
    PROBES.name: NodeGatherer(lambda node, _: node.probe()),
}
