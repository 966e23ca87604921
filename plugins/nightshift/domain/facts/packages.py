"""How apt and dpkg of a node are: what would make an installation fail or hang."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.round import NodeTopic

# What a job installs: holds of these are taken off and set again (include/scripts/node/lib/holds.sh).
LIFTED_HOLDS = frozenset({"kubeadm", "kubelet", "kubectl", "kubernetes-cni", "cri-tools"})


@dataclass(frozen=True)
class LockHolder:
    """A process that holds dpkg's lock."""

    pid: int
    command: str  # its command line, shortened
    file: str  # "/var/lib/dpkg/lock-frontend"
    seconds: float  # how long the process runs


@dataclass(frozen=True)
class BrokenPackage:
    """A package that dpkg did not bring to its end."""

    name: str
    state: str  # "half-configured", "unpacked", …, or "reinst-required"


@dataclass(frozen=True)
class PackageHealth:
    """dpkg and apt of one node.

    Args:
        locks: who holds dpkg's locks now.
        broken: packages dpkg left half way.
        has_journal: an interrupted dpkg left its journal (/var/lib/dpkg/updates).
        unattended: running unattended upgrades, as "pid command".
        held: packages held back; kubeadm, kubelet and kubectl usually are.
        needs_reboot: /run/reboot-required is there.
        reboot_packages: what asked for it, as far as written down.
    """

    locks: tuple[LockHolder, ...] = ()
    broken: tuple[BrokenPackage, ...] = ()
    has_journal: bool = False
    unattended: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    needs_reboot: bool = False
    reboot_packages: tuple[str, ...] = ()


PACKAGES = NodeTopic[PackageHealth]("packages", "the state of apt and dpkg")
