"""Kubernetes, etcd, CoreDNS and crictl programs, from the official release or built from Go modules.

`NSLAB_SOURCE` chooses: `release` downloads Kubernetes from dl.k8s.io and checks the published
SHA-256, `modules` builds it through the Go module proxy, `auto` (default) downloads where dl.k8s.io
answers within a few seconds and builds otherwise. etcd, CoreDNS and crictl are always built: their
releases live on another host than Kubernetes', and building them takes about three minutes.

The finished directory is keyed by version and RECIPE. Raise RECIPE when a change here makes older
results wrong; a mere clean-up must not throw away half an hour of compiling.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from nslab.build.store import BuildError, Report, ensure_directory
from nslab.build.toolchain import ensure_go, run_go
from nslab.build.versions import KUBERNETES_COMMANDS, Release, release
from nslab.settings import CACHE_DIR

RECIPE = 1
_BINARIES = CACHE_DIR / "binaries"
RELEASE_SERVER = os.environ.get("NSLAB_RELEASE_SERVER", "https://dl.k8s.io")
_PROBE_SECONDS = 5
_READ_SECONDS = 60
GO_OF_OTHERS = "1.24"  # lowest Go release the go.mod of every pinned etcd, CoreDNS and crictl accepts
_CRI_TOOLS = "sigs.k8s.io/cri-tools"


def ensure_kubernetes(version: str, report: Report = print) -> Path:
    """Return a directory with the seven Kubernetes programs of `version`."""
    rel = release(version)
    return ensure_directory(
        _BINARIES / f"kubernetes-{rel.version}-r{RECIPE}",
        lambda out: _make_kubernetes(rel, out, report),
        report,
    )


def ensure_etcd(version: str, report: Report = print) -> Path:
    """Return a directory with etcd, etcdctl and etcdutl of `version` (e.g. "3.6.5")."""
    return ensure_directory(
        _BINARIES / f"etcd-{version}-r{RECIPE}", lambda out: _build_etcd(version, out, report), report
    )


def ensure_coredns(version: str, report: Report = print) -> Path:
    """Return a directory with coredns of `version` (e.g. "1.12.1")."""
    return ensure_directory(
        _BINARIES / f"coredns-{version}-r{RECIPE}", lambda out: _build_coredns(version, out, report), report
    )


def ensure_cri_tools(version: str, report: Report = print) -> Path:
    """Return a directory with crictl of `version` (e.g. "1.34.0")."""
    return ensure_directory(
        _BINARIES / f"cri-tools-{version}-r{RECIPE}",
        lambda out: _build_cri_tools(version, out, report),
        report,
    )


def staging_modules(go_mod: str) -> list[str]:
    """Modules a Kubernetes go.mod takes from its own tree (required at v0.0.0)."""
    return re.findall(r"^\s*(?:require )?(k8s\.io/\S+) v0\.0\.0$", go_mod, re.MULTILINE)


def kubernetes_go_mod(rel: Release, upstream: str) -> str:
    """The go.mod that builds `rel` as a dependency: its tree replaced by the published modules.

    `upstream` is the go.mod of k8s.io/kubernetes itself.
    """
    lines = ["module nightshift-lab/kubernetes", f"go {rel.go}.0", f"godebug default={rel.godebug}"]
    lines += [f"require k8s.io/kubernetes {rel.tag}"]
    lines += [f"replace {m} => {m} {rel.staging_version}" for m in staging_modules(upstream)]
    return "\n".join(lines) + "\n"


def version_flags(rel: Release) -> str:
    """Linker flags that stamp the release's version into its programs; kubeadm refuses without."""
    major, minor = rel.minor.split(".")
    stamps = {"gitVersion": rel.tag, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {p}.{k}={v}" for p in packages for k, v in stamps.items())])


def architecture() -> str:
    """Return this machine's architecture as both Go and Debian spell it."""
    machine = platform.machine()
    try:
        return {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    except KeyError:
        raise BuildError(f"the lab runs on x86_64 and aarch64 machines, not on {machine}") from None


def source(report: Report) -> str:
    """Return where Kubernetes comes from here: "release" or "modules" (see the module's head)."""
    chosen = os.environ.get("NSLAB_SOURCE", "auto")
    if chosen not in ("auto", "release", "modules"):
        raise BuildError(f"NSLAB_SOURCE={chosen} is unknown", "set it to auto, release or modules")
    if chosen != "auto":
        return chosen
    try:
        with _open(f"{RELEASE_SERVER}/release/stable.txt", _PROBE_SECONDS):
            return "release"
    except OSError as error:
        report(f"{RELEASE_SERVER} cannot be reached ({error}); Kubernetes is built from Go modules")
        return "modules"


def _open(url: str, seconds: float) -> AbstractContextManager[IO[bytes]]:
    """Open an address of the release server; `seconds` limits each wait for it."""
    response: AbstractContextManager[IO[bytes]]
    response = urllib.request.urlopen(url, timeout=seconds)  # noqa: S310  (https, or what the user set)
    return response


def _make_kubernetes(rel: Release, out: Path, report: Report) -> None:
    if source(report) == "release":
        for name in KUBERNETES_COMMANDS:
            _download(rel, name, out)
    else:
        _build_kubernetes(rel, out, report)


def _download(rel: Release, name: str, out: Path) -> None:
    """Fetch one program of a release and compare it with the published SHA-256."""
    url = f"{RELEASE_SERVER}/release/{rel.tag}/bin/linux/{architecture()}/{name}"
    target = out / name
    digest = hashlib.sha256()
    try:
        with _open(f"{url}.sha256", _READ_SECONDS) as response:
            expected = response.read().decode().split()[0]
        with _open(url, _READ_SECONDS) as response, target.open("wb") as handle:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                handle.write(chunk)
    except (OSError, IndexError) as error:
        raise BuildError(f"{url}: {error}", "try again, or set NSLAB_SOURCE=modules") from error
    if digest.hexdigest() != expected:
        raise BuildError(
            f"{url}: its SHA-256 is {digest.hexdigest()}, published is {expected}",
            "try again; when it stays so, do not use that server (NSLAB_SOURCE=modules)",
        )
    target.chmod(0o755)


def _build_kubernetes(rel: Release, out: Path, report: Report) -> None:
    go = ensure_go(rel.go, report)
    work = _module(out, f"module nightshift-lab/probe\ngo {rel.go}.0\n")
    got = json.loads(run_go(go, ["mod", "download", "-json", f"k8s.io/kubernetes@{rel.tag}"], work))
    (work / "go.mod").write_text(kubernetes_go_mod(rel, Path(got["GoMod"]).read_text()))
    (work / "go.sum").write_text((Path(got["Dir"]) / "go.sum").read_text())
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_COMMANDS]
    _compile(go, work, out, version_flags(rel), packages)


def _build_etcd(version: str, out: Path, report: Report) -> None:
    modules = [f"go.etcd.io/etcd/{name}/v3" for name in ("server", "etcdctl", "etcdutl")]
    work = _module(out, _requiring("etcd", [f"{m} v{version}" for m in modules]))
    _compile(ensure_go(GO_OF_OTHERS, report), work, out, "-s -w", modules)
    (out / "server").rename(out / "etcd")


def _build_coredns(version: str, out: Path, report: Report) -> None:
    work = _module(out, _requiring("coredns", [f"github.com/coredns/coredns v{version}"]))
    go = ensure_go(GO_OF_OTHERS, report)
    _compile(go, work, out, "-s -w", ["github.com/coredns/coredns"])


def _build_cri_tools(version: str, out: Path, report: Report) -> None:
    work = _module(out, _requiring("cri-tools", [f"{_CRI_TOOLS} v{version}"]))
    stamp = f"-s -w -X {_CRI_TOOLS}/pkg/version.Version=v{version}"
    _compile(ensure_go(GO_OF_OTHERS, report), work, out, stamp, [f"{_CRI_TOOLS}/cmd/crictl"])


def _requiring(name: str, requirements: list[str]) -> str:
    lines = [f"module nightshift-lab/{name}", f"go {GO_OF_OTHERS}.0"]
    return "\n".join(lines + [f"require {r}" for r in requirements]) + "\n"


def _module(out: Path, go_mod: str) -> Path:
    """Start the module something is built in. It stays beside the programs, as the record of what went in."""
    work = out / ".source"
    work.mkdir()
    (work / "go.mod").write_text(go_mod)
    return work


def _compile(go: Path, work: Path, out: Path, linker_flags: str, packages: list[str]) -> None:
    run_go(go, ["build", "-trimpath", "-ldflags", linker_flags, "-o", f"{out}/", *packages], work)
