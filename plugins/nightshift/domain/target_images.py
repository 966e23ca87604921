"""The images of a release: which of them every node gets, and what they took where it was measured.

Their names are those the gate supply asks for (`domain.gates.supply.target_images`); an image whose tag nobody knows
is counted by its recorded size alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from nightshift.domain.facts.images import TargetImage

_MB = 10**6
# Compressed, amd64, of the images built from 1.35.4 (kube-proxy with Debian's iptables); the published ones are smaller.
_RECORDED = {
    "kube-apiserver": 34 * _MB,
    "kube-controller-manager": 31 * _MB,
    "kube-scheduler": 24 * _MB,
    "kube-proxy": 64 * _MB,
    "etcd": 25 * _MB,
    "coredns": 26 * _MB,
    "pause": 1 * _MB,
}
_PROBE_BYTES = 60 * _MB
_EVERYWHERE = ("kube-proxy", "coredns", "pause")  # what a worker runs, or may have to
ALL_NAMES = tuple(_RECORDED)


def images_of(
    references: Iterable[str], untagged: Iterable[str], probe_image: str
) -> tuple[TargetImage, ...]:
    """Every image that is fetched for a release, sizes not asked yet.

    Args:
        references: kubeadm's, "registry.k8s.io/etcd:3.6.6-0".
        untagged: names of those whose tags are not known; `ALL_NAMES` when nothing is known about the release.
        probe_image: the policy's; every node gets it.
    """
    known = {_name(reference): reference for reference in references} | dict.fromkeys(untagged)
    images = [
        TargetImage(name, reference, name in _EVERYWHERE, _RECORDED[name])
        for name, reference in known.items()
    ]
    return (*images, TargetImage("probe", probe_image, True, _PROBE_BYTES))


def is_everywhere(reference: str) -> bool:
    """Tell whether workers need it, too: everything that is no part of a control plane, the probe's image included."""
    name = _name(reference)
    return name in _EVERYWHERE or name not in _RECORDED


def _name(reference: str) -> str:
    return reference.rpartition("/")[2].partition(":")[0]
