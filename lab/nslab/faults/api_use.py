"""`deprecated-api-in-use`: somebody asks for an API version that the next release no longer serves.

A stock 1.34 serves no such version any more; so the API server is told to serve storage.k8s.io/v1alpha1 (removed in 1.35),
as an owner would who once tried it, and it is asked for once.
"""

from __future__ import annotations

from collections.abc import Sequence

from nslab import probe
from nslab.faults.control_plane import MANIFEST, SETTLE, api_server_argv
from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import cluster, machine, state
from nslab.shell import LabError, wait_until

USAGE = "deprecated-api-in-use NODE"
FLAG = "--runtime-config=storage.k8s.io/v1alpha1=true"
KEPT = "/etc/kubernetes/.nslab-before-deprecated-api.yaml"
HALF_WRITTEN = "/etc/kubernetes/.nslab-with-deprecated-api.yaml"
REQUEST = "/apis/storage.k8s.io/v1alpha1/volumeattributesclasses"


def parse(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, USAGE, 1)
    return [Case("deprecated-api-in-use", node_name(name, "control-plane"))]


def with_flag(manifest: str) -> str:
    """Return the manifest with the flag right behind the program's name."""
    lines = manifest.splitlines()
    if any(line.strip().startswith("- --runtime-config=") for line in lines):
        raise LabError(f"{MANIFEST} has a --runtime-config already", "`lab/lab reset` makes a fresh node")
    for number, line in enumerate(lines):
        if line.strip() == "- kube-apiserver":
            lines.insert(number + 1, line.replace("kube-apiserver", FLAG))
            return "\n".join(lines) + "\n"
    raise LabError(
        f"{MANIFEST} starts no kube-apiserver", "look at the file; `lab/lab reset` makes a fresh node"
    )


def ask(case: Case) -> str:
    """Serve the old version and ask for it once."""
    node = case.subject
    machine.enter(node, ["sh", "-c", f"[ -e {KEPT} ] || cp -p {MANIFEST} {KEPT}"])
    changed = with_flag(machine.enter(node, ["cat", KEPT]).stdout)
    # Written beside the directory and moved in, with the first one's access: the kubelet might read half a file.
    write = f"cp -p {KEPT} {HALF_WRITTEN} && cat >{HALF_WRITTEN} && mv {HALF_WRITTEN} {MANIFEST}"
    machine.enter(node, ["sh", "-c", write], stdin=changed)
    _wait_running(node, with_the_flag=True)
    server = f"https://{state.node(node).address}:6443"
    cluster.kubectl(["--server", server, "get", "--raw", REQUEST])
    return f"the API server on {node} was asked for {REQUEST}, which 1.35 no longer serves"


def forget(case: Case) -> str:
    """Put the manifest back; the API server that starts then has not been asked for anything."""
    node = case.subject
    machine.enter(node, ["sh", "-c", f"[ ! -e {KEPT} ] || mv {KEPT} {MANIFEST}; rm -f {HALF_WRITTEN}"])
    _wait_running(node, with_the_flag=False)
    return f"the API server on {node} serves what it served before"


def _wait_running(node: str, *, with_the_flag: bool) -> None:
    def runs() -> bool:
        argv = api_server_argv(node)
        return bool(argv) and (FLAG in argv) == with_the_flag

    wait_until(runs, f"the API server on {node} runs as its manifest says", SETTLE)
    ready = f"https://{state.node(node).address}:6443/readyz"
    wait_until(lambda: probe.ask("api", ready).ok, f"the API server on {node} is ready", SETTLE)
    cluster.wait_healthy(SETTLE)  # its pod in the API, and whoever lost the API meanwhile


DEPRECATED_API_IN_USE = Fault(
    "deprecated-api-in-use", USAGE, "ask a control plane for an API that 1.35 removes", parse, ask, forget
)
