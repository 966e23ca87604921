"""Images without an image registry: Debian's own packages stand in for the two base images of docker-compose.yaml.

What is made is kept outside the repository, by recipe: a second run makes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.docker_world import ASSETS, PATH, Docker, Report

from nsdemo.settings import PROJECT
from nslab.build.store import sync, usual_umask
from nslab.debian import debian_source
from nslab.shell import run

CACHE = Path(os.environ.get("NIGHTSHIFT_CACHE", "/var/cache/nightshift")) / "docker"
RECIPE = 1  # raise when a base image would come out differently
BASE_IMAGE = "nightshift-lab/debian:bookworm"
POSTGRES_IMAGE = "nightshift-lab/postgres:15"

_SUITE = "bookworm"
_PIP_SETTINGS = ("cert", "proxy", "extra-index-url", "retries", "timeout", "default-timeout")


@contextmanager
def docker_with_base_images(report: Report) -> Iterator[Docker]:
    """A running daemon that has BASE_IMAGE and POSTGRES_IMAGE; one at a time on this machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = _base_archive(report)
        docker = Docker(_data_directory(base))
        try:
            docker.start()
            docker.clear()  # a killed run's containers came up again with the daemon
            _import_base(docker, base, report)
            _build_postgres(docker, report)
            yield docker
        finally:
            docker.stop()


def pip_arguments() -> dict[str, str]:
    """The machine's own package index, for docker-compose.yaml's build arguments; empty: pip's default."""
    configured = _pip_configuration()
    names = {"PIP_INDEX_URL": "index-url", "PIP_TRUSTED_HOST": "trusted-host"}
    return {argument: configured[name] for argument, name in names.items() if name in configured}


def _base_archive(report: Report) -> Path:
    """The base image's root file system as a tar file, made when this recipe has not been made yet."""
    site = _site_files()
    mirror, _ = debian_source()
    path = CACHE / f"base-{_digest(RECIPE, _SUITE, mirror, *site.items())}.tar"
    if path.exists():
        return path
    _forget("base-*.tar*")
    report(f"making the base image (Debian {_SUITE}, debootstrap; some minutes, once)")
    root = CACHE / "root"
    _discard(root)
    with usual_umask():
        keyring = "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"
        run(["debootstrap", "--variant=minbase", keyring, _SUITE, str(root), mirror], env={"PATH": PATH})
        for name, text in site.items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        run(["chroot", str(root), "apt-get", "clean"], env={"PATH": PATH})
        partial = path.with_suffix(".tar.partial")
        run(["tar", "--create", f"--file={partial}", "--one-file-system", f"--directory={root}", "."])
        sync(partial)
    partial.rename(path)
    _discard(root)
    return path


def _discard(root: Path) -> None:
    """Remove a root file system; a debootstrap that was killed left two mounts in it."""
    for name in ("proc", "sys"):
        run(["umount", "--lazy", str(root / name)], check=False)
    if root.exists():
        shutil.rmtree(root)


def _site_files() -> dict[str, str]:
    """What a site puts into its own base image: how apt and pip reach their registries from here, and whom they trust."""
    files = {
        f"usr/local/share/ca-certificates/{path.name}": path.read_text()
        for path in Path("/usr/local/share/ca-certificates").glob("*.crt")
    }
    said = run(["apt-config", "dump"]).stdout.splitlines()
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    lines = [line for line in said if line.startswith(wanted)]
    files["etc/apt/apt.conf.d/90site"] = "\n".join(lines) + "\n"
    files["etc/dpkg/dpkg.cfg.d/90site"] = "force-unsafe-io\n"  # a build that dies is thrown away as a whole
    pip = {name: value for name, value in _pip_configuration().items() if name in _PIP_SETTINGS}
    files["etc/pip.conf"] = "\n".join(["[global]", *(f"{name} = {pip[name]}" for name in sorted(pip))]) + "\n"
    return files


def _pip_configuration() -> dict[str, str]:
    """Pip's settings on this machine, files and environment, the stronger ones last."""
    found = {}
    lines = run([sys.executable, "-m", "pip", "config", "list"]).stdout.splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        if name.startswith((":env:.", "global.")):
            found[name.partition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    return found


def _data_directory(base: Path) -> Path:
    """The daemon's data, by everything that makes large layers: what is outdated goes, whole."""
    recipes = [
        PROJECT / "Dockerfile",
        PROJECT / "requirements.txt",
        *sorted((ASSETS / "postgres").iterdir()),
    ]
    path = CACHE / f"data-{_digest(base.name, *(recipe.read_text() for recipe in recipes))}"
    if not path.exists():
        _forget("data-*")
    return path


def _import_base(docker: Docker, archive: Path, report: Report) -> None:
    if docker.docker("images", "--quiet", BASE_IMAGE).strip():
        return
    report("importing the base image")
    docker.docker("import", "--change", 'CMD ["bash"]', str(archive), BASE_IMAGE)


def _build_postgres(docker: Docker, report: Report) -> None:
    if docker.docker("images", "--quiet", POSTGRES_IMAGE).strip():
        return
    report("building the PostgreSQL image (from Debian's packages)")
    with docker.outbound():
        base = f"BASE_IMAGE={BASE_IMAGE}"
        docker.docker("build", "--build-arg", base, "--tag", POSTGRES_IMAGE, str(ASSETS / "postgres"))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _forget(pattern: str) -> None:
    for path in CACHE.glob(pattern):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
