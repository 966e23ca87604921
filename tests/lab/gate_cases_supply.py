"""apt and dpkg of the nodes, the package repositories and the registry; the lab hops from 1.34.4 to 1.35.4.

Without a repository a night has no target either, and ends before its gates: `detected` says so. What the gates would say
is asked about the target that was found before.
"""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

CASES: tuple[GateCase, ...] = (
    GateCase(
        "the next minor's repository is signed by a stranger",
        (("repo-wrong-signature", "1.35"),),
        "supply",
        "block",
        "REPOSITORY_REFUSED",
        ("1.35", "cp1", "NO_PUBKEY"),
        detected="blind",
    ),
    GateCase(
        "no repository answers",
        (("repo-away",),),
        "supply",
        "blind",
        "SUPPLY_SILENT",
        ("repository", "cp1"),
        detected="blind",
    ),
    GateCase(
        "a package that the index names and nobody has",
        (("package-missing", "kubelet", "1.35.4"),),
        "supply",
        "block",
        "PACKAGE_MISSING",
        ("kubelet=1.35.4-1.1", "404"),
    ),
    GateCase(
        "an image that is not in the registry",
        (("image-missing", "kube-apiserver:v1.35.4"),),
        "supply",
        "block",
        "IMAGE_MISSING",
        ("registry.k8s.io/kube-apiserver:v1.35.4", "404"),
    ),
    GateCase(
        "etcd's image is not in the registry",
        (("image-missing", "etcd:3.6.6-0"),),
        "supply",
        "block",
        "IMAGE_MISSING",
        ("registry.k8s.io/etcd:3.6.6-0",),
    ),
    GateCase(
        "a package is half configured",
        (("dpkg-half-configured", "w1"),),
        "packages",
        "block",
        "DPKG_UNFINISHED",
        ("w1", "nslab-broken", "half-configured"),
    ),
    GateCase(
        "dpkg's lock is held",
        (("apt-lock-held", "w2"),),
        "packages",
        "block",
        "DPKG_BUSY",
        ("w2", "python3", "pid"),
    ),
    GateCase(
        "a node wants a reboot",
        (("reboot-required", "w1"),),
        "packages",
        "warn",
        "REBOOT_PENDING",
        ("w1", "linux-image-amd64"),
    ),
)
