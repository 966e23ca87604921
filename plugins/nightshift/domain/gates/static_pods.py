"""Gate: is the static-pod directory what it seems, as the kubelet would read it?

The kubelet reads *every* file in /etc/kubernetes/manifests that does not start with a dot, whatever its suffix, and
follows symbolic links; it does not descend into directories. A backup copy silently replaces the real manifest, and the
upgrade's wait for the new one times out.

* **Passes** when every file is a pod of its own, belongs to root alone, and each control-plane process runs once, with
  exactly its manifest's arguments.
* **Warns** of symbolic links, of files everybody may read, and of a pod that the API shows in another version.
* **Blocks** on strays, two files of one pod, another owner or a wider mode (also of the directory), a missing manifest, a
  process that runs otherwise than its file says (edited and not yet running), a second process of a component, and a
  kubelet that reads another directory.
* **Blind** when a node cannot be read. Between two nodes of a night, a worker that was set aside is left out unless it
  is next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightshift.domain.facts import ManifestEntry, NodeFacts, NodeProbe, RunningProcess
from nightshift.domain.facts.static_pods import (
    MIRROR_HASHES,
    STATIC_POD_DETAILS,
    Access,
    StaticPodDetails,
)
from nightshift.domain.facts.versions import KUBEADM_CLUSTER
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import left_aside
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS
from nightshift.domain.topics import CONFIGZ, NODES, PROBES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "static_pods"
TITLE = "Static pods"
NEEDS: tuple[AnyTopic, ...] = (NODES, PROBES, STATIC_POD_DETAILS)
WANTS: tuple[AnyTopic, ...] = (CONFIGZ, MIRROR_HASHES, KUBEADM_CLUSTER)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

DIRECTORY = "/etc/kubernetes/manifests"
_MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")
_WIDEST_PASSING_MODE = 0o600
_WIDEST_TOLERATED_MODE = 0o644
_WIDEST_DIRECTORY_MODE = 0o755
_HASH = (
    "kubernetes.io/config.hash"  # the kubelet's hash of a static pod's file; kubeadm waits for it to change
)
_SHOWN_ARGUMENTS = 3


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge /etc/kubernetes/manifests and the running control-plane processes of every node; workers may hold static pods too."""
    nodes, probes, details = round_.get(NODES), round_.by_node(PROBES), round_.by_node(STATIC_POD_DETAILS)
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    paths, hashes = _static_pod_paths(round_), round_.find(MIRROR_HASHES) or {}
    aside = left_aside(round_, nodes, policy.workers)
    kubeadm = round_.find(KUBEADM_CLUSTER)
    for node in nodes:
        # Without an answer: blind on that node, which `judge` says.
        if node.name in aside or node.name not in probes or node.name not in details:
            continue
        probe = probes[node.name]
        evidence[node.name] = [entry.name for entry in _read(probe.manifests)]
        findings += judge_node(node, probe, details[node.name])
        if node.is_control_plane and kubeadm is not None and not kubeadm.external_etcd:
            findings += _judge_etcds_file(node.name, probe.manifests)
        findings += _judge_path(node.name, paths.get(node.name, ""))
        findings += _judge_hashes(node.name, probe.processes, details[node.name], hashes)
    if not nodes:
        findings.append(_unreadable("the cluster"))
    return conclude(
        NAME,
        findings,
        passed=f"Static pods on {len(evidence)} nodes are exactly what runs; no stray file.",
        value=f"{sum(len(names) for names in evidence.values())} manifests",
        evidence=evidence,
    )


def judge_node(node: NodeFacts, probe: NodeProbe, details: StaticPodDetails) -> list[Finding]:
    """Everything one node itself can say; asked again after each step that touches the directory."""
    entries = _read(probe.manifests)
    findings = [
        *_judge_directory(node.name, details.directory),
        *_judge_entries(node.name, entries, details.links),
        *_judge_duplicates(node.name, entries),
    ]
    if node.is_control_plane:
        findings += _judge_control_plane(node.name, entries, probe.processes, details)
    return findings


def _judge_etcds_file(node: str, entries: Sequence[ManifestEntry]) -> Iterator[Finding]:
    """It has to be there where kubeadm says that it looks after etcd; a control plane without one cannot run or be upgraded."""
    if all(entry.name != "etcd.yaml" for entry in entries):
        yield _missing(node, "etcd")


def _read(entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    """What the kubelet reads: names that do not start with a dot."""
    return [entry for entry in entries if not entry.name.startswith(".")]


def _judge_directory(node: str, access: Access | None) -> Iterator[Finding]:
    if access is None:
        return
    if access.owner != "root:root":
        what = f"belongs to {access.owner}"
        yield _access(Outcome.BLOCK, node, DIRECTORY, what, "chown root:root", access.owner)
    if _is_wider(access.mode, _WIDEST_DIRECTORY_MODE):
        what = f"has mode {access.mode}"
        yield _access(Outcome.BLOCK, node, DIRECTORY, what, "chmod 700", access.mode)


def _judge_entries(
    node: str, entries: Sequence[ManifestEntry], links: Mapping[str, Access]
) -> Iterator[Finding]:
    for entry in entries:
        if entry.kind == "directory":  # the kubelet does not descend
            continue
        yield from _judge_content(node, entry)
        if entry.kind != "symlink":
            yield from _judge_access(node, f"{DIRECTORY}/{entry.name}", Access(entry.mode, entry.owner))
        elif entry.name in links:  # a link's own mode means nothing; the file's it leads to does
            yield from _judge_access(node, f"the file behind {DIRECTORY}/{entry.name}", links[entry.name])
            yield _link(node, f"{DIRECTORY}/{entry.name}")


def _judge_content(node: str, entry: ManifestEntry) -> Iterator[Finding]:
    path = f"{DIRECTORY}/{entry.name}"
    if entry.kind not in ("file", "symlink"):
        yield _stray(node, path, f"It is no regular file ({entry.kind}).")
    elif entry.pod_name is None:
        yield _stray(node, path, f"It is not a pod: {entry.parse_error or 'no pod name'}.")
    elif not entry.name.endswith(_MANIFEST_SUFFIXES):
        why = f"The kubelet ignores suffixes and runs it as pod {entry.pod_namespace}/{entry.pod_name}."
        yield _stray(node, path, why)
    elif entry.pod_name in (*CONTROL_PLANE_COMPONENTS, "etcd") and entry.name != f"{entry.pod_name}.yaml":
        yield _stray(node, path, f"It holds {entry.pod_name}, which kubeadm keeps in {entry.pod_name}.yaml.")


def _judge_access(node: str, path: str, access: Access) -> Iterator[Finding]:
    if access.owner != "root:root":
        yield _access(
            Outcome.BLOCK, node, path, f"belongs to {access.owner}", "chown root:root", access.owner
        )
    if _is_wider(access.mode, _WIDEST_TOLERATED_MODE):
        yield _access(Outcome.BLOCK, node, path, f"has mode {access.mode}", "chmod 600", access.mode)
    elif _is_wider(access.mode, _WIDEST_PASSING_MODE):
        yield _access(Outcome.WARN, node, path, f"has mode {access.mode}", "chmod 600", access.mode)


def _is_wider(mode: str, allowed: int) -> bool:
    """Tell whether a mode gives more than allowed; one that cannot be read does."""
    try:
        return bool(int(mode, 8) & ~allowed)
    except ValueError:
        return True


def _judge_duplicates(node: str, entries: Sequence[ManifestEntry]) -> Iterator[Finding]:
    by_pod: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in entries:
        if entry.pod_name is not None:
            by_pod[entry.pod_namespace or "default", entry.pod_name].append(entry.name)
    for (namespace, pod), names in by_pod.items():
        if len(names) > 1:
            ordered = sorted(names)
            yield Finding(
                Outcome.BLOCK,
                "DUPLICATE_MANIFEST",
                f"{node}: {', '.join(ordered)} in {DIRECTORY} are the same pod {namespace}/{pod}; "
                f"the kubelet runs {ordered[-1]}.",
                "The kubelet reads every file, and of two with the same pod the last by name wins.",
                f"Move the copy out of {DIRECTORY} on {node}; the pod then restarts from the other file.",
                value=f"{len(names)} files",
                threshold="1 file",
            )


def _judge_control_plane(
    node: str,
    entries: Sequence[ManifestEntry],
    processes: Sequence[RunningProcess],
    details: StaticPodDetails,
) -> Iterator[Finding]:
    """Compare what runs with what is written; that etcd does not live elsewhere is known to the cluster, not to a node."""
    for component in (*CONTROL_PLANE_COMPONENTS, "etcd"):
        entry = next((e for e in entries if e.name == f"{component}.yaml"), None)
        running = [process for process in processes if process.name == component]
        if entry is None:
            if component != "etcd":
                yield _missing(node, component)
        elif not any(process.argv == entry.command for process in running):
            yield _not_running(node, component, entry, running, details)
        if len(running) > 1:
            yield _second(node, component, running, details)


def _static_pod_paths(round_: Round) -> Mapping[str, str]:
    """By node, the directory its kubelet says that it reads."""
    try:
        answers = round_.by_node(CONFIGZ)
    except NotRead:  # wanted, not needed: the gates that need it are blind then
        return {}
    return {node: str(config.get("staticPodPath") or "") for node, config in answers.items()}


def _judge_path(node: str, path: str) -> Iterator[Finding]:
    """A kubelet that names none reads none, which is right for a worker, and what runs tells it of a control plane."""
    if path.rstrip("/") in ("", DIRECTORY):
        return
    yield Finding(
        Outcome.BLOCK,
        "STATIC_POD_PATH",
        f"{node}: the kubelet reads static pods from {path}, kubeadm writes them to {DIRECTORY}.",
        "staticPodPath in the kubelet's configuration was changed.",
        f"Set staticPodPath back to {DIRECTORY} on {node}, move the pods there, restart the kubelet.",
        value=path,
        threshold=DIRECTORY,
    )


def _judge_hashes(
    node: str, processes: Sequence[RunningProcess], details: StaticPodDetails, hashes: Mapping[str, str]
) -> Iterator[Finding]:
    """Does the API show the pod that runs? A static pod's UID on the node is the hash in its mirror's annotation."""
    for process in processes:
        shown = hashes.get(f"{process.name}-{node}")
        known = details.processes.get(process.pid)
        if shown is None or known is None or not known.uid or known.uid == shown:
            continue
        yield Finding(
            Outcome.WARN,
            "MIRROR_POD_STALE",
            f"{node}: the API shows {process.name} as {shown[:8]}…, and {known.uid[:8]}… runs; kubeadm waits for this hash.",
            "The kubelet could not write its mirror pod, or is about to.",
            f"Ask again in a minute; if it stays, restart the kubelet on {node} and read its journal.",
            value=shown,
            threshold=known.uid,
        )


def _missing(node: str, component: str) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "MANIFEST_MISSING",
        f"{node}: {DIRECTORY}/{component}.yaml is missing.",
        "It was moved away, or an interrupted kubeadm left it in /etc/kubernetes/tmp.",
        f"Put it back on {node} from the newest kubeadm-backup-manifests-* under /etc/kubernetes/tmp.",
        value="absent",
        threshold="present",
    )


def _not_running(
    node: str,
    component: str,
    entry: ManifestEntry,
    running: Sequence[RunningProcess],
    details: StaticPodDetails,
) -> Finding:
    cause = "Another file overrides the manifest, or the kubelet has not acted on it."
    if not running:
        difference = f"no {component} process is running"
    else:
        difference = _difference(entry.command, running[0].argv)
        known = details.processes.get(running[0].pid)
        if known is not None and entry.modified > known.started + 1:
            difference += (
                f"; the file was written {entry.modified - known.started:.0f} s after the process had started"
            )
            cause = "The manifest was edited, and the kubelet has not acted on it yet: it may wait for the old process to end."
    return Finding(
        Outcome.BLOCK,
        "MANIFEST_NOT_RUNNING",
        f"{node}: {component} does not run as {DIRECTORY}/{component}.yaml says: {difference}.",
        cause,
        f"On {node}: look for a second file of that pod, and at journalctl -u kubelet; "
        "restarting the kubelet makes it read the directory anew.",
        value=difference,
        threshold="equal arguments",
    )


def _second(
    node: str, component: str, running: Sequence[RunningProcess], details: StaticPodDetails
) -> Finding:
    def said(process: RunningProcess) -> str:
        known = details.processes.get(process.pid)
        return f"pid {process.pid}" + (" in no pod" if known is not None and not known.uid else "")

    return Finding(
        Outcome.BLOCK,
        "SECOND_PROCESS",
        f"{node}: {len(running)} {component} processes of this cluster run: {', '.join(map(said, running))}.",
        "An old one has not ended, a second file starts another, or somebody started one by hand.",
        f"On {node}: end what is in no pod; else wait until the old one has ended, then ask again.",
        value=f"{len(running)} processes",
        threshold="1 process",
    )


def _link(node: str, path: str) -> Finding:
    return Finding(
        Outcome.WARN,
        "MANIFEST_LINK",
        f"{node}: {path} is a symbolic link; the kubelet does not notice when the file behind it changes.",
        f"Somebody keeps the manifest elsewhere and linked it into {DIRECTORY}.",
        f"Put the file itself into {DIRECTORY} on {node}; an upgrade replaces the link by a file.",
        value=path,
        threshold="a file",
    )


def _difference(written: Sequence[str], running: Sequence[str]) -> str:
    """Say which arguments differ, a few of them."""
    only_written = [argument for argument in written if argument not in running]
    only_running = [argument for argument in running if argument not in written]
    parts = []
    if only_written:
        parts.append("only in the file " + " ".join(only_written[:_SHOWN_ARGUMENTS]))
    if only_running:
        parts.append("only in the process " + " ".join(only_running[:_SHOWN_ARGUMENTS]))
    return "; ".join(parts) or "the same arguments in another order"


def _stray(node: str, path: str, why: str) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "STRAY_MANIFEST",
        f"{node}: {path} does not belong there. {why}",
        f"Somebody or something left a file in {DIRECTORY}, which the kubelet reads whole.",
        f"Move {path} out of the directory on {node} (a leading dot is enough).",
        value=path,
        threshold="only pod manifests, one file each",
    )


def _access(outcome: Outcome, node: str, path: str, what: str, fix: str, value: str) -> Finding:
    return Finding(
        outcome,
        "MANIFEST_ACCESS",
        f"{node}: {path} {what}.",
        "kubeadm writes manifests as root:root 0600; whoever can write them is root on the node.",
        f"On {node}: {fix} {path}, after making sure who changed it.",
        value=value,
        threshold="root:root 600",
    )


def _unreadable(node: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "MANIFESTS_UNREADABLE",
        f"The static pods of {node} could not be read.",
        "The API gave no nodes.",
        "Look at kubectl get nodes, then check again.",
    )
