"""What this machine must offer before a lab can run on it, in plain sentences.

Each check really tries what the lab will do where that leaves no trace, because a kernel that has
a feature and a container that may use it are two things.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nslab.build import binaries, toolchain
from nslab.build.versions import release
from nslab.nodes import cgroups, network
from nslab.settings import BRIDGE, CACHE_DIR, FROM_VERSION, NETWORK, TARGET_VERSION
from nslab.shell import LabError, output, run

GIB = 2**30
MODULES = (
    "loop",
    "xfs",
    "ext4",
    "overlay",
    "bridge",
    "veth",
    "br_netfilter",
    "nf_nat",
    "ip_tables",
    "nf_tables",
)
CONTROLLERS = {"cpu", "cpuset", "memory", "pids"}
# With nothing cached: Go's caches, binaries, images, packages, base system, disks.
_DISK_COLD, _DISK_WARM, _MEMORY = 25 * GIB, 6 * GIB, 4 * GIB
_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """The result of one check; a lab cannot run when an essential one is not `fine`."""

    fine: bool
    sentence: str
    essential: bool = True

    def __str__(self) -> str:
        mark = "ok  " if self.fine else ("LACK" if self.essential else "note")
        return f"{mark}  {self.sentence}"


def examine() -> list[Finding]:
    """Run every check; without root only those that need no rights."""
    findings = [_python(), _root(), _apt(), _tools(), _disk(), _memory(), _controllers()]
    if os.geteuid() == 0:
        load_modules()
        findings += [_file_systems(), _loop(), _addresses(), _try("network", _try_network), _bridge_filter()]
        findings.append(_try("firewall rules inside a node", _try_firewall))
    return findings


def supply() -> list[Finding]:
    """Say where programs that are not cached yet come from; asks the release server, so `up` does not do it."""
    reasons: list[str] = []
    try:
        source = binaries.source(reasons.append)
    except LabError as error:
        return [Finding(False, str(error))]
    if source == "modules":
        minimum = max((release(v).go for v in (FROM_VERSION, TARGET_VERSION)), key=toolchain.release_number)
        kubernetes = reasons[0] if reasons else "Kubernetes is built from Go modules, as NSLAB_SOURCE says"
    else:
        minimum = binaries.GO_OF_OTHERS
        kubernetes = f"Kubernetes is downloaded from {binaries.RELEASE_SERVER}"
    go = toolchain.find_go(minimum)
    means = f"with {go}" if go else f"with Go {toolchain.TOOLCHAIN}, which `lab up` fetches"
    return [
        Finding(True, f"what is not cached yet: {kubernetes}"),
        Finding(
            True,
            f"what is not cached yet: etcd, CoreDNS and crictl are always built from Go modules, {means}",
        ),
    ]


def demand() -> None:
    """Raise `LabError` with everything essential that is lacking."""
    lacking = [f.sentence for f in examine() if not f.fine and f.essential]
    if lacking:
        raise LabError(
            "this machine cannot run the lab:\n  - " + "\n  - ".join(lacking), "see `lab/lab doctor`"
        )


def load_modules() -> None:
    """Ask the kernel for the modules the nodes need; built-in ones and machines without modules are fine."""
    if shutil.which("modprobe"):
        for module in MODULES:
            run(["modprobe", "--quiet", module], check=False)


def missing_controllers(controllers: set[str]) -> list[str]:
    """Return the cgroup controllers the kubelet needs that are not among `controllers`."""
    return sorted(CONTROLLERS - controllers)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(sys.version_info >= _PYTHON, f"Python is {version}; the lab needs 3.11 or newer")


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding(True, "running as root")
    return Finding(False, "not running as root; disks, networks and containers need it (use sudo)")


def _apt() -> Finding:
    fine = bool(shutil.which("apt-get") and shutil.which("dpkg"))
    return Finding(
        fine, "apt-get is there" if fine else "no apt-get; the lab needs Debian (bookworm) or a child of it"
    )


def _tools() -> Finding:
    wanted = {"debootstrap": "debootstrap", "mkfs.xfs": "xfsprogs", "systemd-nspawn": "systemd-container"}
    wanted |= {"ip": "iproute2", "ssh-keygen": "openssh-client", "gpg": "gnupg"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if not missing:
        return Finding(True, "the programs that make disks, networks and nodes are installed")
    return Finding(False, f"`lab up` will install: {', '.join(missing)}", essential=False)


def _disk() -> Finding:
    place = next(p for p in (CACHE_DIR, *CACHE_DIR.parents) if p.exists())
    free = shutil.disk_usage(place).free
    needed = _DISK_WARM if (CACHE_DIR / "pool.xfs").exists() else _DISK_COLD
    return Finding(free >= needed, f"{free // GIB} GiB free at {place}; {needed // GIB} GiB are needed")


def _memory() -> Finding:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    sentence = f"{available / GIB:.1f} GiB of memory available; `small` takes about 2 GiB, `ha` 4 GiB"
    return Finding(available >= _MEMORY, sentence, essential=available < 2 * GIB)


def _controllers() -> Finding:
    available: set[str] = set()
    for tree in cgroups.hierarchies():
        listing = tree / "cgroup.controllers"
        available.update(listing.read_text().split() if listing.exists() else tree.name.split(","))
    missing = missing_controllers(available)
    if missing:
        return Finding(
            False, f"cgroup controllers are missing: {', '.join(missing)}; the kubelet does not start so"
        )
    return Finding(True, "cgroup controllers for pods are there")


def _file_systems() -> Finding:
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    missing = sorted({"xfs", "ext4", "overlay"} - known)
    if missing:
        return Finding(False, f"the kernel lacks the file systems {', '.join(missing)}")
    return Finding(True, "the kernel has XFS, ext4 and overlay")


def _loop() -> Finding:
    done = run(["losetup", "--find"], check=False)
    if done.returncode:
        return Finding(False, f"no free loop device (disks of nodes are files): {done.stderr.strip()}")
    return Finding(True, "loop devices are there")


def _addresses() -> Finding:
    routes = output(["ip", "-4", "route", "show", "root", str(NETWORK)]).splitlines()
    foreign = [line.strip() for line in routes if f"dev {BRIDGE} " not in f"{line} "]
    if foreign:
        return Finding(
            False, f"the lab's network {NETWORK} is in use here ({foreign[0]}); set NSLAB_NETWORK to another"
        )
    return Finding(True, f"the lab's network {NETWORK} is free")


def _bridge_filter() -> Finding:
    if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        return Finding(True, "bridged packets can be filtered (br_netfilter), as kube-proxy needs")
    return Finding(
        False, "the kernel module br_netfilter is missing; Services would not work between pods of a node"
    )


def _try(what: str, attempt: Callable[[str], None]) -> Finding:
    """Try something in a network namespace made for it."""
    namespace = f"{network.NAMESPACE}-doctor-{uuid.uuid4().hex[:6]}"
    try:
        run(["ip", "netns", "add", namespace])
        attempt(namespace)
    except LabError as error:
        return Finding(False, f"{what} cannot be set up here: {error}")
    finally:
        run(["ip", "netns", "delete", namespace], check=False)
    return Finding(True, f"{what} can be set up")


def _try_network(namespace: str) -> None:
    inside = ["ip", "-netns", namespace, "link", "add"]
    run([*inside, "lab-bridge", "type", "bridge"])
    run([*inside, "lab-a", "type", "veth", "peer", "name", "lab-b"])


def _try_firewall(namespace: str) -> None:
    """Kube-proxy's kind of rules; skipped where the machine has no iptables, the nodes bring their own."""
    if not shutil.which("iptables"):
        return
    rule = ["-A", "OUTPUT", "-p", "tcp", "-d", "10.96.0.1", "-m", "comment", "--comment", "lab"]
    target = [
        "-m",
        "statistic",
        "--mode",
        "random",
        "--probability",
        "0.5",
        "-j",
        "DNAT",
        "--to-destination",
        "10.0.0.1:1",
    ]
    run(["nsenter", f"--net=/run/netns/{namespace}", "--", "iptables", "-t", "nat", *rule, *target])
