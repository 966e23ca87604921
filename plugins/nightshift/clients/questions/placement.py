"""The Pods and the PersistentVolumes of the cluster: one list each, page by page, only what the gates judge kept."""

from __future__ import annotations

from nightshift.clients.kube_objects import pod_facts
from nightshift.clients.kube_placement import volume_facts
from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.domain.facts import PodFacts
from nightshift.domain.facts.placement import VolumeFacts


def read_pods(api: ApiReader) -> tuple[PodFacts, ...]:
    """Every pod, by nothing in particular."""
    labels = {
        item["metadata"]["name"]: item["metadata"].get("labels") or {}
        for item in api.list("/api/v1/namespaces")
    }
    return tuple(pod_facts(item, labels) for item in api.list("/api/v1/pods"))


def read_volumes(api: ApiReader) -> dict[str, VolumeFacts]:
    """Every PersistentVolume that is bound, by its claim."""
    found = (volume_facts(item) for item in api.list("/api/v1/persistentvolumes"))
    return dict(pair for pair in found if pair is not None)


PODS_QUESTION = ApiQuestion(read_pods, (Permission("list", "", "pods"), Permission("list", "", "namespaces")))
VOLUMES_QUESTION = ApiQuestion(read_volumes, (Permission("list", "", "persistentvolumes"),))
