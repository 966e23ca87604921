"""Faults of a node's kubeadm files and of its power: a stray manifest, old scratch, a dead machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from nslab import probe
from nslab.faults.model import Case, Fault, node_name, positive, read_arguments
from nslab.nodes import cgroups, machine, state
from nslab.shell import LabError, wait_until

STRAY_USAGE = "stray-manifest NODE"
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
STRAY = f"{MANIFEST}.bak"
HALF_WRITTEN = "/etc/kubernetes/.nslab-stray.yaml"
TAKEN_AWAY = "/etc/kubernetes/.nslab-kube-apiserver.yaml"
STRAY_FLAG = "--event-ttl=2h"  # harmless, and visible in the argv of whichever copy runs
SETTLE = 180  # seconds the kubelet gets to restart the API server

OFF_USAGE = "node-power-off NODE"

SCRATCH_USAGE = "scratch-pile NODE COUNT"
SCRATCH_DIRECTORY = "/etc/kubernetes/tmp"
OLDEST_RECENT = 3 * 86400  # seconds; younger leftovers are not to be touched by anybody
SPACING = 6 * 3600  # seconds between two leftovers, as if kubeadm had run four times a day


def parse_stray(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, STRAY_USAGE, 1)
    return [Case("stray-manifest", node_name(name, "control-plane"))]


def stray_text(manifest: str) -> str:
    """Return the manifest as somebody would have kept it before an edit: with one flag different."""
    lines = [line for line in manifest.splitlines() if not line.strip().startswith("- --event-ttl=")]
    for number, line in enumerate(lines):
        if line.strip() == "- kube-apiserver":
            lines.insert(number + 1, line.replace("kube-apiserver", STRAY_FLAG))
            return "\n".join(lines) + "\n"
    raise LabError(
        f"{MANIFEST} starts no kube-apiserver", "look at the file; `lab/lab reset` makes a fresh node"
    )


def plant_stray(case: Case) -> str:
    """Put the changed copy beside the manifest; the kubelet reads every file there, whatever its name."""
    node = case.subject
    manifest = machine.enter(node, ["cat", MANIFEST]).stdout
    # Written beside the directory and moved in, or the kubelet might read half a file.
    machine.enter(
        node, ["sh", "-c", f"cat >{HALF_WRITTEN} && mv {HALF_WRITTEN} {STRAY}"], stdin=stray_text(manifest)
    )
    return f"{STRAY} on {node} differs from the manifest in {STRAY_FLAG}"


def remove_stray(case: Case) -> str:
    """Delete the copy and wait until the API server runs with the manifest's flags again."""
    machine.enter(case.subject, ["rm", "-f", STRAY, HALF_WRITTEN])
    # An earlier heal may have been killed between taking the manifest away and putting it back.
    machine.enter(case.subject, ["sh", "-c", f"[ ! -e {TAKEN_AWAY} ] || mv {TAKEN_AWAY} {MANIFEST}"])
    if STRAY_FLAG in api_server_argv(case.subject):
        _restart_api_server(case.subject)
    ready = f"https://{state.node(case.subject).address}:6443/readyz"
    wait_until(lambda: probe.ask("api", ready).ok, f"the API server on {case.subject} is ready", SETTLE)
    return f"only the manifest is left on {case.subject}, and it is what runs"


def _restart_api_server(node: str) -> None:
    """Let the kubelet start the static pod anew from the file that is left, by taking it away and back."""
    machine.enter(node, ["mv", MANIFEST, TAKEN_AWAY])
    try:
        wait_until(lambda: not api_server_argv(node), f"the stray API server on {node} has ended", SETTLE)
    finally:
        machine.enter(node, ["mv", TAKEN_AWAY, MANIFEST])
    wait_until(
        lambda: bool(argv := api_server_argv(node)) and STRAY_FLAG not in argv,
        f"the right API server runs on {node}",
        SETTLE,
    )


def api_server_argv(node: str) -> list[str]:
    """Return the arguments of the API server that runs on the node, [] while none does."""
    for pid in sorted(cgroups.processes(node)):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if Path(argv[0]).name == "kube-apiserver":
            return argv
    return []


def parse_off(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, OFF_USAGE, 1)
    return [Case("node-power-off", node_name(name))]


def switch_off(case: Case) -> str:
    """Cut the node's power."""
    machine.power_off(case.subject)
    return f"{case.subject} has no power"


def switch_on(case: Case) -> str:
    """Boot the node and wait for its basic services."""
    machine.power_on(case.subject)
    machine.wait_booted(case.subject)
    return f"{case.subject} has booted; its pods follow"


def parse_scratch(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE COUNT`; the names are fixed here, so that healing deletes exactly these."""
    name, count = read_arguments(arguments, SCRATCH_USAGE, 2)
    number = positive(count, "the number of directories", 1000)
    return [
        Case("scratch-pile", node_name(name, "control-plane"), {"names": scratch_names(number, time.time())})
    ]


def scratch_names(count: int, now: float) -> list[str]:
    """Return `count` names of leftovers older than three days and, last, one from an hour ago."""
    ages = [OLDEST_RECENT + SPACING * n for n in range(count, 0, -1)] + [3600]
    moments = [time.gmtime(now - age) for age in ages]
    return [time.strftime("kubeadm-backup-etcd-%Y-%m-%d-%H-%M-%S", moment) for moment in moments]


# Runs on the node; arguments are the directory and then the leftovers' names, whose last 19
# characters are a time. Files are as kubeadm copies them from /var/lib/etcd, only small.
PLANT = """
import calendar, os, sys, time
directory, *names = sys.argv[1:]
os.makedirs(directory, 0o700, exist_ok=True)
for name in names:
    moment = calendar.timegm(time.strptime(name[-19:], "%Y-%m-%d-%H-%M-%S"))
    top = os.path.join(directory, name)
    paths = [os.path.join(top, "etcd/member", part) for part in ("snap/db", "wal/0000000000000000-0000000000000000.wal")]
    for path in paths:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(path, "wb") as handle:
            handle.write(bytes(4096))
    for parent, _, files in os.walk(top, topdown=False):
        for entry in [*(os.path.join(parent, f) for f in files), parent]:
            os.utime(entry, (moment, moment))
"""


def pile_up(case: Case) -> str:
    """Plant the leftovers with the ages their names say."""
    names = case.names("names")
    machine.enter(case.subject, ["python3", "-c", PLANT, SCRATCH_DIRECTORY, *names])
    return f"{len(names) - 1} leftovers older than 3 days and one from an hour ago are in {SCRATCH_DIRECTORY} on {case.subject}"


def clear_pile(case: Case) -> str:
    """Delete the planted leftovers and nothing else."""
    machine.enter(
        case.subject, ["rm", "-rf", *(f"{SCRATCH_DIRECTORY}/{name}" for name in case.names("names"))]
    )
    return f"the planted leftovers are gone from {case.subject}"


STRAY_MANIFEST = Fault(
    "stray-manifest", STRAY_USAGE, "leave a copy of the API server's manifest, one flag changed, beside it",
    parse_stray, plant_stray, remove_stray,
)  # fmt: skip
NODE_POWER_OFF = Fault("node-power-off", OFF_USAGE, "cut a node's power", parse_off, switch_off, switch_on)
SCRATCH_PILE = Fault(
    "scratch-pile", SCRATCH_USAGE, "plant COUNT old kubeadm etcd backups, and a recent one",
    parse_scratch, pile_up, clear_pile,
)  # fmt: skip
