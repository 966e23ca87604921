"""The lab's network: one namespace with the bridge and the lab's services in it.

The bridge is inside the namespace `nslab-infra`, not on the machine: firewall rules of the machine
(Docker sets its FORWARD policy to DROP, for example) then cannot reach traffic between nodes, and
deleting the namespace removes everything. The machine joins by one virtual cable.
No gateway exists, so nothing leaves the lab.
"""

from __future__ import annotations

from pathlib import Path

from nslab.settings import BRIDGE, HOST_ADDRESS, INFRA_ADDRESS, NETWORK, Profile
from nslab.shell import LabError, output, run

NAMESPACE = f"{BRIDGE.removesuffix('0')}-infra"
HOST_INTERFACE = BRIDGE  # the machine's end of the cable
_CABLE_END = f"{BRIDGE}-up"  # the bridge's end


def namespace_file() -> Path:
    """Where the kernel shows the lab's network namespace."""
    return Path("/run/netns") / NAMESPACE


def inside(argv: list[str]) -> list[str]:
    """Return the command line that runs `argv` in the lab's network namespace.

    `ip netns exec` would also make a mount namespace, in which a node's disk would stay mounted.
    """
    return ["nsenter", f"--net={namespace_file()}", "--", *argv]


def up(profile: Profile) -> None:
    """Make namespace, bridge, addresses and pod routes; may be repeated."""
    if not namespace_file().exists():
        _refuse_overlap()
        run(["ip", "netns", "add", NAMESPACE])
    prefix = NETWORK.prefixlen
    if not _has_link(BRIDGE, ["-netns", NAMESPACE]):
        _ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
    _ip("link", "set", "lo", "up")
    _ip("address", "replace", f"{INFRA_ADDRESS}/{prefix}", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    if not _has_link(HOST_INTERFACE, []):
        peer = ["peer", "name", _CABLE_END, "netns", NAMESPACE]
        run(["ip", "link", "add", HOST_INTERFACE, "type", "veth", *peer])
    _ip("link", "set", _CABLE_END, "master", BRIDGE, "up")
    run(["ip", "address", "replace", f"{HOST_ADDRESS}/{prefix}", "dev", HOST_INTERFACE])
    run(["ip", "link", "set", HOST_INTERFACE, "up"])
    for node in profile.nodes:
        _ip("route", "replace", node.pod_network, "via", node.address)


def down() -> None:
    """Remove everything `up` made; bridge and cable go with the namespace."""
    if _has_link(HOST_INTERFACE, []):
        run(["ip", "link", "delete", HOST_INTERFACE])
    if namespace_file().exists():
        run(["ip", "netns", "delete", NAMESPACE])


def _ip(*arguments: str) -> None:
    run(["ip", "-netns", NAMESPACE, *arguments])


def _has_link(name: str, where: list[str]) -> bool:
    return run(["ip", *where, "link", "show", name], check=False).returncode == 0


def _refuse_overlap() -> None:
    """Raise when this machine already routes addresses of the lab's network somewhere else."""
    for line in output(["ip", "-4", "route", "show", "root", str(NETWORK)]).splitlines():
        raise LabError(
            f"the lab's network {NETWORK} is in use on this machine: {line.strip()}",
            "choose another with NSLAB_NETWORK=a.b.c.0/24",
        )
