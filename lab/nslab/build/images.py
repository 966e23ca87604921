"""OCI images, written straight into the file store of a docker-registry.

The store's layout is the registry's public on-disk format (`docker/registry/v2/…`): blobs under their
digest, and small link files that give them names. Writing it needs no daemon and no port, and since
the tag's link comes last and by rename, an interrupted run leaves nothing that can be pulled half.

The images are minimal: one static program and PATH. Only kube-proxy (iptables, conntrack) and the
probe (curl) need a user land; they share one layer of Debian.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from nslab.build import binaries
from nslab.build.store import Report, ensure_directory, lock, sync, usual_umask, write_text
from nslab.build.toolchain import ensure_go, run_go
from nslab.build.versions import IMAGE_COMMANDS, Release, release
from nslab.debian import debian_source, ensure_debian_packages
from nslab.settings import CACHE_DIR
from nslab.shell import run

# Raise the number when a change here makes finished images (or the shared layer) wrong.
RECIPE = 1
REGISTRY_ROOT = CACHE_DIR / "registry"
WEB_IMAGE = "nightshift-lab/web:1"
PROBE_IMAGE = "nightshift-lab/probe:1"

_STORE = REGISTRY_ROOT / "docker/registry/v2"
_LAYERS = CACHE_DIR / "layers"
_PROGRAMS = Path(__file__).with_name("programs")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USERLAND = "iptables,nftables,conntrack,kmod,iproute2,curl,ca-certificates,busybox"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Image:
    """What an image consists of; `name` is as under registry.k8s.io, e.g. "etcd:3.6.5-0"."""

    name: str
    programs: tuple[Path, ...] = ()
    directory: str = "usr/local/bin"  # where the programs are in the image
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    userland: bool = False  # on top of the Debian layer instead of nothing


@dataclass(frozen=True)
class Blob:
    """A stored blob: its digest ("sha256:…"), size in bytes and, for layers, the unpacked tar's digest."""

    digest: str
    size: int
    diff_id: str = ""


def ensure_images(versions: list[str], report: Report = print) -> Path:
    """Return the registry's root directory; it holds every image clusters of `versions` need."""
    images: dict[str, Image] = {}
    for version in versions:
        images |= {i.name: i for i in _images_of(release(version), report)}
    images |= {i.name: i for i in _common_images(report)}
    with lock("registry", report), usual_umask():
        missing = [image for image in images.values() if not _is_stored(image)]
        for number, image in enumerate(missing, 1):
            report(f"image {number} of {len(missing)}: {image.name}")
            _store_image(image, report)
    return REGISTRY_ROOT


def _images_of(rel: Release, report: Report) -> list[Image]:
    """Return the images kubeadm of this release pulls, without pause."""
    kubernetes = binaries.ensure_kubernetes(rel.version, report)
    etcd = binaries.ensure_etcd(rel.etcd_version, report)
    coredns = binaries.ensure_coredns(rel.coredns_version, report)
    images = [
        Image(f"{name}:{rel.tag}", (kubernetes / name,), userland=name == "kube-proxy")
        for name in IMAGE_COMMANDS
    ]
    etcd_programs = tuple(etcd / name for name in ("etcd", "etcdctl", "etcdutl"))
    images.append(Image(f"etcd:{rel.etcd_tag}", etcd_programs))
    images.append(
        Image(f"coredns/coredns:{rel.coredns_tag}", (coredns / "coredns",), "", entrypoint=("/coredns",))
    )
    # kubeadm's health check job runs pause with runAsNonRoot, so the user must be a number.
    pause = ensure_programs(report) / "pause"
    images.append(Image(f"pause:{rel.pause_tag}", (pause,), "", entrypoint=("/pause",), user="65535:65535"))
    return images


def _common_images(report: Report) -> list[Image]:
    web = ensure_programs(report) / "web"
    return [
        Image(WEB_IMAGE, (web,), "", entrypoint=("/web",), user="65535:65535"),
        Image(PROBE_IMAGE, userland=True, command=("sleep", "infinity")),
    ]


def ensure_programs(report: Report = print) -> Path:
    """Return a directory with the lab's own small programs: pause and web."""
    return ensure_directory(
        CACHE_DIR / "binaries" / f"programs-r{RECIPE}", lambda out: _build_programs(out, report), report
    )


def _build_programs(out: Path, report: Report) -> None:
    work = out / ".source"
    shutil.copytree(_PROGRAMS, work)
    run_go(
        ensure_go("1.24", report), ["build", "-trimpath", "-ldflags", "-s -w", "-o", f"{out}/", "./..."], work
    )


def _ensure_userland(report: Report) -> Path:
    """Return a directory with `layer.tar.gz`: Debian with what kube-proxy and the probe need."""
    return ensure_directory(_LAYERS / f"userland-r{RECIPE}", lambda out: _build_userland(out, report), report)


def _build_userland(out: Path, report: Report) -> None:
    ensure_debian_packages({"debootstrap": "makes the Debian layer of two container images"}, report)
    mirror, codename = debian_source()
    root = out / "root"
    run(["debootstrap", "--variant=minbase", f"--include={_USERLAND}", codename, str(root), mirror])
    for bulk in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / bulk, ignore_errors=True)
    for machine_specific in ("etc/apt/sources.list", "etc/resolv.conf", "etc/hostname"):
        (root / machine_specific).unlink(missing_ok=True)
    (root / "usr/local/bin/nslookup").symlink_to("/bin/busybox")
    blob = write_layer(out / "layer.tar.gz", lambda tar: _fill_tree(root, tar))
    (out / "blob.json").write_text(json.dumps(asdict(blob)))
    shutil.rmtree(root)


def _fill_tree(root: Path, tar: tarfile.TarFile) -> None:
    for entry in sorted(root.iterdir()):
        tar.add(entry, arcname=entry.name, filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave device nodes out: the container runtime makes its own, and unpacking them needs rights."""
    return None if info.ischr() or info.isblk() else info


def _stamp(name: str) -> Path:
    return REGISTRY_ROOT / "stamps" / f"{name.replace('/', '_').replace(':', '_')}.json"


def _is_stored(image: Image) -> bool:
    """True when the tag still names the manifest this recipe made; a removed or changed tag is made anew."""
    repository, tag = image.name.split(":")
    try:
        stamp = json.loads(_stamp(image.name).read_text())
        current = _tag_link(repository, tag).read_text()
    except (OSError, ValueError):
        return False
    return stamp == {"recipe": RECIPE, "digest": current} and _blob_path(current).is_file()


def _store_image(image: Image, report: Report) -> None:
    layers = []
    if image.userland:
        layers.append(_put_userland(report))
    if image.programs:
        layers.append(_put_layer(lambda tar: _fill_programs(image, tar)))
    config = put_blob(_json(_config(image, layers)))
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": _LAYER, "digest": b.digest, "size": b.size} for b in layers],
    }
    digest = put_blob(_json(manifest)).digest
    _link(image.name, digest, [b.digest for b in (config, *layers)])
    write_text(_stamp(image.name), json.dumps({"recipe": RECIPE, "digest": digest}))


def _put_userland(report: Report) -> Blob:
    made = _ensure_userland(report)
    blob = Blob(**json.loads((made / "blob.json").read_text()))
    if not _blob_path(blob.digest).is_file():
        incoming = _incoming()
        incoming.unlink(missing_ok=True)
        os.link(made / "layer.tar.gz", incoming)
        _adopt(incoming, blob)
    return blob


def _config(image: Image, layers: list[Blob]) -> dict[str, object]:
    run_time: dict[str, object] = {"Env": [_PATH], "WorkingDir": "/"}
    if image.entrypoint:
        run_time["Entrypoint"] = list(image.entrypoint)
    if image.command:
        run_time["Cmd"] = list(image.command)
    if image.user:
        run_time["User"] = image.user
    return {
        "architecture": binaries.architecture(),
        "os": "linux",
        "config": run_time,
        "rootfs": {"type": "layers", "diff_ids": [b.diff_id for b in layers]},
    }


def _fill_programs(image: Image, tar: tarfile.TarFile) -> None:
    """Write the image's programs, and on an empty base the directories around them."""
    if not image.userland:
        tar.addfile(_directory("tmp", 0o1777))
        for parent in reversed(PurePosixPath(image.directory).parents):
            if parent.name:
                tar.addfile(_directory(str(parent)))
        if image.directory:
            tar.addfile(_directory(image.directory))
    for program in image.programs:
        info = tarfile.TarInfo(str(PurePosixPath(image.directory) / program.name))
        info.size, info.mode = program.stat().st_size, 0o755
        with program.open("rb") as data:
            tar.addfile(info, data)


def _directory(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info


class _Hashing:
    """Passes what is written on to `inner`, counting and hashing it."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self.size += len(data)
        return self._inner.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"


def write_layer(path: Path, fill: Callable[[tarfile.TarFile], None]) -> Blob:
    """Write a compressed layer with what `fill` puts into it; the same contents give the same bytes."""
    with path.open("wb") as raw:
        outer = _Hashing(raw)
        # Lightly compressed: unpacking on many nodes at once and making it are what costs time here.
        with gzip.GzipFile("", "wb", 1, fileobj=cast(IO[bytes], outer), mtime=0) as squeezed:
            inner = _Hashing(cast(IO[bytes], squeezed))
            with tarfile.open(fileobj=cast(IO[bytes], inner), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                fill(tar)
    return Blob(outer.digest, outer.size, inner.digest)


def _put_layer(fill: Callable[[tarfile.TarFile], None]) -> Blob:
    incoming = _incoming()
    blob = write_layer(incoming, fill)
    _adopt(incoming, blob)
    return blob


def put_blob(data: bytes) -> Blob:
    """Store these bytes under their digest."""
    incoming = _incoming()
    incoming.write_bytes(data)
    blob = Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    _adopt(incoming, blob)
    return blob


def _incoming() -> Path:
    """Return where a blob is written before it has its name; only the holder of the lock writes there."""
    path = REGISTRY_ROOT / "incoming"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _adopt(incoming: Path, blob: Blob) -> None:
    sync(incoming)
    target = _blob_path(blob.digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming.replace(target)


def _blob_path(digest: str) -> Path:
    algorithm, value = digest.split(":")
    return _STORE / "blobs" / algorithm / value[:2] / value / "data"


def _tag_link(repository: str, tag: str) -> Path:
    return _STORE / "repositories" / repository / "_manifests/tags" / tag / "current/link"


def _link(name: str, manifest: str, parts: list[str]) -> None:
    """Give a stored manifest its name; the tag's current link comes last and makes it visible."""
    repository, tag = name.split(":")
    base = _STORE / "repositories" / repository
    for digest in parts:
        write_text(base / "_layers" / digest.replace(":", "/") / "link", digest)
    revision = manifest.replace(":", "/")
    write_text(base / "_manifests/revisions" / revision / "link", manifest)
    write_text(base / "_manifests/tags" / tag / "index" / revision / "link", manifest)
    write_text(_tag_link(repository, tag), manifest)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
