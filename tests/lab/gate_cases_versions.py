"""What new minors no longer bear, and add-ons that do not bear the new minor; the lab hops from 1.34 to 1.35."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

_OWN = {
    "name": "our-operator",
    "images": ["ourteam/operator"],
    "releases": [{"release": "2.4", "oldest": "1.32", "newest": "1.34"}],
    "source": "https://wiki.example/operator",
}

CASES: tuple[GateCase, ...] = (
    GateCase(
        "a flag the new kubelet does not know",
        (("kubelet-flag", "w1", "pod-infra-container-image=registry.k8s.io/pause:3.10.1"),),
        "version_killers",
        "block",
        "VERSION_KILLER",
        ("--pod-infra-container-image", "kubelet on w1", "/etc/default/kubelet", "1.35"),
    ),
    GateCase(
        "a feature gate that is gone",
        (("kubelet-flag", "w1", "feature-gates=SizeMemoryBackedVolumes=true"),),
        "version_killers",
        "block",
        "VERSION_KILLER",
        ("SizeMemoryBackedVolumes=true", "kubelet on w1", "unrecognized feature gate"),
    ),
    GateCase(
        "an add-on whose newer release bears the minor",
        (("addon", "quay.io/calico/node:v3.29.1"),),
        "compatibility",
        "block",
        "ADDON_TOO_OLD",
        ("calico 3.29.1", "Deployment default/nslab-addon", "1.35", "3.30"),
    ),
    GateCase(
        "an add-on that its owner keeps where it is",
        (("addon", "quay.io/calico/node:v3.29.1"),),
        "compatibility",
        "hold",
        "ADDON_PINNED",
        ("calico 3.29.1", "you pinned it"),
        policy={"compatibility": {"pinned": ["calico"]}},
    ),
    GateCase(
        "an add-on without a release for the minor",
        (("addon", "registry.example/ourteam/operator:2.4.7"),),
        "compatibility",
        "hold",
        "ADDON_UPSTREAM",
        ("our-operator 2.4.7", "no known release does"),
        policy={"compatibility": {"addons": [_OWN]}},
    ),
)
