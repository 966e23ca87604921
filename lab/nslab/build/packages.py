"""kubeadm, kubelet, kubectl and cri-tools as Debian packages, in one signed repository per minor release.

Laid out as pkgs.k8s.io is: `v1.34/deb/` is a flat repository (`deb … /v1.34/deb/ /`) with
`Release.key` beside its index. A patch upgrade stays within one repository, a minor upgrade needs
the source line of the node changed: that is the step an operator forgets, so it has to be real.

Contents of the packages follow the official ones, except that the kubelet does not depend on
kubernetes-cni; the nodes have Debian's containernetworking-plugins instead. As in the official
packages the drop-in 10-kubeadm.conf comes with kubeadm, the unit and /etc/default/kubelet with
the kubelet; and kubeadm does not depend on cri-tools, from 1.32 on (kubernetes/release #3626):
whoever wants crictl names that package.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from nslab.build import binaries
from nslab.build.store import Report, ensure_directory, lock
from nslab.build.versions import NODE_COMMANDS, RELEASES, Release, release
from nslab.debian import ensure_debian_packages
from nslab.settings import CACHE_DIR
from nslab.shell import run

# Raise the number when a change here makes finished packages (or repositories) wrong.
RECIPE = 1
REPO_ROOT = CACHE_DIR / "packages"
_DEBS = CACHE_DIR / "debs"
_KEYS = CACHE_DIR / "signing-key-r1"
_FILES = Path(__file__).with_name("files")
_KEY_OWNER = "Nightshift lab packages <lab@nightshift.invalid>"

_SUMMARIES = {
    "kubeadm": "Command-line utility for administering a Kubernetes cluster",
    "kubelet": "Node agent for Kubernetes clusters",
    "kubectl": "Command-line utility for interacting with a Kubernetes cluster",
    "cri-tools": "Command-line utility for interacting with a container runtime",
}
_RELATIONS = {"kubelet": "Depends: mount, util-linux\nRecommends: iptables (>= 1.8.4)\n"}
_SECTIONS = {"kubelet": "net"}
_PROGRAMS = {"cri-tools": "crictl"}  # of the others the program is called as the package


def ensure_repositories(versions: list[str], report: Report = print) -> Path:
    """Return the root of the package repositories; they hold at least `versions`.

    A repository also keeps every other release of its minor whose packages are in the cache, so
    that asking for 1.34.4 alone later does not take 1.34.2 away from a running lab.
    """
    for version in versions:
        _ensure_debs(release(version), report)
    ensure_signing_key(report)
    with lock("packages"):
        for minor in sorted({release(v).minor for v in versions}):
            _publish(minor, report)
    return REPO_ROOT


def ensure_signing_key(report: Report = print) -> Path:
    """Return the directory of the lab's signing key; made once, never leaves the cache."""
    ensure_debian_packages({"gnupg": "signs the lab's package repositories"}, report)
    return ensure_directory(_KEYS, _make_key, report)


def keyring(report: Report = print) -> Path:
    """Return the public key as a binary keyring, the form `signed-by=` takes."""
    return ensure_signing_key(report) / "nightshift-lab.gpg"


def control_file(name: str, version: str, installed_kib: int) -> str:
    """Return the control file of one package; `installed_kib` is its unpacked size in KiB."""
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: {binaries.architecture()}\n"
        "Maintainer: Nightshift lab <lab@nightshift.invalid>\n"
        f"Installed-Size: {installed_kib}\n{_RELATIONS.get(name, '')}"
        f"Section: {_SECTIONS.get(name, 'admin')}\nPriority: optional\nHomepage: https://kubernetes.io\n"
        f"Description: {_SUMMARIES[name]}\n {_SUMMARIES[name]}.\n"
    )


def release_file(minor: str, files: dict[str, bytes], when: datetime) -> str:
    """Return the Release file over the indexes `files` (name to content)."""
    label = f"isv:kubernetes:core:stable:v{minor}"
    lines = [
        "Archive: deb",
        "Codename: deb",
        f"Origin: obs://build.opensuse.org/{label}/deb",
        f"Label: {label}",
        f"Architectures: {binaries.architecture()}",
        f"Date: {when.strftime('%a, %d %b %Y %H:%M:%S')} UTC",
        "Description: Kubernetes packages of the Nightshift lab",
    ]
    for field, algorithm in (("MD5Sum", "md5"), ("SHA1", "sha1"), ("SHA256", "sha256")):
        lines.append(f"{field}:")
        lines += [f" {hashlib.new(algorithm, data).hexdigest()} {len(data)} {n}" for n, data in files.items()]
    return "\n".join(lines) + "\n"


def _debs_directory(rel: Release) -> Path:
    return _DEBS / f"packages-{rel.version}-r{RECIPE}"


def _cri_tools_directory(rel: Release) -> Path:
    return _DEBS / f"packages-cri-tools-{rel.cri_tools_version}-r{RECIPE}"


def _ensure_debs(rel: Release, report: Report) -> None:
    commands = binaries.ensure_kubernetes(rel.version, report)
    build = partial(_build_debs, NODE_COMMANDS, rel.package_version, commands)
    ensure_directory(_debs_directory(rel), build, report)
    crictl = binaries.ensure_cri_tools(rel.cri_tools_version, report)
    build = partial(_build_debs, ["cri-tools"], rel.cri_tools_package_version, crictl)
    ensure_directory(_cri_tools_directory(rel), build, report)


def _build_debs(names: Iterable[str], version: str, commands: Path, out: Path) -> None:
    for name in names:
        tree = out / ".tree"
        _lay_out(name, commands, tree)
        kib = sum(f.stat().st_size for f in tree.rglob("*") if f.is_file()) // 1024
        _install(tree / "DEBIAN/control", control_file(name, version, kib))
        deb = out / f"{name}_{version}_{binaries.architecture()}.deb"
        # Lightly compressed: they travel over a bridge, and every lab waits for their making.
        run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(deb)])
        shutil.rmtree(tree)
        _install(deb.with_suffix(".entry"), packages_entry(deb))


def _lay_out(name: str, commands: Path, tree: Path) -> None:
    """Put one package's files under `tree`, as the official package has them."""
    binary = tree / "usr/bin" / _PROGRAMS.get(name, name)
    binary.parent.mkdir(parents=True)
    shutil.copyfile(commands / binary.name, binary)
    binary.chmod(0o755)
    units = tree / "usr/lib/systemd/system"
    if name == "kubeadm":
        _install(units / "kubelet.service.d/10-kubeadm.conf", (_FILES / "10-kubeadm.conf").read_text())
    if name != "kubelet":
        return
    _install(units / "kubelet.service", (_FILES / "kubelet.service").read_text())
    _install(tree / "etc/default/kubelet", "KUBELET_EXTRA_ARGS=\n")
    _install(tree / "DEBIAN/conffiles", "/etc/default/kubelet\n")
    for keep in ("var/lib/kubelet/.kubelet-keep", "etc/kubernetes/manifests/.kubelet-keep"):
        _install(tree / keep, "")
    for script in ("postinst", "prerm", "postrm"):
        _install(tree / "DEBIAN" / script, (_FILES / f"kubelet.{script}").read_text(), 0o755)


def _install(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _publish(minor: str, report: Report) -> None:
    """Make `v<minor>` show the packages that are in the cache now; a no-op when it does already."""
    releases = [rel for rel in RELEASES.values() if rel.minor == minor]
    directories = {*map(_debs_directory, releases), *map(_cri_tools_directory, releases)}
    debs = sorted(deb for directory in directories for deb in directory.glob("*.deb"))
    entries = "".join(deb.with_suffix(".entry").read_text() for deb in debs)
    fingerprint = hashlib.sha256(entries.encode() + (_KEYS / "Release.key").read_bytes()).hexdigest()[:12]
    target = f".v{minor}-r{RECIPE}-{fingerprint}"
    link = REPO_ROOT / f"v{minor}"
    if link.is_symlink() and os.readlink(link) == target and (REPO_ROOT / target).is_dir():
        return
    REPO_ROOT.mkdir(parents=True, exist_ok=True)
    ensure_directory(
        REPO_ROOT / target,
        lambda out: _fill(minor, debs, entries, out / "deb"),
        report,
        f"repository-v{minor}",
    )
    # A symbolic link can be swapped in one step, so a node never sees half of a repository.
    fresh = REPO_ROOT / f".v{minor}.link"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
    for old in REPO_ROOT.glob(f".v{minor}-r*"):
        if old.name != target:
            shutil.rmtree(old)


def _fill(minor: str, debs: list[Path], entries: str, out: Path) -> None:
    out.mkdir()
    for deb in debs:
        os.link(deb, out / deb.name)
    packages = entries.encode()
    indexes = {"Packages": packages, "Packages.gz": gzip.compress(packages, mtime=0)}
    for name, data in indexes.items():
        (out / name).write_bytes(data)
    (out / "Release").write_text(release_file(minor, indexes, datetime.now(UTC)))
    sign(out / "Release")
    shutil.copyfile(_KEYS / "Release.key", out / "Release.key")


def sign(release_path: Path) -> None:
    """Write InRelease and Release.gpg beside a Release file, signed by the lab's key."""
    clear, detached = release_path.with_name("InRelease"), release_path.with_name("Release.gpg")
    for mode, target in (("--clearsign", clear), ("--detach-sign", detached)):
        _gpg(_KEYS / "home", "--yes", "--armor", "-o", str(target), mode, str(release_path))


def packages_entry(deb: Path) -> str:
    """Return the stanza of one package for the Packages index."""
    control = run(["dpkg-deb", "-f", str(deb)]).stdout.strip()
    data = deb.read_bytes()
    sums = "".join(
        f"{field}: {hashlib.new(algorithm, data).hexdigest()}\n"
        for field, algorithm in (("MD5sum", "md5"), ("SHA1", "sha1"), ("SHA256", "sha256"))
    )
    return f"{control}\nFilename: ./{deb.name}\nSize: {len(data)}\n{sums}\n"


def _make_key(out: Path) -> None:
    home = out / "home"
    home.mkdir(mode=0o700)
    generate = ["--pinentry-mode", "loopback", "--passphrase", ""]
    _gpg(home, *generate, "--quick-generate-key", _KEY_OWNER, "rsa3072", "sign", "never")
    _gpg(home, "--armor", "-o", str(out / "Release.key"), "--export")
    _gpg(home, "-o", str(out / "nightshift-lab.gpg"), "--export")


def _gpg(home: Path, *arguments: str) -> None:
    """Run gpg with this home and end the agent it starts: the home is moved and must be free."""
    environment = {"GNUPGHOME": str(home)}
    try:
        run(["gpg", "--batch", "--quiet", *arguments], env=environment)
    finally:
        run(["gpgconf", "--kill", "all"], env=environment, check=False)
