"""Faults of /etc/kubernetes/manifests: twins, an edit that does not run yet, a wrong mode, flags that only the file knows.

Files are written beside the directory and moved in: the kubelet reads whatever it finds there, also half of it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from nslab import probe
from nslab.faults.configuration import drop_extra_args
from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import cgroups, cluster, machine, state
from nslab.shell import LabError, wait_until

TWIN_USAGE = "duplicate-pod-name NODE"
EDIT_USAGE = "manifest-edited NODE"
MODE_USAGE = "manifest-wrong-mode NODE"
OIDC_USAGE = "oidc-flags NODE"

DIRECTORY = "/etc/kubernetes/manifests"
BESIDE = "/etc/kubernetes/.nslab-manifest.yaml"
API_SERVER = f"{DIRECTORY}/kube-apiserver.yaml"
SCHEDULER = f"{DIRECTORY}/kube-scheduler.yaml"
SETTLE = 180  # seconds the kubelet gets to act on a file
_APART_SECONDS = 2  # between a process's start and the edit it misses; both are known by whole seconds

TWIN_POD = "nslab-twin"
TWINS = (f"{DIRECTORY}/{TWIN_POD}.yaml", f"{DIRECTORY}/{TWIN_POD}-old.yaml")
PAUSE = "registry.k8s.io/pause:3.10.1"
EDIT_FLAG = "--profiling=false"
KEPT_SCHEDULER = "/etc/kubernetes/.nslab-kube-scheduler.yaml"
PATIENCE = "  terminationGracePeriodSeconds: 3600"  # how long the kubelet waits for a stopped process to end
WRONG_MODE, RIGHT_MODE = "666", "600"
# An issuer that nobody needs to answer for: the API server starts without it and asks for it again and again.
OIDC_FLAGS = (
    "--oidc-issuer-url=https://id.nightshift-lab.invalid",
    "--oidc-client-id=kubernetes",
    "--oidc-username-claim=email",
)


def parse_twin(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, TWIN_USAGE, 1)
    return [Case("duplicate-pod-name", node_name(name))]


def twin_text() -> str:
    """Return a static pod that does nothing."""
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: {TWIN_POD}
  namespace: kube-system
spec:
  containers:
  - name: pause
    image: {PAUSE}
"""


def plant_twins(case: Case) -> str:
    """Put one pod into two files."""
    for path in TWINS:
        _write(case.subject, path, twin_text())
    wait_until(lambda: _has_twin(case.subject), f"the pod {TWIN_POD} is there", SETTLE)
    return f"{' and '.join(TWINS)} on {case.subject} are the same pod"


def remove_twins(case: Case) -> str:
    """Delete both files and wait until the pod is gone."""
    machine.enter(case.subject, ["rm", "-f", *TWINS, BESIDE])
    wait_until(lambda: not _has_twin(case.subject), f"the pod {TWIN_POD} is gone", SETTLE)
    return f"the twins are gone from {case.subject}"


def _has_twin(node: str) -> bool:
    query = ["-n", "kube-system", "get", "pod", f"{TWIN_POD}-{node}", "--ignore-not-found", "-o", "name"]
    return bool(cluster.kubectl(query).stdout.strip())


def parse_edit(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, EDIT_USAGE, 1)
    return [Case("manifest-edited", node_name(name, "control-plane"))]


def edit_scheduler(case: Case) -> str:
    """Edit the manifest of a scheduler that does not end: the kubelet waits for it, and the old one goes on "running".

    Its pod is first given long to end, then its process is stopped (SIGSTOP), so that the SIGTERM has no effect.
    """
    node = case.subject
    machine.enter(node, ["sh", "-c", f"[ -e {KEPT_SCHEDULER} ] || cp -p {SCHEDULER} {KEPT_SCHEDULER}"])
    manifest = machine.enter(node, ["cat", KEPT_SCHEDULER]).stdout
    patient = manifest.replace("\nspec:\n", f"\nspec:\n{PATIENCE}\n", 1)
    former = process_of(node, "kube-scheduler")
    _write(node, SCHEDULER, patient)
    wait_until(
        lambda: (now := process_of(node, "kube-scheduler")) is not None and now != former,
        f"the patient scheduler runs on {node}",
        SETTLE,
    )
    running = process_of(node, "kube-scheduler")
    if running is None:
        raise LabError(
            f"no kube-scheduler runs on {node}", "look with `lab/lab kubectl -n kube-system get pods`"
        )
    os.kill(running[0], signal.SIGSTOP)
    time.sleep(_APART_SECONDS)
    _write(node, SCHEDULER, with_flags(patient, "kube-scheduler", [EDIT_FLAG]))
    return f"{SCHEDULER} on {node} has {EDIT_FLAG}, and the scheduler that runs has not"


def undo_edit(case: Case) -> str:
    """Put the manifest back, let the stopped process end, wait until the scheduler runs as the file says."""
    node = case.subject
    restore = f"[ ! -e {KEPT_SCHEDULER} ] || mv {KEPT_SCHEDULER} {SCHEDULER}"
    machine.enter(node, ["sh", "-c", restore])
    former = process_of(node, "kube-scheduler")
    # Its arguments are right by now; only one that was not stopped is the one to stay.
    stopped = former[0] if former is not None and is_stopped(former[0]) else None
    if stopped is not None:
        os.kill(stopped, signal.SIGCONT)
    manifest = machine.enter(node, ["cat", SCHEDULER]).stdout

    def runs_as_written() -> bool:
        running = process_of(node, "kube-scheduler")
        return running is not None and running[0] != stopped and running[1] == command_of(manifest)

    wait_until(runs_as_written, f"the scheduler on {node} runs as its manifest says", SETTLE)
    return f"the scheduler on {node} runs as its manifest says"


def parse_mode(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, MODE_USAGE, 1)
    return [Case("manifest-wrong-mode", node_name(name, "control-plane"))]


def open_manifest(case: Case) -> str:
    """Let everybody write a manifest."""
    machine.enter(case.subject, ["chmod", WRONG_MODE, SCHEDULER])
    return f"{SCHEDULER} on {case.subject} has mode {WRONG_MODE}"


def close_manifest(case: Case) -> str:
    """Give it kubeadm's mode."""
    machine.enter(case.subject, ["chmod", RIGHT_MODE, SCHEDULER])
    return f"{SCHEDULER} on {case.subject} has mode {RIGHT_MODE} again"


def parse_oidc(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, OIDC_USAGE, 1)
    return [Case("oidc-flags", node_name(name, "control-plane"))]


def add_oidc(case: Case) -> str:
    """Add OIDC flags to the API server's manifest, and to nothing else, as people do by hand."""
    node = case.subject
    manifest = machine.enter(node, ["cat", API_SERVER]).stdout
    _write(node, API_SERVER, with_flags(without_flags(manifest, OIDC_FLAGS), "kube-apiserver", OIDC_FLAGS))
    _wait_api_server(node, present=True)
    return f"the API server on {node} runs with {' '.join(OIDC_FLAGS)}, which kubeadm-config does not know"


def drop_oidc(case: Case) -> str:
    """Take the flags out of the manifest, whoever has written it since, and out of kubeadm-config."""
    node = case.subject
    manifest = machine.enter(node, ["cat", API_SERVER]).stdout
    if manifest != without_flags(manifest, OIDC_FLAGS):
        _write(node, API_SERVER, without_flags(manifest, OIDC_FLAGS))
    _wait_api_server(node, present=False)
    drop_extra_args(OIDC_FLAGS)
    return f"the API server on {node} runs without OIDC flags"


def _wait_api_server(node: str, *, present: bool) -> None:
    def runs_so() -> bool:
        running = process_of(node, "kube-apiserver")
        return running is not None and all((flag in running[1]) is present for flag in OIDC_FLAGS)

    said = "with" if present else "without"
    wait_until(runs_so, f"the API server on {node} runs {said} OIDC flags", SETTLE)
    ready = f"https://{state.node(node).address}:6443/readyz"
    wait_until(lambda: probe.ask("api", ready).ok, f"the API server on {node} is ready", SETTLE)


def with_flags(manifest: str, component: str, flags: Sequence[str]) -> str:
    """Return the manifest with these flags behind the component's name."""
    lines = manifest.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == f"- {component}":
            lines[number + 1 : number + 1] = [line.replace(component, flag) for flag in flags]
            return "\n".join(lines) + "\n"
    raise LabError(f"the manifest starts no {component}", "`lab/lab reset` makes a fresh node")


def without_flags(manifest: str, flags: Sequence[str]) -> str:
    """Return the manifest without these flags, whatever their values."""
    names = "|".join(re.escape(flag.partition("=")[0]) for flag in flags)
    kept = [line for line in manifest.splitlines() if not re.match(rf"\s*- ({names})=", line)]
    return "\n".join(kept) + "\n"


def command_of(manifest: str) -> list[str]:
    """Return the words of a manifest's `command:`, as kubeadm writes it: one per line, unquoted."""
    lines = manifest.splitlines()
    start = next(n for n, line in enumerate(lines) if line.strip() in ("command:", "- command:"))
    words = []
    for line in lines[start + 1 :]:
        if not line.strip().startswith("- "):
            break
        words.append(line.strip().removeprefix("- "))
    return words


def process_of(node: str, program: str) -> tuple[int, list[str]] | None:
    """Return pid (as this machine sees it) and arguments of a node's newest process of that name, None while there is none."""
    for pid in sorted(cgroups.processes(node), reverse=True):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if Path(argv[0]).name == program:
            return pid, argv
    return None


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _write(node: str, path: str, text: str) -> None:
    """Put a private file into the directory at once."""
    script = f"umask 077; cat >{BESIDE} && mv {BESIDE} {path}"
    machine.enter(node, ["sh", "-c", script], stdin=text)


DUPLICATE_POD_NAME = Fault(
    "duplicate-pod-name", TWIN_USAGE, "put the same static pod into two files",
    parse_twin, plant_twins, remove_twins,
)  # fmt: skip
MANIFEST_EDITED = Fault(
    "manifest-edited", EDIT_USAGE, "edit the scheduler's manifest while the old scheduler will not end",
    parse_edit, edit_scheduler, undo_edit,
)  # fmt: skip
MANIFEST_WRONG_MODE = Fault(
    "manifest-wrong-mode", MODE_USAGE, "let everybody write the scheduler's manifest",
    parse_mode, open_manifest, close_manifest,
)  # fmt: skip
OIDC_FLAGS_ADDED = Fault(
    "oidc-flags", OIDC_USAGE, "add OIDC flags to the API server's manifest and not to kubeadm-config",
    parse_oidc, add_oidc, drop_oidc,
)  # fmt: skip
