"""The topics that many gates share. A topic that belongs to one subject lies beside its facts, in `domain/facts/`."""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.domain.facts import BudgetFacts, EtcdSample, NodeFacts, NodeProbe, PodFacts
from nightshift.domain.round import NodeTopic, Topic
from nightshift.domain.target import TargetChoice

TARGET = Topic[TargetChoice]("target", "tonight's target version")
NODES = Topic[tuple[NodeFacts, ...]]("nodes", "the Node objects")
COMPONENTS = Topic[Mapping[str, Mapping[str, str]]](  # node -> component -> version
    "components", "the versions of the control-plane pods"
)
PODS = Topic[tuple[PodFacts, ...]]("pods", "the Pods")
BUDGETS = Topic[tuple[BudgetFacts, ...]]("budgets", "the PodDisruptionBudgets")
PROBES = NodeTopic[NodeProbe]("probes", "what a node's probe says")
CONFIGZ = NodeTopic[Mapping[str, object]](
    "configz", "the kubelet's live configuration"
)  # the kubeletconfig in it
ETCD_BEFORE = NodeTopic[EtcdSample](
    "etcd_before", "etcd's metrics at the window's start", only_control_planes=True
)
ETCD_NOW = NodeTopic[EtcdSample]("etcd_now", "etcd's metrics", only_control_planes=True)
