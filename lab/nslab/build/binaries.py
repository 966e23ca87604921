"""Kubernetes, etcd and CoreDNS programs, from the official release or built from Go modules.

`NSLAB_SOURCE` chooses: `release` downloads Kubernetes from dl.k8s.io and checks the published
SHA-256, `modules` builds it through the Go module proxy, `auto` (default) downloads where dl.k8s.io
answers within a few seconds and builds otherwise. etcd and CoreDNS are always built: their releases
live on another host than Kubernetes', and building both takes about three minutes.

The finished directory is keyed by version and RECIPE. Raise RECIPE when a change here makes older
results wrong; a mere clean-up must not throw away half an hour of compiling.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from nslab.build.store import BuildError, Report, ensure_directory
from nslab.build.versions import KUBERNETES_COMMANDS, Release, release
from nslab.settings import CACHE_DIR

RECIPE = 1
_BINARIES = CACHE_DIR / "binaries"


def ensure_kubernetes(version: str, report: Report = print) -> Path:
    """Return a directory with the seven Kubernetes programs of `version`."""
    rel = release(version)
    return ensure_directory(
        _BINARIES / f"kubernetes-{rel.version}-r{RECIPE}", lambda out: _build_kubernetes(rel, out), report
    )


def ensure_etcd(version: str, report: Report = print) -> Path:
    """Return a directory with etcd, etcdctl and etcdutl of `version` (e.g. "3.6.5")."""
    return ensure_directory(
        _BINARIES / f"etcd-{version}-r{RECIPE}", lambda out: _build_etcd(version, out), report
    )


def ensure_coredns(version: str, report: Report = print) -> Path:
    """Return a directory with coredns of `version` (e.g. "1.12.1")."""
    return ensure_directory(
        _BINARIES / f"coredns-{version}-r{RECIPE}", lambda out: _build_coredns(version, out), report
    )


def _go_environment() -> dict[str, str]:
    """Environment of every go command: static binaries, own caches unless the user chose others."""
    env = dict(os.environ)
    env.setdefault("GOCACHE", str(CACHE_DIR / "go-build"))
    env.setdefault("GOMODCACHE", str(CACHE_DIR / "go-mod"))
    env.update(CGO_ENABLED="0", GOFLAGS="-mod=mod -buildvcs=false", GOWORK="off", GOTOOLCHAIN="local")
    return env


def _go(arguments: list[str], directory: Path) -> str:
    done = subprocess.run(
        ["/usr/local/go/bin/go", *arguments],
        cwd=directory,
        env=_go_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise BuildError(f"go {' '.join(arguments)}: {done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return done.stdout


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


def _build_kubernetes(rel: Release, out: Path) -> None:
    source = out / ".source"
    source.mkdir()
    (source / "go.mod").write_text(f"module nightshift-lab/probe\ngo {rel.go}.0\n")
    got = json.loads(_go(["mod", "download", "-json", f"k8s.io/kubernetes@{rel.tag}"], source))
    (source / "go.mod").write_text(kubernetes_go_mod(rel, Path(got["GoMod"]).read_text()))
    (source / "go.sum").write_text((Path(got["Dir"]) / "go.sum").read_text())
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_COMMANDS]
    _go(["build", "-trimpath", "-ldflags", version_flags(rel), "-o", f"{out}/", *packages], source)


def _build_etcd(version: str, out: Path) -> None:
    source = out / ".source"
    source.mkdir()
    modules = [f"go.etcd.io/etcd/{name}/v3" for name in ("server", "etcdctl", "etcdutl")]
    requires = "\n".join(f"require {m} v{version}" for m in modules)
    (source / "go.mod").write_text(f"module nightshift-lab/etcd\ngo 1.24.0\n{requires}\n")
    _go(["build", "-trimpath", "-ldflags", "-s -w", "-o", f"{out}/", *modules], source)
    (out / "server").rename(out / "etcd")


def _build_coredns(version: str, out: Path) -> None:
    source = out / ".source"
    source.mkdir()
    (source / "go.mod").write_text(
        f"module nightshift-lab/coredns\ngo 1.24.0\nrequire github.com/coredns/coredns v{version}\n"
    )
    _go(["build", "-trimpath", "-ldflags", "-s -w", "-o", f"{out}/", "github.com/coredns/coredns"], source)
