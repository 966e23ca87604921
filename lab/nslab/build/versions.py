"""Which versions belong together: kubeadm's own pins per Kubernetes release.

The pins are constants of `cmd/kubeadm/app/constants` in the release itself. They are written
down here, not read from the source, because the release source (official downloads) brings no
source code along; `tests/lab_unit/test_build_versions.py` fails when the table contradicts itself.
"""

from __future__ import annotations

from dataclasses import dataclass

# Names of the seven programs of one Kubernetes release that the lab needs.
NODE_COMMANDS = ("kubeadm", "kubelet", "kubectl")
IMAGE_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
KUBERNETES_COMMANDS = NODE_COMMANDS + IMAGE_COMMANDS


@dataclass(frozen=True)
class Release:
    """One Kubernetes release and what kubeadm of that release asks for."""

    version: str  # "1.34.4"
    etcd_tag: str  # image tag kubeadm pins, e.g. "3.6.5-0"
    coredns_tag: str  # "v1.12.1"
    godebug: str  # the release's `godebug default=`; decides run-time defaults of the binaries
    go: str  # lowest Go release its go.mod accepts, e.g. "1.24"
    pause_tag: str = "3.10.1"
    package_revision: str = "1.1"
    # crictl of this minor's repository. Upstream's for 1.35 is 1.35.0, which is not published as a Go module.
    cri_tools_version: str = "1.34.0"

    @property
    def minor(self) -> str:
        """Major and minor, "1.34" for "1.34.4"; names the package repository."""
        return self.version.rpartition(".")[0]

    @property
    def tag(self) -> str:
        """Image tag and git tag: "v1.34.4"."""
        return f"v{self.version}"

    @property
    def staging_version(self) -> str:
        """Version of k8s.io/api and its siblings that belongs to this release: "v0.34.4"."""
        return f"v0.{self.version.partition('.')[2]}"

    @property
    def package_version(self) -> str:
        """Version of the Debian packages: "1.34.4-1.1"."""
        return f"{self.version}-{self.package_revision}"

    @property
    def cri_tools_package_version(self) -> str:
        """Version of the Debian package cri-tools: "1.34.0-1.1"."""
        return f"{self.cri_tools_version}-{self.package_revision}"

    @property
    def etcd_version(self) -> str:
        """Version of the etcd programs: "3.6.5" of the image tag "3.6.5-0"."""
        return self.etcd_tag.partition("-")[0]

    @property
    def coredns_version(self) -> str:
        """Version of CoreDNS without the leading v."""
        return self.coredns_tag.removeprefix("v")


RELEASES = {
    r.version: r
    for r in (
        Release("1.34.2", "3.6.5-0", "v1.12.1", "go1.24", "1.24"),
        Release("1.34.4", "3.6.5-0", "v1.12.1", "go1.24", "1.24"),
        Release("1.35.4", "3.6.6-0", "v1.13.1", "go1.25", "1.25"),
    )
}


def release(version: str) -> Release:
    """Return the release `version`; raise ValueError naming the known ones for any other."""
    try:
        return RELEASES[version.removeprefix("v")]
    except KeyError:
        known = ", ".join(RELEASES)
        raise ValueError(f"the lab has no pins for Kubernetes {version}; known are {known}") from None
