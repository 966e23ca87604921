"""A Go toolchain that is new enough, found on the machine or fetched as a Go module.

The toolchain itself is published as the module `golang.org/toolchain`, so that any go, however old,
can download it from the module proxy it is configured for and check it against the checksum
database. Where there is no go at all, Debian's is installed for that one purpose.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from nslab.build.store import BuildError, Report, ensure_directory
from nslab.debian import ensure_debian_packages
from nslab.settings import CACHE_DIR

# What is fetched when nothing fitting is installed. Any newer Go that is installed is used as it is.
TOOLCHAIN = "1.26.8"
_TOOLCHAINS = CACHE_DIR / "go"


def go_environment() -> dict[str, str]:
    """Environment of every go command: static programs, own caches unless the user chose others."""
    env = dict(os.environ)
    env.setdefault("GOCACHE", str(CACHE_DIR / "go-build"))
    env.setdefault("GOMODCACHE", str(CACHE_DIR / "go-mod"))
    env.setdefault("GOPATH", str(CACHE_DIR / "go-path"))
    env.update(CGO_ENABLED="0", GOFLAGS="-mod=mod -buildvcs=false", GOWORK="off", GOTOOLCHAIN="local")
    return env


def run_go(go: Path, arguments: list[str], directory: Path) -> str:
    """Run `go` in `directory` and return its output; raise BuildError with its words when it fails."""
    done = subprocess.run(
        [str(go), *arguments],
        cwd=directory,
        env=go_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr + done.stdout).strip()
        raise BuildError(
            f"`go {arguments[0]} …` failed in {directory}:\n{words[-3000:]}",
            "check that the Go module proxy (`go env GOPROXY`) can be reached, then run it again; "
            "what has been compiled is kept",
        )
    return done.stdout


def ensure_go(minimum: str, report: Report) -> Path:
    """Return a go command of at least the release `minimum` ("1.25"), fetching one when there is none."""
    present = find_go(minimum)
    if present:
        return present
    fetched = ensure_directory(
        _TOOLCHAINS / f"go{TOOLCHAIN}", lambda out: _fetch(_any_go(report), out), report
    )
    return fetched / "bin" / "go"


def find_go(minimum: str) -> Path | None:
    """Return the machine's own go command of at least the release `minimum`, None when it has none."""
    fitting = (go for go in _candidates() if _release_of(go) >= release_number(minimum))
    return next(fitting, None)


def release_number(text: str) -> tuple[int, int]:
    """Return (1, 25) for "1.25", "go1.25.3" or "go1.25rc1"; (0, 0) for what is no Go release."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _candidates() -> list[Path]:
    """Every go command on the machine, the user's choice first."""
    on_path = shutil.which("go")
    places = [Path(on_path)] if on_path else []
    places += [Path("/usr/local/go/bin/go"), *sorted(Path("/usr/lib").glob("go-*/bin/go"), reverse=True)]
    return [go for go in places if go.is_file()]


def _release_of(go: Path) -> tuple[int, int]:
    done = subprocess.run(
        [str(go), "env", "GOVERSION"], env=go_environment(), capture_output=True, text=True, check=False
    )
    return release_number(done.stdout.strip())


def _any_go(report: Report) -> Path:
    """Return some go command, whatever its age, that can download modules."""
    if not _candidates():
        reason = "to fetch a newer Go through the module proxy, for building Kubernetes"
        ensure_debian_packages({"golang-go": reason}, report)
    candidates = _candidates()
    if not candidates:
        raise BuildError("Debian's golang-go brought no go command", "install Go and put it on PATH")
    return candidates[0]


def _fetch(go: Path, out: Path) -> None:
    """Download the toolchain module with `go`, which checks it, and unpack it as a Go tree into `out`."""
    architecture = run_go(go, ["env", "GOHOSTARCH"], out).strip()
    scratch = out / ".module"
    scratch.mkdir()
    (scratch / "go.mod").write_text("module nightshift-lab/toolchain\n")
    module = f"golang.org/toolchain@v0.0.1-go{TOOLCHAIN}.linux-{architecture}"
    got = json.loads(run_go(go, ["mod", "download", "-json", module], scratch))
    if not got.get("Sum"):
        raise BuildError(f"{module} came without a checksum", "do not set GONOSUMDB/GONOSUMCHECK for it")
    shutil.rmtree(scratch)
    unpack_toolchain(Path(got["Dir"]), out)


def unpack_toolchain(module: Path, out: Path) -> None:
    """Copy a toolchain as a module holds it into a tree that runs.

    A module zip carries no modes and no nested go.mod: the programs must be made executable, and
    the files called _go.mod be given their name back. The module cache itself is read-only.
    """
    for source in sorted(module.rglob("*")):
        target = out / source.relative_to(module)
        if source.is_dir():
            target.mkdir(exist_ok=True)
            continue
        if target.name == "_go.mod":
            target = target.with_name("go.mod")
        shutil.copyfile(source, target)
        relative = target.relative_to(out)
        program = relative.parts[0] == "bin" or relative.parts[:2] == ("pkg", "tool")
        target.chmod(0o755 if program else 0o644)
