"""Who is upgraded tonight, in which order, with which kubeadm command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nightshift.domain.facts import JobFacts, NodeFacts
from nightshift.domain.policy import ClusterPolicy, WorkerPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION, Quarantine, read_quarantine
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS, TargetChoice
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import Version

GATE = "plan"
MEMBERS_FOR_QUORUM = 3  # the smallest etcd that keeps its quorum while one member is down
# Small cluster, measured: 140 s for kubeadm's restarts of etcd and kube-apiserver; slower disks take more.
EXPECTED_OUTAGE_SECONDS = 240
KUBEADM_COMMANDS = ("apply", "node")  # what `kubeadm_command` may say


@dataclass(frozen=True)
class ControlPlaneStep:
    """One control-plane node and its kubeadm command: "apply" once per hop, "node" elsewhere."""

    node: str
    command: str


@dataclass(frozen=True)
class Plan:
    """Tonight's work.

    Args:
        control_plane: strictly one after the other.
        waves: worker nodes by wave; the first wave is one canary.
        leftover: nodes that do not fit into tonight and continue tomorrow.
        quarantined: workers that an earlier night set aside and that the policy leaves out.
        addresses: InternalIP by name, of every node that is planned for tonight: a step that is tried again while the
            only API is away finds its node by it.
        sentence: the plan in plain words, the expected outage included.
        verdict: PASS, BLOCK with API_OUTAGE_NOT_ACCEPTED, or HOLD with NODES_QUARANTINED.
    """

    control_plane: tuple[ControlPlaneStep, ...]
    waves: tuple[tuple[str, ...], ...]
    leftover: tuple[str, ...]
    sentence: str
    verdict: Verdict
    quarantined: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {
            "control_plane": [{"node": s.node, "command": s.command} for s in self.control_plane],
            "waves": [list(wave) for wave in self.waves],
            "leftover": list(self.leftover),
            "quarantined": list(self.quarantined),
            "addresses": dict(self.addresses),
            "sentence": self.sentence,
            "verdict": self.verdict.to_dict(),
        }


def build_plan(
    nodes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    target: TargetChoice,
    policy: ClusterPolicy,
    *,
    config_version: str | None = None,
    etcd_leader: str | None = None,
    pod_counts: Mapping[str, int] | None = None,
) -> Plan:
    """Order tonight's work.

    Args:
        nodes: all nodes.
        components: as for `choose_target`.
        target: a choice for which `is_hop` is true.
        policy: the cluster's policy.
        config_version: kubernetesVersion of the kubeadm-config ConfigMap; None = not read.
        etcd_leader: node name of the etcd leader; None = unknown.
        pod_counts: evictable pods per worker, for choosing the canary; None = unknown.

    Raises:
        ValueError: the target is no hop; there is nothing to plan.
    """
    if target.version is None:
        raise ValueError(f"no plan without a target: {target.sentence}")
    version = Version.parse(target.version)
    control_planes = [node for node in nodes if node.is_control_plane]
    due = control_planes_due(nodes, components, target.version)
    is_applied = _is_applied(control_planes, components, version, config_version)
    steps = _order_steps(due, components, version, etcd_leader, is_applied=is_applied)
    tonight, late = steps[: policy.control_plane_slots], steps[policy.control_plane_slots :]
    workers = _canary_order(nodes, version, pod_counts or {})
    set_aside = {
        node.name: mark for node in nodes if node.name in workers and (mark := read_quarantine(node))
    }
    left_out = () if policy.workers.retry_quarantined else tuple(set_aside)
    workers = tuple(name for name in workers if name not in left_out)
    # A kubelet must never be newer than an API server: no worker before the last control plane.
    waves, left = ((), workers) if late else _cut_waves(workers, policy.workers)
    leftover = (*(step.node for step in late), *left)
    is_empty = not tonight and not workers
    verdict = (
        _held(set_aside) if is_empty and left_out else _judge_outage(len(control_planes), tonight, policy)
    )
    sentence = _sentence(target, tonight, waves, leftover, len(control_planes))
    begun = {step.node for step in tonight} | {name for wave in waves for name in wave}
    return Plan(
        tonight,
        waves,
        leftover,
        f"{sentence}{_set_aside_sentence(set_aside, left_out)}",
        verdict,
        left_out,
        {node.name: node.address for node in nodes if node.name in begun},
    )


def _order_steps(
    due: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    version: Version,
    etcd_leader: str | None,
    *,
    is_applied: bool,
) -> tuple[ControlPlaneStep, ...]:
    """What was begun goes first, etcd's leader last; only the first one applies, and only where nobody has."""
    ordered = sorted(
        due, key=lambda n: (not _is_begun(components.get(n.name, {}), version), n.name == etcd_leader, n.name)
    )
    return tuple(
        ControlPlaneStep(node.name, "node" if is_applied or index else "apply")
        for index, node in enumerate(ordered)
    )


def control_planes_due(
    nodes: Sequence[NodeFacts], components: Mapping[str, Mapping[str, str]], version: str
) -> tuple[NodeFacts, ...]:
    """Return the control-plane nodes of which something is still older than `version`, such as "1.35.4"."""
    target = Version.parse(version)
    return tuple(
        node
        for node in nodes
        if node.is_control_plane and not _is_done(node, components.get(node.name, {}), target)
    )


def outage_not_accepted(members: int) -> Verdict:
    """Refuse to take the only etcd, or one of two, away from an owner who did not accept that.

    Args:
        members: control-plane nodes of the cluster.
    """
    return Verdict(
        GATE,
        Outcome.BLOCK,
        "API_OUTAGE_NOT_ACCEPTED",
        f"The cluster has {members} control-plane node{'s' if members > 1 else ''}: upgrading one takes "
        "the API away, and accept_api_outage is not set.",
        cause=f"etcd keeps its quorum without one member only from {MEMBERS_FOR_QUORUM} members on.",
        resolution="Set accept_api_outage: true in the cluster's YAML, or add control-plane nodes.",
        value=f"{members} members",
        threshold=f"{MEMBERS_FOR_QUORUM} members, or accept_api_outage: true",
    )


def end_plan(plan: Mapping[str, Any], ends: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a plan (as `Plan.to_dict`) that ended early: what was not begun is leftover.

    Args:
        plan: tonight's plan.
        ends: where: `place` ("control_plane" or "waves"), `index`, and `nodes`: those of that place that were not
            begun (absent: none of it was). All places after the first of them are leftover. Waves come last.
    """
    steps, waves = plan["control_plane"], plan["waves"]
    place, index = min(
        ((str(end["place"]), int(end["index"])) for end in ends), key=lambda at: (at[0] == "waves", at[1])
    )
    here = [end.get("nodes") for end in ends if (end["place"], end["index"]) == (place, index)]
    begun, reached = (index, 0) if place == "control_plane" else (len(steps), index)
    done = {
        "control_plane": steps[:begun],
        "waves": [list(wave) for wave in waves[:reached]],
    }
    if None not in here:  # some nodes of this place were begun before the night ended
        held = {node for nodes in here for node in nodes or ()}
        if place == "control_plane":
            done["control_plane"] += [step for step in steps[index : index + 1] if step["node"] not in held]
        else:
            last = [node for wave in waves[index : index + 1] for node in wave if node not in held]
            done["waves"] += [last] if last else []
    kept = {step["node"] for step in done["control_plane"]} | {n for wave in done["waves"] for n in wave}
    planned = [step["node"] for step in steps] + [node for wave in waves for node in wave]
    late = [node for node in planned if node not in kept]
    return {**plan, **done, "leftover": [*late, *plan["leftover"]]}


def kubeadm_command(
    node: NodeFacts, version: str, config_version: str | None, known: JobFacts | None = None
) -> str:
    """Return "apply" until the cluster's configuration says `version`, "node" from then on and always on workers.

    A node that began with "apply" ends with it: kubeadm writes its configuration half-way through, with
    kubelet-config, tokens and add-ons still to come, and `node` does not do those. On the other nodes `node` before
    `apply` would write manifests of the *old* version and be content. Asked when the node is reached, not when the
    night is planned: an interrupted night or a cleared task finds what has happened meanwhile.

    Args:
        node: who is upgraded.
        version: the target, "1.35.4".
        config_version: `kubernetesVersion` of kubeadm's ClusterConfiguration; None = it says nothing.
        known: the node's last kubeadm job, running or ended.
    """
    if not node.is_control_plane:
        return "node"
    if known is not None and known.arguments[:2] == ("apply", version):
        return "apply"
    return "node" if _runs(config_version, Version.parse(version)) else "apply"


def _runs(text: str | None, version: Version) -> bool:
    """Tell whether this is the target or newer; what cannot be read is not, so that it is looked at again."""
    try:
        return Version.parse(text or "") >= version
    except ValueError:
        return False


def _is_begun(found: Mapping[str, str], version: Version) -> bool:
    """Tell whether all control-plane components of the node already run the target."""
    return all(_runs(found.get(name), version) for name in CONTROL_PLANE_COMPONENTS)


def _is_done(node: NodeFacts, found: Mapping[str, str], version: Version) -> bool:
    return _is_begun(found, version) and _runs(node.kubelet_version, version)


def _is_applied(
    control_planes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    version: Version,
    config_version: str | None,
) -> bool:
    """Tell whether `kubeadm upgrade apply` came to its end, so that `node` is right everywhere.

    Its last act is to write the version into kubeadm-config, long after the components run it; `node` before
    that would bring the other nodes to the *old* version. When kubeadm-config could not be read, a finished
    node proves it: our kubelet step comes after kubeadm's end.
    """
    if config_version is not None:
        return _runs(config_version, version)
    return any(_is_done(node, components.get(node.name, {}), version) for node in control_planes)


def _canary_order(
    nodes: Sequence[NodeFacts], version: Version, pod_counts: Mapping[str, int]
) -> tuple[str, ...]:
    """Order the workers that are behind: the canary is the one whose loss would matter least.

    Those that an earlier night set aside come last: they would say nothing about the others.
    """
    due = [n for n in nodes if not n.is_control_plane and not _runs(n.kubelet_version, version)]
    ordered = sorted(
        due,
        key=lambda n: (
            read_quarantine(n) is not None,
            n.is_ready is not True,
            pod_counts.get(n.name, 0),
            n.name,
        ),
    )
    return tuple(node.name for node in ordered)


def _cut_waves(
    workers: tuple[str, ...], policy: WorkerPolicy
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Cut one canary and then waves of `max_unavailable`; what does not fit is returned as second."""
    size = policy.max_unavailable
    room = 1 + (policy.waves - 1) * size
    tonight, left = workers[:room], workers[room:]
    rest = tonight[1:]
    waves = (tonight[:1], *(rest[start : start + size] for start in range(0, len(rest), size)))
    return tuple(wave for wave in waves if wave), left


def _judge_outage(members: int, steps: Sequence[ControlPlaneStep], policy: ClusterPolicy) -> Verdict:
    """One or two etcd members lose quorum when one is down: then the owner must have accepted the outage."""
    if steps and members < MEMBERS_FOR_QUORUM and not policy.accept_api_outage:
        return outage_not_accepted(members)
    return Verdict(
        GATE, Outcome.PASS, "OK", "The plan keeps what the policy asks for.", value=f"{members} members"
    )


def _held(set_aside: Mapping[str, Quarantine]) -> Verdict:
    """All that is left to do is what the policy leaves out."""
    named = ", ".join(f"{name} ({mark})" for name, mark in set_aside.items())
    return Verdict(
        GATE,
        Outcome.HOLD,
        "NODES_QUARANTINED",
        f"Only nodes that were set aside are still behind: {named}.",
        cause="An earlier night could not upgrade them, and workers.retry_quarantined is false.",
        resolution="When a node is right again: kubectl annotate node NODE " + QUARANTINE_ANNOTATION + "-",
    )


def _set_aside_sentence(set_aside: Mapping[str, Quarantine], left_out: Sequence[str]) -> str:
    if not set_aside:
        return ""
    named = ", ".join(f"{name} ({mark})" for name, mark in set_aside.items())
    return f" Set aside by an earlier night: {named}; {'left out' if left_out else 'tried again, last'}."


def _sentence(
    target: TargetChoice,
    steps: Sequence[ControlPlaneStep],
    waves: Sequence[Sequence[str]],
    leftover: Sequence[str],
    members: int,
) -> str:
    parts = [f"{target.running} to {target.version}:"]
    parts.append(
        "control plane " + (", ".join(f"{s.node} ({s.command})" for s in steps) or "already there") + ";"
    )
    workers = f"workers in {len(waves)} waves, canary {waves[0][0]}" if waves else "no worker"
    parts.append(workers + ";" if leftover else workers + ".")
    if leftover:
        parts.append(f"{', '.join(leftover)} continue tomorrow.")
    if steps and members < MEMBERS_FOR_QUORUM:
        parts.append(
            f"With {members} etcd member{'s' if members > 1 else ''} the API will be away for up to "
            f"{EXPECTED_OUTAGE_SECONDS // 60} minutes in all per control-plane node, "
            "while etcd and kube-apiserver restart."
        )
    return " ".join(parts)
