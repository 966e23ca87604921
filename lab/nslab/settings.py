"""Where the lab keeps things, which addresses it uses, and what a profile consists of.

Everything can be changed through environment variables, so that two labs or an odd
machine do not need a change of code. Nothing here touches the machine.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

FROM_VERSION = "1.34.4"
TARGET_VERSION = "1.35.4"
PATCH_FROM_VERSION = "1.34.2"


def _path(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable, default))


# Built once, kept over `lab down`: binaries, packages, images, base root file system, saved disks.
CACHE_DIR = _path("NSLAB_CACHE", "/var/cache/nightshift-lab")
# The lab that is up now: node roots, sockets, logs, keys. Gone after `lab down`.
STATE_DIR = _path("NSLAB_STATE", "/var/lib/nightshift-lab")

BRIDGE = os.environ.get("NSLAB_BRIDGE", "nslab0")
# One /24 for nodes and services of the lab; pods and Services keep kubeadm's usual ranges.
NETWORK = ipaddress.ip_network(os.environ.get("NSLAB_NETWORK", "10.217.0.0/24"))
POD_NETWORK = ipaddress.ip_network(os.environ.get("NSLAB_POD_NETWORK", "10.244.0.0/16"))


def address(offset: int) -> str:
    """Return the lab address with this offset in the lab's network."""
    return str(NETWORK[offset])


HOST_ADDRESS = address(1)  # the machine itself, on the bridge
INFRA_ADDRESS = address(2)  # network namespace with registry, packages, Prometheus, HAProxy, …
REGISTRY_PORT = 5000
PACKAGES_PORT = 8081
PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093
PUSHGATEWAY_PORT = 9091
HAPROXY_PORT = 6443


@dataclass(frozen=True)
class Node:
    """One machine of the lab."""

    name: str
    role: str  # "control-plane" or "worker"
    index: int  # 1-based over the whole profile, the order of joining; fixes the pod /24

    @property
    def address(self) -> str:
        """Lab address: control planes from .11, workers from .21."""
        number = int("".join(c for c in self.name if c.isdigit()))
        return address((10 if self.role == "control-plane" else 20) + number)

    @property
    def pod_network(self) -> str:
        """The node's own /24 of the pod network: the one the controller-manager gives to the n-th node."""
        return str(list(POD_NETWORK.subnets(new_prefix=24))[self.index - 1])


def _nodes(control_planes: int, workers: int) -> tuple[Node, ...]:
    cps = [Node(f"cp{i}", "control-plane", i) for i in range(1, control_planes + 1)]
    ws = [Node(f"w{i}", "worker", control_planes + i) for i in range(1, workers + 1)]
    return (*cps, *ws)


@dataclass(frozen=True)
class Profile:
    """A shape of cluster: its nodes and where its API is reached."""

    name: str
    nodes: tuple[Node, ...]

    @property
    def api_endpoint(self) -> str:
        """host:port of the API server: the node itself, or HAProxy when there are several."""
        if sum(n.role == "control-plane" for n in self.nodes) > 1:
            return f"{INFRA_ADDRESS}:{HAPROXY_PORT}"
        return f"{self.nodes[0].address}:6443"


PROFILES = {
    "small": Profile("small", _nodes(1, 2)),
    "ha": Profile("ha", _nodes(3, 3)),
}
