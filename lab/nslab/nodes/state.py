"""What the lab is right now, as later commands need to know it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from nslab.build.store import write_text
from nslab.settings import FROM_VERSION, PROFILES, STATE_DIR, Node, Profile
from nslab.shell import LabError

FILE = STATE_DIR / "lab.json"
KUBECONFIG = STATE_DIR / "kubeconfig"
KUBECTL = STATE_DIR / "bin" / "kubectl"
LOGS = STATE_DIR / "log"


@dataclass(frozen=True)
class Lab:
    """The lab that was asked for: its shape and the Kubernetes version it starts from."""

    profile_name: str = "small"
    version: str = FROM_VERSION

    @property
    def profile(self) -> Profile:
        """The shape of the cluster."""
        return PROFILES[self.profile_name]

    @property
    def control_planes(self) -> tuple[Node, ...]:
        """Control-plane nodes, the one that runs `kubeadm init` first."""
        return tuple(n for n in self.profile.nodes if n.role == "control-plane")

    @property
    def workers(self) -> tuple[Node, ...]:
        """Nodes without a control plane."""
        return tuple(n for n in self.profile.nodes if n.role != "control-plane")

    def save(self) -> None:
        """Write down that this lab exists."""
        write_text(FILE, json.dumps(asdict(self)) + "\n")


def exists() -> bool:
    """Return whether a lab has been started and not taken down."""
    return FILE.exists()


def current() -> Lab:
    """Return the lab that exists; raise `LabError` when there is none."""
    try:
        return Lab(**json.loads(FILE.read_text()))
    except FileNotFoundError:
        raise LabError("there is no lab", "start one with `lab/lab up`") from None
    except (ValueError, TypeError) as error:
        raise LabError(f"{FILE} cannot be read: {error}", "run `lab/lab down`, then `lab/lab up`") from error


def node(name: str) -> Node:
    """Return the node of the present lab with this name; raise `LabError` naming the known ones."""
    nodes = {n.name: n for n in current().profile.nodes}
    if name not in nodes:
        raise LabError(f"the lab has no node {name}", f"its nodes are {', '.join(nodes)}")
    return nodes[name]


def path_of(name: str) -> Path:
    """Return the directory with everything about one node that is not on its disk."""
    return STATE_DIR / "nodes" / name
