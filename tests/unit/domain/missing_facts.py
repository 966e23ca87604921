"""Healthy rounds of all gates, and every field of a fact that may be missing: which of them a gate cannot do without.

The rounds are what `steps.look` gathers from a stock cluster (tests/fakes), so no gate's facts are made up here.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.fakes.cluster import FakeCluster, etcd_text, make_session

from nightshift.domain.facts import EtcdSample, HistogramSample, MountFacts, NodeFacts, NodeProbe
from nightshift.domain.facts.api_use import ApiRequests, ApiServiceFacts
from nightshift.domain.facts.certificates import CertificateFacts
from nightshift.domain.facts.clock import ClockOffset
from nightshift.domain.facts.drift import ClusterSettings, ControlPlaneConfig, KubeletFiles
from nightshift.domain.facts.etcd import EtcdState, EtcdStatus
from nightshift.domain.facts.static_pods import Access
from nightshift.domain.facts.versions import Platform
from nightshift.domain.gates import GATES
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import ETCD_BEFORE, TARGET
from nightshift.steps import gates
from nightshift.steps.look import GATHERERS
from nightshift.steps.look.etcd import reading_from_dict
from nightshift.steps.look.gathering import gather

NODE_NAMES = ("cp1", "w1", "w2")
NAN = float("nan")
_HOP = TargetChoice(TargetKind.MINOR, "hop", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", NODE_NAMES)
_ALWAYS = frozenset(Moment)
_NIGHT = frozenset({Moment.NIGHT})


@dataclass(frozen=True)
class Needed:
    """A field that some gate cannot do without.

    Args:
        kind: of fact.
        name: of the field.
        gone: its values when it is missing.
        moments: when a gate asks for it.
    """

    kind: type
    name: str
    gone: tuple[Any, ...] = (None,)
    moments: frozenset[Moment] = _ALWAYS

    def __str__(self) -> str:
        """As in the tables below."""
        return f"{self.kind.__name__}.{self.name}"


NEEDED = (
    Needed(TargetChoice, "version"),
    Needed(TargetChoice, "minor", moments=_NIGHT),
    Needed(EtcdSample, "process_start", (NAN,)),
    Needed(EtcdSample, "wal_fsync"),
    Needed(EtcdSample, "backend_commit"),
    Needed(EtcdSample, "apply"),
    Needed(EtcdSample, "leader_changes_total", (None, NAN)),
    Needed(EtcdSample, "proposals_pending", (None, NAN)),
    Needed(EtcdSample, "proposals_committed", (None, NAN)),
    Needed(EtcdSample, "proposals_failed_total", (None, NAN)),
    Needed(HistogramSample, "count", (NAN,)),
    Needed(HistogramSample, "total_seconds", (NAN,)),
    Needed(HistogramSample, "buckets", ((),)),
    Needed(NodeFacts, "is_ready"),
    Needed(NodeFacts, "kubelet_version", ("",)),
    Needed(NodeFacts, "room"),
    Needed(EtcdState, "status"),
    Needed(EtcdStatus, "leader_id"),
    Needed(EtcdStatus, "members", ((),)),
    Needed(NodeProbe, "etcd_data_bytes"),
    Needed(NodeProbe, "mounts", ((),)),
    Needed(MountFacts, "path", ("",)),
    Needed(NodeProbe, "processes", ((),)),
    Needed(Access, "mode", ("",)),
    Needed(Access, "owner", ("",)),
    Needed(ApiRequests, "started", (NAN,), _NIGHT),
    Needed(ApiServiceFacts, "is_available", moments=_NIGHT),
    Needed(CertificateFacts, "ends", (NAN,), _NIGHT),
    Needed(ClockOffset, "seconds", (NAN,), _NIGHT),
    Needed(ClockOffset, "uncertainty", (NAN,), _NIGHT),
    Needed(ControlPlaneConfig, "rendered", ({},)),
    Needed(KubeletFiles, "config", moments=_NIGHT),
    Needed(KubeletFiles, "arguments", moments=_NIGHT),
    Needed(Platform, "kubelet_config", moments=_NIGHT),
    Needed(ClusterSettings, "configuration", (None, {}), _NIGHT),
    Needed(ClusterSettings, "kubelet", (None, {}), _NIGHT),
)
# Keys of the facts that are plain mappings, by topic.
KEYS: Mapping[str, tuple[str, ...]] = {
    "components": ("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "configz": ("imageGCHighThresholdPercent", "imageGCLowThresholdPercent"),
}
# What may be None or no number, and no gate closes: why.
MAY_BE_MISSING: Mapping[str, str] = {
    "TargetChoice.package_version": "the gate `supply` asks for the version's packages; the plan refuses a hop without",
    "TargetChoice.running": "for people",
    "EtcdSample.taken": "our own clock, given by who reads the sample",
    "EtcdSample.slow_apply_total": "evidence",
    "EtcdSample.has_leader": "the second sample's counts, see test_gate_etcd_latency",
    "EtcdSample.is_leader": "for people",
    "EtcdSample.server_version": "for people",
    "EtcdSample.db_size_bytes": "etcd_state judges what the member itself says",
    "EtcdSample.quota_bytes": "etcd_state judges what the member itself says",
    "NodeFacts.ready_since": "for people",
    "NodeFacts.cordoned_since": "for people",
    "EtcdDevice.rotates": "for people",
    "EtcdDevice.pressure_percent": "for people",
    "EtcdDevice.window_seconds": "for people",
    "NodeProbe.clock": "judged by the gate `clock` with facts of its own",
    "NodeProbe.kubelet_version": "version_skew judges what the API says runs",
    "NodeProbe.kubeadm_version": "None: not installed; staging brings the right one",
    "NodeProbe.kubectl_version": "None: not installed",
    "ManifestEntry.modified": "for people",
    "ManifestEntry.pod_name": "None: no manifest, which is judged",
    "ManifestEntry.pod_namespace": "None: the default one",
    "ManifestEntry.parse_error": "None: it was read",
    "ManifestEntry.image": "for people; what runs is compared by words",
    "StaticPodDetails.directory": "None: there is none, and the manifests are missed",
    "PodProcess.started": "for people",
    "StaticPod.volumes": "its values: None is a kind that kubeadm-config has no place for",
    "StaticPod.env": "its values: None is taken from elsewhere",
    "KubeletFiles.config_modified": "then it counts as newer than the kubelet",
    "KubeletFiles.flags_modified": "then they count as newer than the kubelet",
    "KubeletFiles.started": "then its files count as newer",
    "Platform.runtime": "asked where an entry is about runtimes, see test_gate_version_killers",
    "Platform.runtime_version": "counts as older than everything",
    "TargetImage.reference": "then a recorded size counts",
    "TargetImage.layers": "then a recorded size counts",
    "AlertSources.prometheus": "None: the policy names none",
    "AlertSources.alertmanager": "None: the policy names none",
    "ClusterSettings.corefile": "None: kubeadm looks after no CoreDNS",
    "ClusterSettings.dns": "None: kubeadm looks after no CoreDNS",
    "ClusterSettings.proxy": "None: kubeadm looks after no kube-proxy",
    "KubeadmCluster.proxy_mode": "None: kubeadm looks after no kube-proxy",
    "KubeProxy.wanted": "None: there is no kube-proxy; without a version it is blind, see test_gate_version_skew",
    "KubeadmCluster.coredns_version": "None: kubeadm looks after no CoreDNS",
    **dict.fromkeys(("Killer.until", "Killer.value", "Killer.below", "Killer.preflight"), "a shipped table"),
    **dict.fromkeys(("AddOnRelease.oldest", "AddOnRelease.newest"), "a shipped table: no such end"),
}
# Needed, and passed over all the same: each is a false pass that waits for its mending.
OPEN: Mapping[str, str] = {
    "CertificateFacts.begins": "certificates, where it is no number",
}


@cache
def healthy_round(moment: Moment, ahead: str = "") -> Round:
    """All topics of a stock cluster; in front of a slot or wave with this node behind it."""
    cluster = FakeCluster()
    session = make_session(cluster, Path("/nowhere"))
    before = gates.gather_etcd_samples(session)
    for fake in cluster.fakes.values():
        fake.etcd = etcd_text(observations=500)
    session.sleep(60)
    given = {
        TARGET.name: Reading(session.clock(), value=_HOP),
        ETCD_BEFORE.name: reading_from_dict(before, session.clock()),
    }
    topics = [topic for gate in GATES.values() for topic in (*gate.needs, *gate.wants)]
    nodes = (ahead,) if moment is Moment.PLACE else ()
    return gather(session, topics, GATHERERS, moment, nodes_ahead=nodes, given=given)


def without_field(round_: Round, needed: Needed, gone: Any, node: str) -> Round:
    """The round without this field, wherever this node has it, or the cluster; the same round when neither has."""
    changed = {
        topic: replace(reading, value=_without(reading.value, needed, gone, node))
        for topic, reading in round_.readings.items()
    }
    return replace(round_, readings={**round_.readings, **changed})


def without_key(round_: Round, topic: str, key: str, node: str) -> Round:
    """The round without this key of what is known about a node on this topic."""
    reading = round_.readings.get(topic)
    if reading is None or node not in (reading.value or {}) or key not in reading.value[node]:
        return round_
    left = {name: value for name, value in reading.value[node].items() if name != key}
    changed = replace(reading, value={**reading.value, node: left})
    return replace(round_, readings={**round_.readings, topic: changed})


def _without(fact: Any, needed: Needed, gone: Any, node: str) -> Any:
    if isinstance(fact, NodeFacts) and fact.name != node:
        return fact
    if dataclasses.is_dataclass(fact) and not isinstance(fact, type):
        names = [field.name for field in dataclasses.fields(fact)]
        changes = {name: _without(getattr(fact, name), needed, gone, node) for name in names}
        return replace(fact, **changes | ({needed.name: gone} if type(fact) is needed.kind else {}))
    if isinstance(fact, Mapping):
        theirs = {node} if set(NODE_NAMES) & set(fact) else set(fact)
        return {
            key: _without(value, needed, gone, node) if key in theirs else value
            for key, value in fact.items()
        }
    return tuple(_without(value, needed, gone, node) for value in fact) if isinstance(fact, tuple) else fact


def optional_fields(round_: Round) -> set[str]:
    """All fields of the facts in a round that may be None or no number."""
    kinds = {kind for reading in round_.readings.values() for kind in _kinds(reading.value)}
    return {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, hint in typing.get_type_hints(kind).items()
        if "None" in str(hint) or hint is float
    }


def _kinds(fact: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(fact) and not isinstance(fact, type):
        yield type(fact)
        for field in dataclasses.fields(fact):
            yield from _kinds(getattr(fact, field.name))
    elif isinstance(fact, Mapping | tuple):
        for value in fact.values() if isinstance(fact, Mapping) else fact:
            yield from _kinds(value)
