"""Who is upgraded tonight, in which order, with which kubeadm command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.domain.facts import NodeFacts
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.target import TargetChoice
from nightshift.domain.verdicts import Verdict

GATE = "plan"


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
        sentence: the plan in plain words, the expected outage included.
        verdict: PASS, or BLOCK with API_OUTAGE_NOT_ACCEPTED.
    """

    control_plane: tuple[ControlPlaneStep, ...]
    waves: tuple[tuple[str, ...], ...]
    leftover: tuple[str, ...]
    sentence: str
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {
            "control_plane": [{"node": s.node, "command": s.command} for s in self.control_plane],
            "waves": [list(wave) for wave in self.waves],
            "leftover": list(self.leftover),
            "sentence": self.sentence,
            "verdict": self.verdict.to_dict(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Plan:
        """Rebuild a plan from `to_dict`'s output."""
        return Plan(
            control_plane=tuple(ControlPlaneStep(s["node"], s["command"]) for s in data["control_plane"]),
            waves=tuple(tuple(wave) for wave in data["waves"]),
            leftover=tuple(data["leftover"]),
            sentence=data["sentence"],
            verdict=Verdict.from_dict(data["verdict"]),
        )


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
    """
    raise NotImplementedError
