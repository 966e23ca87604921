"""Debian packages on the machine itself, and where this machine takes Debian from.

Only missing packages are installed, after saying which and what for. Services they bring along are
kept from starting (policy-rc.d), because a registry or a Prometheus with its default configuration
would listen on every address of the machine; the lab starts its own, with its own configuration.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nslab.shell import LabError

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_MARK = "# written by the Nightshift lab while it installs packages"
_LOCK = Path("/run/lock/nightshift-lab-apt.lock")
# Another apt (unattended-upgrades, say) may hold dpkg's lock for some minutes.
_APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600"]


class DebianError(LabError):
    """apt or dpkg could not do what the lab needs; the message says what and why."""


def missing_packages(names: list[str]) -> list[str]:
    """Return those of `names` that are not installed, in the same order."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,  # it fails when one of them is unknown, which is what is being asked
    )
    present = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in present]


def ensure_debian_packages(reasons: dict[str, str], report: Callable[[str], None] = print) -> None:
    """Install the packages named by the keys of `reasons` that are missing; values say what for.

    Raises DebianError with apt's own words when that fails.
    """
    if not missing_packages(list(reasons)):
        return
    if os.geteuid() != 0:
        names = " ".join(missing_packages(list(reasons)))
        raise DebianError(f"Debian packages are missing and only root may install them: {names}")
    with _exclusive():
        missing = missing_packages(list(reasons))
        for name in missing:
            report(f"installing Debian package {name}: {reasons[name]}")
        if missing:
            with _no_service_starts():
                _install(missing)


def debian_source() -> tuple[str, str]:
    """Return (mirror, codename) of the Debian main archive this machine uses, for debootstrap.

    Taken from apt's own configuration, so that a mirror or proxy of the site is used.
    """
    for _ in range(2):
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT) $(LABEL)"],
            capture_output=True,
            text=True,
            check=False,
        )
        for line in done.stdout.splitlines():
            site, codename, component, label = [*line.split(maxsplit=3), "", "", "", ""][:4]
            if component == "main" and label == "Debian" and "-" not in codename:
                return site, codename
        _update()  # lists may be missing in a fresh image; without them apt knows no codename
    raise DebianError(
        "apt knows no Debian main archive on this machine; the lab needs a Debian host (bookworm). "
        "Check `apt-get indextargets` and /etc/apt/sources.list*"
    )


def _install(names: list[str]) -> None:
    if not Path("/var/cache/apt/pkgcache.bin").exists() or not _candidates_known(names):
        _update()
    done = _apt("install", "--no-install-recommends", *names)
    if done.returncode:
        _update()  # a stale index names files the mirror no longer has
        done = _apt("install", "--no-install-recommends", *names)
    if done.returncode:
        raise DebianError(f"apt-get install {' '.join(names)} failed:\n{done.stdout[-2000:]}")


def _candidates_known(names: list[str]) -> bool:
    done = subprocess.run(["apt-cache", "policy", *names], capture_output=True, text=True, check=False)
    return done.stdout.count("Candidate:") == len(names) and "Candidate: (none)" not in done.stdout


def _update() -> None:
    done = _apt("update")
    if done.returncode:
        raise DebianError(f"apt-get update failed:\n{done.stdout[-2000:]}")


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_APT, *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def _exclusive() -> Iterator[None]:
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep packages from starting services, unless the administrator has a policy already.

    A policy left over from a killed run carries the mark and is replaced and removed.
    """
    if _POLICY.exists() and _POLICY_MARK not in _POLICY.read_text(errors="replace"):
        yield
        return
    descriptor, name = tempfile.mkstemp(dir=_POLICY.parent, prefix=".policy-rc.d.")
    with os.fdopen(descriptor, "w") as handle:
        handle.write(f"#!/bin/sh\n{_POLICY_MARK}\nexit 101\n")
    Path(name).chmod(0o755)
    Path(name).replace(_POLICY)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
