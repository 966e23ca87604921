"""The root file system every node starts from: Debian as debootstrap makes it, plus the lab's files.

It knows no Kubernetes version; kubeadm, kubelet and kubectl come from the lab's package
repository when a cluster is made, as they would on any machine.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from nslab.debian import debian_source
from nslab.nodes import identity, pool
from nslab.progress import Report
from nslab.shell import run

RECIPE = 2  # raise when the packages, masked or enabled units change (files are laid anew with every disk)
SUITE = "bookworm"
DISK_SIZE = "20G"  # apparent size of a node's disk

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "procps", "kmod", "python3-minimal"),
    *(
        "iproute2",
        "iptables",
        "nftables",
        "conntrack",
        "ethtool",
        "socat",
        "iputils-ping",
        "curl",
        "ca-certificates",
    ),
    *("containerd", "runc", "containernetworking-plugins", "gnupg", "jq", "prometheus-node-exporter"),
)
# udev would manage the machine's devices from inside a node; consoles have nobody sitting at them.
MASKED_UNITS = (
    *("console-getty.service", "getty.target", "systemd-networkd.service", "systemd-resolved.service"),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-timesyncd.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer"),
    # It would set kernel parameters of the machine itself.
    "systemd-sysctl.service",
)


def image() -> Path:
    """Where the base disk of the present recipe is kept in the pool."""
    return pool.BASE / f"{SUITE}-r{RECIPE}.img"


def ensure(report: Report) -> Path:
    """Return the base disk, building it when this recipe has not been built yet."""
    if image().exists():
        return image()
    with report.step(
        f"base-{SUITE}-r{RECIPE}", f"building the nodes' base system (Debian {SUITE}, debootstrap)"
    ):
        _build()
    return image()


def _build() -> None:
    root = pool.SCRATCH / "base-root"
    partial = pool.SCRATCH / image().name
    shutil.rmtree(root, ignore_errors=True)
    include = ",".join(PACKAGES)
    keyring = "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"
    mirror, _ = debian_source()  # the machine's own; its release may be another one than the nodes'
    run(["debootstrap", "--variant=minbase", keyring, f"--include={include}", SUITE, str(root), mirror])
    _configure(root)
    partial.unlink(missing_ok=True)
    # No reserved blocks: `df`, the kubelet and a planted fill then agree on what is free.
    run(["mkfs.ext4", "-q", "-m", "0", "-d", str(root), str(partial), DISK_SIZE])
    for outdated in pool.BASE.glob("*.img"):
        outdated.unlink()
    partial.rename(image())
    shutil.rmtree(root)


def _configure(root: Path) -> None:
    """Put the lab's files into a fresh root and leave nothing in it that points outside the lab."""
    identity.lay_files(root)
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(exist_ok=True)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    systemctl = ["systemctl", f"--root={root}"]
    run([*systemctl, "mask", *MASKED_UNITS])
    run([*systemctl, "enable", "nslab-node.service", "ssh.service", "containerd.service"])
    for cached in (root / "var/cache/apt/archives").glob("*.deb"):
        cached.unlink()
    shutil.rmtree(root / "var/lib/apt/lists")
    (root / "var/lib/apt/lists").mkdir()
