"""Gate: is the static-pod directory what it seems, as the kubelet would read it?

The kubelet reads *every* file in /etc/kubernetes/manifests that does not start with a dot, whatever its
suffix: a backup copy silently replaces the real manifest and the upgrade's wait for the new one times out.
Also checked: owner and mode, and that each control-plane process runs with exactly its manifest's arguments. Between two
nodes of a night, a worker that was set aside is left out unless it is next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from nightshift.domain.facts import ManifestEntry, NodeFacts, NodeProbe, RunningProcess
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import left_aside
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS
from nightshift.domain.topics import NODES, PROBES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "static_pods"
TITLE = "Static pods"
NEEDS: tuple[AnyTopic, ...] = (NODES, PROBES)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

DIRECTORY = "/etc/kubernetes/manifests"
_MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")
_WIDEST_PASSING_MODE = 0o600
_WIDEST_TOLERATED_MODE = 0o644
_SHOWN_ARGUMENTS = 3


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge /etc/kubernetes/manifests and the running control-plane processes of every node; workers may hold static pods too."""
    nodes, probes = round_.get(NODES), round_.by_node(PROBES)
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    aside = left_aside(round_, nodes)
    for node in nodes:
        probe = probes.get(node.name)
        if probe is None or node.name in aside:  # without a probe: blind on that node, which `judge` says
            continue
        evidence[node.name] = [entry.name for entry in _read(probe.manifests)]
        findings += judge_node(node, probe)
    if not nodes:
        findings.append(_unreadable("the cluster"))
    return conclude(
        NAME,
        findings,
        passed=f"Static pods on {len(evidence)} nodes are exactly what runs; no stray file.",
        value=f"{sum(len(names) for names in evidence.values())} manifests",
        evidence=evidence,
    )


def judge_node(node: NodeFacts, probe: NodeProbe) -> list[Finding]:
    """Everything one node itself can say; asked again after its upgrade."""
    entries = _read(probe.manifests)
    findings = [*_judge_entries(node.name, entries), *_judge_duplicates(node.name, entries)]
    if node.is_control_plane:
        findings += _judge_control_plane(node.name, entries, probe.processes)
    return findings


def _read(entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    """What the kubelet reads: names that do not start with a dot."""
    return [entry for entry in entries if not entry.name.startswith(".")]


def _judge_entries(node: str, entries: Sequence[ManifestEntry]) -> Iterator[Finding]:
    for entry in entries:
        if entry.kind == "directory":  # the kubelet does not descend
            continue
        yield from _judge_content(node, entry)
        yield from _judge_access(node, entry)


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


def _judge_access(node: str, entry: ManifestEntry) -> Iterator[Finding]:
    path = f"{DIRECTORY}/{entry.name}"
    if entry.owner != "root:root":
        yield _access(Outcome.BLOCK, node, path, f"belongs to {entry.owner}", "chown root:root", entry.owner)
    if entry.kind == "symlink":  # a link's own mode means nothing
        return
    try:
        mode = int(entry.mode, 8)
    except ValueError:
        yield _access(
            Outcome.BLOCK, node, path, f"has the unreadable mode {entry.mode!r}", "chmod 600", entry.mode
        )
        return
    if mode & ~_WIDEST_TOLERATED_MODE:
        yield _access(Outcome.BLOCK, node, path, f"has mode {entry.mode}", "chmod 600", entry.mode)
    elif mode & ~_WIDEST_PASSING_MODE:
        yield _access(Outcome.WARN, node, path, f"has mode {entry.mode}", "chmod 600", entry.mode)


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
    node: str, entries: Sequence[ManifestEntry], processes: Sequence[RunningProcess]
) -> Iterator[Finding]:
    """Compare what runs with what is written; etcd may live elsewhere, the other three may not."""
    for component in (*CONTROL_PLANE_COMPONENTS, "etcd"):
        entry = next((e for e in entries if e.name == f"{component}.yaml"), None)
        running = [process for process in processes if process.name == component]
        if entry is None:
            if component != "etcd":
                yield _missing(node, component)
        elif not any(process.argv == entry.command for process in running):
            yield _not_running(node, component, entry, running)


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
    node: str, component: str, entry: ManifestEntry, running: Sequence[RunningProcess]
) -> Finding:
    if not running:
        difference = f"no {component} process is running"
    else:
        difference = _difference(entry.command, running[0].argv)
    return Finding(
        Outcome.BLOCK,
        "MANIFEST_NOT_RUNNING",
        f"{node}: {component} does not run as {DIRECTORY}/{component}.yaml says: {difference}.",
        "Another file overrides the manifest, or the kubelet has not acted on it.",
        f"On {node}: look for a second file of that pod, and at journalctl -u kubelet; "
        "restarting the kubelet makes it read the directory anew.",
        value=difference,
        threshold="equal arguments",
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
