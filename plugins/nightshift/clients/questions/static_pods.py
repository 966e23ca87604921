"""The section `static-pods` of the verb `look`, and what the API shows of static pods."""

from __future__ import annotations

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader, NodeQuestion
from nightshift.domain.facts.static_pods import Access, PodProcess, StaticPodDetails

_MIRROR = "kubernetes.io/config.mirror"
_HASH = "kubernetes.io/config.hash"  # kubeadm waits for it to change


def parse_static_pods(text: str) -> StaticPodDetails:
    """Read the section's lines, see `lib/look/static-pods.sh`.

    Raises:
        ValueError: a line is none of them.
    """
    directory: Access | None = None
    links: dict[str, Access] = {}
    processes: dict[int, PodProcess] = {}
    for line in text.splitlines():
        kind, *fields = line.split("\t", 3)  # a file's name may hold more of them
        if kind == "directory":
            mode, owner = fields
            directory = Access(mode, owner)
        elif kind == "link":
            mode, owner, name = fields
            links[name] = Access(mode, owner)
        elif kind == "process":
            pid, started, uid = fields
            processes[int(pid)] = PodProcess(float(started), "" if uid == "-" else uid)
        else:
            raise ValueError(f"unknown line: {line[:200]!r}")
    return StaticPodDetails(directory, links, processes)


def read_mirror_hashes(api: ApiReader) -> dict[str, str]:
    """Ask for the control planes' mirror pods: four per control plane, whatever the cluster's size."""
    path = "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane"
    found = {}
    for pod in api.list(path):
        annotations = pod["metadata"].get("annotations") or {}
        if _MIRROR in annotations and _HASH in annotations:
            found[str(pod["metadata"]["name"])] = str(annotations[_HASH])
    return found


STATIC_PODS = NodeQuestion(section="static-pods", parse=parse_static_pods)
MIRROR_HASHES = ApiQuestion(
    ask=read_mirror_hashes, permissions=(Permission("list", "", "pods", "kube-system"),)
)
