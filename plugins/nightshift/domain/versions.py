"""Kubernetes versions as numbers that can be compared, and the skew rules Kubernetes publishes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

# "1.34.4", "v1.34.4" and Debian package versions "1.34.4-1.1". A textual suffix ("-rc.1", "+k3s1") is refused
# on purpose: such a cluster is not one kubeadm made from stable packages.
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-(\d+(?:\.\d+)*))?")
_MINOR = re.compile(r"v?(\d+)\.(\d+)")

MAX_KUBELET_MINORS_BEHIND = 3  # kubelet may be up to three minors older than any API server, never newer
MAX_PROXY_MINORS_BEHIND = 3  # kube-proxy: three older than any API server, never newer
MAX_PROXY_MINORS_FROM_KUBELET = 3  # and three older or newer than the kubelet beside it
MAX_COMPONENT_MINORS_BEHIND = 1  # controller-manager, scheduler and sibling API servers: one


@dataclass(frozen=True, order=True)
class Version:
    """A Kubernetes release. Package revisions are not part of it: 1.34.4-1.1 is release 1.34.4."""

    major: int
    minor_number: int
    patch: int

    @staticmethod
    @lru_cache(maxsize=1024)  # a thousand nodes run a handful of releases
    def parse(text: str) -> Version:
        """Read "1.34.4", "v1.34.4" or a package version "1.34.4-1.1".

        Raises:
            ValueError: for anything else, pre-releases and vendor suffixes included.
        """
        match = _VERSION.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not a Kubernetes release version: {text!r}")
        return Version(int(match[1]), int(match[2]), int(match[3]))

    @property
    def minor(self) -> str:
        """Return the minor as people write it, e.g. "1.34"."""
        return f"{self.major}.{self.minor_number}"

    def minors_ahead_of(self, other: Version) -> int:
        """Tell how many minors this release is ahead of the other (negative: behind)."""
        return (self.major - other.major) * 1000 + self.minor_number - other.minor_number

    def __str__(self) -> str:
        """Return "1.34.4", without a leading v."""
        return f"{self.major}.{self.minor_number}.{self.patch}"


def parse_minor(text: str) -> tuple[int, int]:
    """Read "1.35" or "v1.35" as (1, 35).

    Raises:
        ValueError: for anything else.
    """
    match = _MINOR.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a Kubernetes minor: {text!r}")
    return int(match[1]), int(match[2])


def next_minor(minor: str) -> str:
    """Return the minor after this one: "1.34" -> "1.35"."""
    major, number = parse_minor(minor)
    return f"{major}.{number + 1}"


def newest_package(package_versions: Iterable[str], release: Version) -> str | None:
    """Return the package of this release with the highest revision, e.g. "1.35.4-1.2"; None = none."""
    candidates = [p for p in package_versions if _release_or_none(p) == release]
    return max(candidates, key=_revision, default=None)


def releases_in(package_versions: Iterable[str]) -> tuple[Version, ...]:
    """Return the releases these packages are of, oldest first; packages of no stable release are left out."""
    return tuple(sorted({v for v in map(_release_or_none, package_versions) if v is not None}))


def kubelet_skew_problem(kubelet: Version, api_server: Version) -> str | None:
    """Say why this kubelet may not talk to this API server, or None when it may."""
    behind = api_server.minors_ahead_of(kubelet)
    if behind < 0:
        return f"kubelet {kubelet} is newer than API server {api_server}"
    if behind > MAX_KUBELET_MINORS_BEHIND:
        return (
            f"kubelet {kubelet} is {behind} minors older than API server {api_server} "
            f"(at most {MAX_KUBELET_MINORS_BEHIND} are supported)"
        )
    return None


def component_skew_problem(component: str, version: Version, api_server: Version) -> str | None:
    """Say why this controller-manager or scheduler may not talk to this API server, or None when it may."""
    return _behind_problem(component, version, api_server, MAX_COMPONENT_MINORS_BEHIND)


def proxy_skew_problem(proxy: Version, api_server: Version) -> str | None:
    """Say why this kube-proxy may not talk to this API server, or None when it may."""
    return _behind_problem("kube-proxy", proxy, api_server, MAX_PROXY_MINORS_BEHIND)


def _behind_problem(component: str, version: Version, api_server: Version, most: int) -> str | None:
    """Say why a client of this API server is too new or too old for it."""
    behind = api_server.minors_ahead_of(version)
    if behind < 0:
        return f"{component} {version} is newer than API server {api_server}"
    if behind > most:
        return (
            f"{component} {version} is {behind} minors older than API server {api_server} "
            f"(at most {most} {'is' if most == 1 else 'are'} supported)"
        )
    return None


def proxy_kubelet_skew_problem(proxy: Version, kubelet: Version) -> str | None:
    """Say why this kube-proxy may not run beside this kubelet, or None when it may."""
    apart = abs(kubelet.minors_ahead_of(proxy))
    if apart > MAX_PROXY_MINORS_FROM_KUBELET:
        return (
            f"kube-proxy {proxy} and kubelet {kubelet} are {apart} minors apart "
            f"(at most {MAX_PROXY_MINORS_FROM_KUBELET} are supported)"
        )
    return None


def _release_or_none(package_version: str) -> Version | None:
    try:
        return Version.parse(package_version)
    except ValueError:
        return None


def _revision(package_version: str) -> tuple[int, ...]:
    _, _, revision = package_version.partition("-")
    return tuple(int(part) for part in revision.split(".")) if revision else ()
