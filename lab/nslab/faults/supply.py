"""Faults of what the nodes download: an image or a package that the supplier does not have.

Both are kept in the lab's cache, which outlives every lab; so they are renamed, never deleted,
and `forget` undoes them when a lab goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nslab.faults.model import Case, Fault, read_arguments
from nslab.nodes.infra import Sources
from nslab.shell import LabError

IMAGE_USAGE = "image-missing IMAGE:TAG"
PACKAGE_USAGE = "package-missing PACKAGE VERSION"
PREFIX = "registry.k8s.io/"
SUFFIX = ".nslab-missing"


def parse_image(arguments: Sequence[str]) -> list[Case]:
    """Read `IMAGE:TAG`, with or without registry.k8s.io/ before it."""
    (image,) = read_arguments(arguments, IMAGE_USAGE, 1)
    name, _, tag = image.removeprefix(PREFIX).rpartition(":")
    if not name or "/" in tag:
        raise LabError(f"{image} has no tag", "name it like kube-apiserver:v1.35.4")
    registry = Sources.load().registry
    path = registry / "docker/registry/v2/repositories" / name / "_manifests/tags" / tag
    _require(path, f"the lab's registry has no image {name}:{tag}")
    return [Case("image-missing", f"{name}:{tag}", {"paths": [str(path)]})]


def parse_package(arguments: Sequence[str]) -> list[Case]:
    """Read `PACKAGE VERSION`; the repository's index goes on naming the package."""
    package, version = read_arguments(arguments, PACKAGE_USAGE, 2)
    found = sorted(Sources.load().packages.rglob(f"{package}_{version}-*.deb*"))
    if not found:
        raise LabError(f"the lab's repositories have no {package} {version}", "name it like kubeadm 1.35.4")
    paths = [str(path).removesuffix(SUFFIX) for path in found]
    return [Case("package-missing", f"{package}={version}", {"paths": paths})]


def take_away(case: Case) -> str:
    """Rename, so that the next download gets "not found"."""
    for path in map(Path, case.names("paths")):
        if path.exists():
            path.rename(_aside(path))
    return f"{case.subject} cannot be downloaded (nodes that have it already keep it)"


def put_back(case: Case) -> str:
    """Rename back; where the lab's builder has made it again meanwhile, the newer one stays."""
    for path in map(Path, case.names("paths")):
        if _aside(path).exists() and not path.exists():
            _aside(path).rename(path)
    return f"{case.subject} can be downloaded again"


def _aside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _require(path: Path, cause: str) -> None:
    if not path.exists() and not _aside(path).exists():
        tags = sorted(p.name for p in path.parent.glob("*")) if path.parent.exists() else []
        raise LabError(cause, f"its tags are {', '.join(tags)}" if tags else "images are kept by name:tag")


IMAGE_MISSING = Fault(
    "image-missing", IMAGE_USAGE, "take an image out of the lab's registry",
    parse_image, take_away, put_back, outlives_reset=True,
)  # fmt: skip
PACKAGE_MISSING = Fault(
    "package-missing", PACKAGE_USAGE, "take a .deb away that the repository's index still names",
    parse_package, take_away, put_back, outlives_reset=True,
)  # fmt: skip
