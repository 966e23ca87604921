"""The images of a release: their names, and what they took where it was measured.

Before staging the target's own kubeadm is not there to be asked. The tags of etcd, CoreDNS and pause are therefore a table
(kubernetes cmd/kubeadm/app/constants/constants.go of each minor's newest release read); a release it does not know is
counted by recorded sizes alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.domain.facts.images import TargetImage
from nightshift.domain.versions import Version

DEFAULT_REPOSITORY = "registry.k8s.io"

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
_OF_RELEASE = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)  # tagged v<release>
_EVERYWHERE = ("kube-proxy", "coredns", "pause")  # what a worker runs, or may have to
_TAGS: Mapping[str, Mapping[str, str]] = {
    "1.34": {"etcd": "3.6.5-0", "coredns": "v1.12.1", "pause": "3.10.1"},
    "1.35": {"etcd": "3.6.6-0", "coredns": "v1.13.1", "pause": "3.10.1"},
}


def images_of(version: str | None, repository: str, probe_image: str) -> tuple[TargetImage, ...]:
    """Every image that is fetched for a release, sizes not asked yet.

    Args:
        version: "1.35.4"; None: the target is not known.
        repository: kubeadm's imageRepository.
        probe_image: the policy's; every node gets it.
    """
    tags = dict.fromkeys(_OF_RELEASE, f"v{version}") if version else {}
    tags |= _TAGS.get(Version.parse(version).minor, {}) if version else {}
    images = [
        TargetImage(
            name,
            f"{repository}/{_path(name, repository)}:{tags[name]}" if name in tags else None,
            name in _EVERYWHERE,
            size,
        )
        for name, size in _RECORDED.items()
    ]
    return (*images, TargetImage("probe", probe_image, True, _PROBE_BYTES))


def _path(name: str, repository: str) -> str:
    """Where it is below the repository: CoreDNS has a place of its own in the default one only."""
    return "coredns/coredns" if name == "coredns" and repository == DEFAULT_REPOSITORY else name
