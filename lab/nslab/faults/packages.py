"""Faults of apt and dpkg: a repository with another signature or away, a node whose packages are in disorder."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import infra, machine, processes, state
from nslab.nodes.infra import Sources
from nslab.shell import LabError, run

SIGNATURE_USAGE = "repo-wrong-signature MINOR"
AWAY_USAGE = "repo-away"
BROKEN_USAGE = "dpkg-half-configured NODE"
LOCK_USAGE = "apt-lock-held NODE"
REBOOT_USAGE = "reboot-required NODE"
FLAG_USAGE = "kubelet-flag NODE NAME=VALUE"

SIGNED = ("InRelease", "Release.gpg")
SUFFIX = ".nslab-true"
PACKAGE = "nslab-broken"
LOCK_UNIT = "nslab-apt-lock"
LOCKS = "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"
DEFAULTS = "/etc/default/kubelet"

# A package whose own script fails while a file says so: dpkg leaves it half configured, and does so again each time.
BREAK_DPKG = f"""
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkdir -p "$directory/tree/DEBIAN"
cat >"$directory/tree/DEBIAN/control" <<END
Package: {PACKAGE}
Version: 1
Architecture: all
Maintainer: Nightshift lab <lab@nightshift.invalid>
Description: package of the Nightshift lab whose script fails
END
printf '#!/bin/sh\\nexit 1\\n' >"$directory/tree/DEBIAN/postinst"
chmod 755 "$directory/tree/DEBIAN/postinst"
dpkg-deb --root-owner-group --build "$directory/tree" "$directory/{PACKAGE}.deb" >/dev/null
! dpkg --install "$directory/{PACKAGE}.deb" >/dev/null 2>&1
dpkg-query -W -f '${{db:Status-Status}}' {PACKAGE} | grep -qx half-configured
"""
MEND_DPKG = f"! dpkg-query -W {PACKAGE} >/dev/null 2>&1 || dpkg --purge --force-all {PACKAGE} >/dev/null"

# POSIX locks, as apt and dpkg take them; the unit is ready when both are held.
HOLD = f"""
import fcntl, time
files = [open(path, "w") for path in {LOCKS!r}]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
open("/run/{LOCK_UNIT}", "w").close()
time.sleep(10**9)
"""
TAKE_LOCK = f"""
set -eu
rm -f /run/{LOCK_UNIT}
systemd-run --quiet --collect --unit={LOCK_UNIT} python3 -c "$1"
for _ in $(seq 50); do
    [ ! -e /run/{LOCK_UNIT} ] || exit 0
    sleep 0.1
done
exit 1
"""
GIVE_LOCK = f"""
! systemctl is-active --quiet {LOCK_UNIT} || systemctl stop {LOCK_UNIT}
rm -f /run/{LOCK_UNIT}
"""

WANT_REBOOT = """
set -eu
echo '*** System restart required ***' >/run/reboot-required
echo linux-image-amd64 >/run/reboot-required.pkgs
"""

# The file is complete before it gets its name. The kubelet reads it at its next start.
ADD_FLAG = f"""
set -eu
[ -e {DEFAULTS}{SUFFIX} ] || cp -p {DEFAULTS} {DEFAULTS}{SUFFIX}
printf 'KUBELET_EXTRA_ARGS="--%s"\\n' "$1" >{DEFAULTS}.new
mv {DEFAULTS}.new {DEFAULTS}
"""
TAKE_FLAG = f"[ ! -e {DEFAULTS}{SUFFIX} ] || mv {DEFAULTS}{SUFFIX} {DEFAULTS}; rm -f {DEFAULTS}.new"


def parse_signature(arguments: Sequence[str]) -> list[Case]:
    """Read `MINOR`."""
    (minor,) = read_arguments(arguments, SIGNATURE_USAGE, 1)
    directory = Sources.load().packages / f"v{minor}" / "deb"
    if not (directory / "Release").exists():
        raise LabError(f"the lab has no repository of {minor}", "name a minor like 1.35")
    return [Case("repo-wrong-signature", minor, {"directory": str(directory.resolve())})]


def sign_as_a_stranger(case: Case) -> str:
    """Sign the repository's index with a key that nobody knows; the true signatures are kept beside."""
    restore_signature(case)
    directory = Path(case.text("directory"))
    for name in SIGNED:
        (directory / name).rename(directory / (name + SUFFIX))
    with tempfile.TemporaryDirectory(prefix="nslab-stranger-") as home:
        environment = {"GNUPGHOME": home}
        gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        try:
            run([*gpg, "--quick-generate-key", "A stranger", "rsa2048", "sign", "never"], env=environment)
            for mode, name in zip(("--clearsign", "--detach-sign"), SIGNED, strict=True):
                target = str(directory / name)
                run(
                    [*gpg, "--yes", "--armor", "-o", target, mode, str(directory / "Release")],
                    env=environment,
                )
        finally:
            run(["gpgconf", "--kill", "all"], env=environment, check=False)
    return f"the repository of {case.subject} is signed by a key that nobody knows"


def restore_signature(case: Case) -> str:
    """Put the true signatures back."""
    directory = Path(case.text("directory"))
    for name in SIGNED:
        kept = directory / (name + SUFFIX)
        if kept.exists():
            kept.replace(directory / name)
    return f"the repository of {case.subject} is signed by the lab's key"


def parse_away(arguments: Sequence[str]) -> list[Case]:
    """Read no argument."""
    read_arguments(arguments, AWAY_USAGE, 0)
    return [Case("repo-away", "packages")]


def stop_repository(case: Case) -> str:
    """End the server of all package repositories."""
    processes.stop("packages")
    return "no package repository answers"


def start_repository(case: Case) -> str:
    """Start it again."""
    infra.start(state.current())
    return "the package repositories answer"


def parse_broken(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    return [Case("dpkg-half-configured", node_name(*read_arguments(arguments, BROKEN_USAGE, 1)))]


def break_dpkg(case: Case) -> str:
    """Install a package whose script fails."""
    mend_dpkg(case)
    machine.enter(case.subject, ["sh", "-c", BREAK_DPKG])
    return f"package {PACKAGE} on {case.subject} is half configured"


def mend_dpkg(case: Case) -> str:
    """Remove that package without a trace."""
    machine.enter(case.subject, ["sh", "-c", MEND_DPKG])
    return f"no package on {case.subject} is half configured"


def parse_lock(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    return [Case("apt-lock-held", node_name(*read_arguments(arguments, LOCK_USAGE, 1)))]


def take_lock(case: Case) -> str:
    """Hold dpkg's locks as an installation does that never ends."""
    give_lock(case)
    machine.enter(case.subject, ["sh", "-c", TAKE_LOCK, "sh", HOLD])
    return f"dpkg's lock on {case.subject} is held"


def give_lock(case: Case) -> str:
    """End the process that holds them."""
    machine.enter(case.subject, ["sh", "-c", GIVE_LOCK])
    return f"dpkg's lock on {case.subject} is free"


def parse_reboot(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    return [Case("reboot-required", node_name(*read_arguments(arguments, REBOOT_USAGE, 1)))]


def want_reboot(case: Case) -> str:
    """Leave the files a new kernel leaves."""
    machine.enter(case.subject, ["sh", "-c", WANT_REBOOT])
    return f"{case.subject} wants a reboot"


def forget_reboot(case: Case) -> str:
    """Delete them, as a boot does."""
    machine.enter(case.subject, ["rm", "-f", "/run/reboot-required", "/run/reboot-required.pkgs"])
    return f"{case.subject} wants no reboot"


def parse_flag(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE NAME=VALUE`, the flag without its dashes."""
    name, flag = read_arguments(arguments, FLAG_USAGE, 2)
    if not all(c.isalnum() or c in "-=.:/_," for c in flag):
        raise LabError(
            f"{flag!r} is no flag", "write it like pod-infra-container-image=registry.k8s.io/pause:3.10.1"
        )
    return [Case("kubelet-flag", node_name(name), {"flag": flag.removeprefix("--")})]


def add_flag(case: Case) -> str:
    """Write it into the file the kubelet's unit takes extra arguments from; the running kubelet does not notice."""
    machine.enter(case.subject, ["sh", "-c", ADD_FLAG, "sh", case.text("flag")])
    return f"the next kubelet on {case.subject} starts with --{case.text('flag')}"


def take_flag(case: Case) -> str:
    """Put the file back as it was."""
    machine.enter(case.subject, ["sh", "-c", TAKE_FLAG])
    return f"{DEFAULTS} on {case.subject} is as it was"


# The repositories lie in the lab's cache and are served by the lab, not by a node.
REPO_WRONG_SIGNATURE = Fault(
    "repo-wrong-signature", SIGNATURE_USAGE, "sign a minor's package index with a key that nobody knows",
    parse_signature, sign_as_a_stranger, restore_signature, outlives_reset=True,
)  # fmt: skip
REPO_AWAY = Fault(
    "repo-away", AWAY_USAGE, "stop the server of the package repositories",
    parse_away, stop_repository, start_repository, outlives_reset=True,
)  # fmt: skip
DPKG_HALF_CONFIGURED = Fault(
    "dpkg-half-configured", BROKEN_USAGE, "install a package on a node whose script fails",
    parse_broken, break_dpkg, mend_dpkg,
)  # fmt: skip
APT_LOCK_HELD = Fault(
    "apt-lock-held", LOCK_USAGE, "hold dpkg's lock on a node", parse_lock, take_lock, give_lock
)
REBOOT_REQUIRED = Fault(
    "reboot-required",
    REBOOT_USAGE,
    "leave what a new kernel leaves on a node",
    parse_reboot,
    want_reboot,
    forget_reboot,
)
KUBELET_FLAG = Fault(
    "kubelet-flag",
    FLAG_USAGE,
    "let a node's next kubelet start with one more flag",
    parse_flag,
    add_flag,
    take_flag,
)
