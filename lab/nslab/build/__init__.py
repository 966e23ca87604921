"""The lab's builder: programs, packages and images of Kubernetes, made once and kept in the cache.

`ensure_all` makes what is missing and returns where everything is. Below NSLAB_CACHE
(`/var/cache/nightshift-lab`) it keeps

    binaries/     programs per version, from dl.k8s.io or built from Go modules (`binaries.py`)
    go/           a Go toolchain, only where the machine has none that fits (`toolchain.py`)
    go-build/ go-mod/   Go's caches, unless GOCACHE/GOMODCACHE point elsewhere
    debs/ packages/     Debian packages, and the signed repositories v1.34/deb, v1.35/deb (`packages.py`)
    registry/     file store of a docker-registry with all images (`images.py`)
    signing-key-r1/     the key of the repositories

Every finished directory is named after its version and a recipe number and appears by rename, so an
interrupted build resumes with what it had and nothing half-made is ever used. `python3 -m
nslab.build 1.34.4 1.35.4`, run in `lab/`, does the same for debugging.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nslab.build import binaries, images, packages
from nslab.build.store import BuildError, Report
from nslab.build.versions import Release, release

__all__ = ["Artifacts", "BuildError", "Release", "ensure_all", "release"]


@dataclass(frozen=True)
class Artifacts:
    """Where the finished things are."""

    repo_root: Path  # serve over HTTP: v1.34/deb/, v1.35/deb/
    registry_root: Path  # `rootdirectory` of a docker-registry's filesystem storage
    keyring: Path  # binary public key of the repositories, for `signed-by=`
    bin_dir_by_version: dict[str, Path]  # "1.34.4" → directory with kubeadm, kubectl, …
    etcd_dir_by_version: dict[str, Path]  # "1.34.4" → directory with etcd, etcdctl, etcdutl


def ensure_all(versions: list[str], report: Report = print) -> Artifacts:
    """Make everything clusters of these Kubernetes versions need, saying through `report` what is being done.

    Raises BuildError (a LabError) with cause and next step. Interrupting it is safe.
    """
    releases = [release(v) for v in versions]
    steps = _steps(releases)
    for number, make in enumerate(steps, 1):
        make(_numbered(report, number, len(steps)))
    return Artifacts(
        repo_root=packages.REPO_ROOT,
        registry_root=images.REGISTRY_ROOT,
        keyring=packages.keyring(report),
        bin_dir_by_version={r.version: binaries.ensure_kubernetes(r.version, report) for r in releases},
        etcd_dir_by_version={r.version: binaries.ensure_etcd(r.etcd_version, report) for r in releases},
    )


def _steps(releases: list[Release]) -> list[Callable[[Report], object]]:
    """Return what has to be there, slow things first; a step that finds its result says nothing."""
    names = [r.version for r in releases]
    etcds = sorted({r.etcd_version for r in releases})
    servers = sorted({r.coredns_version for r in releases})
    tools = sorted({r.cri_tools_version for r in releases})
    return [
        *(partial(binaries.ensure_kubernetes, name) for name in names),
        *(partial(binaries.ensure_etcd, version) for version in etcds),
        *(partial(binaries.ensure_coredns, version) for version in servers),
        *(partial(binaries.ensure_cri_tools, version) for version in tools),
        partial(packages.ensure_repositories, names),
        partial(images.ensure_images, names),
    ]


def _numbered(report: Report, number: int, total: int) -> Report:
    return lambda text: report(f"[{number}/{total}] {text}")
