"""The commands that concern machines and cluster: up, down, reset, status, ssh, kubectl, env, doctor."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from nslab import locks
from nslab.nodes import cluster, doctor, identity, infra, lifecycle, machine, processes, saved, state
from nslab.progress import Report
from nslab.settings import (
    ALERTMANAGER_PORT,
    FROM_VERSION,
    INFRA_ADDRESS,
    PACKAGES_PORT,
    PROFILES,
    PROMETHEUS_PORT,
    PUSHGATEWAY_PORT,
    REGISTRY_PORT,
)
from nslab.shell import CommandError, LabError

Subparsers = argparse._SubParsersAction  # argparse has no public name for it
_NO_OPTIONS = "\0"  # as prefix of options: every argument is passed on, also those with dashes


def register(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Add this module's commands."""
    up = subparsers.add_parser("up", help="bring the lab up")
    up.add_argument(
        "--profile", choices=sorted(PROFILES), default=None, help="small (default): 1 + 2 nodes; ha: 3 + 3"
    )
    up.add_argument(
        "--version", default=None, help=f"Kubernetes version to start from (default: {FROM_VERSION})"
    )
    up.add_argument(
        "--fresh",
        action="store_true",
        help="end with the fresh cluster, whatever the present one was used for",
    )
    up.set_defaults(run=_up)
    for name, act, text in (
        ("down", _down, "take the lab down; leaves only the cache"),
        ("reset", _reset, "back to the fresh cluster"),
        ("status", _status, "show nodes, services and faults"),
        ("env", _env, 'print the lab\'s facts for a shell: eval "$(lab/lab env)"'),
        ("doctor", _doctor, "say what this machine lacks"),
    ):
        subparsers.add_parser(name, help=text).set_defaults(run=act)
    ssh = subparsers.add_parser(
        "ssh", help="log in on a node, or run a command there", prefix_chars=_NO_OPTIONS
    )
    ssh.add_argument("node")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    ssh.set_defaults(run=_ssh)
    kubectl = subparsers.add_parser("kubectl", help="kubectl as administrator", prefix_chars=_NO_OPTIONS)
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    kubectl.set_defaults(run=_kubectl)


def _up(options: argparse.Namespace) -> None:
    present = state.current() if state.exists() else state.Lab()
    wanted = state.Lab(options.profile or present.profile_name, options.version or present.version)
    with locks.operation("up"):
        lifecycle.up(wanted, Report(), options.fresh)


def _down(_: argparse.Namespace) -> None:
    with locks.operation("down"):
        lifecycle.down(Report())


def _reset(_: argparse.Namespace) -> None:
    with locks.operation("reset"):
        lifecycle.reset(Report())


def _ssh(options: argparse.Namespace) -> None:
    words = options.command
    # One word is a shell line as with ssh itself; several are a command whose words stay apart.
    remote = [] if not words else ["--", words[0] if len(words) == 1 else shlex.join(words)]
    argv = machine.ssh_command(options.node) + remote
    os.execvp(argv[0], argv)


def _kubectl(options: argparse.Namespace) -> None:
    state.current()
    environment = {**os.environ, **cluster.environment()}
    os.execve(state.KUBECTL, ["kubectl", *options.arguments], environment)


def _env(_: argparse.Namespace) -> None:
    for name, value in facts(state.current()).items():
        print(f"export {name}={shlex.quote(value)}")


def facts(lab: state.Lab) -> dict[str, str]:
    """Return what a program needs in order to use the lab."""
    here = f"http://{INFRA_ADDRESS}"
    return {
        "NSLAB_PROFILE": lab.profile_name,
        "NSLAB_VERSION": lab.version,
        "KUBECONFIG": str(state.KUBECONFIG),
        "NSLAB_KUBECTL": str(state.KUBECTL),
        "NSLAB_API": f"https://{lab.profile.api_endpoint}",
        "NSLAB_SSH_KEY": str(identity.PRIVATE_KEY),
        "NSLAB_KNOWN_HOSTS": str(identity.KNOWN_HOSTS),
        "NSLAB_NODES": " ".join(f"{n.name}={n.address}" for n in lab.profile.nodes),
        "NSLAB_CONTROL_PLANES": " ".join(n.name for n in lab.control_planes),
        "NSLAB_WORKERS": " ".join(n.name for n in lab.workers),
        "NSLAB_PROMETHEUS_URL": f"{here}:{PROMETHEUS_PORT}",
        "NSLAB_PUSHGATEWAY_URL": f"{here}:{PUSHGATEWAY_PORT}",
        "NSLAB_ALERTMANAGER_URL": f"{here}:{ALERTMANAGER_PORT}",
        "NSLAB_PACKAGES_URL": f"{here}:{PACKAGES_PORT}",
        "NSLAB_REGISTRY": f"{INFRA_ADDRESS}:{REGISTRY_PORT}",
    }


def _status(_: argparse.Namespace) -> None:
    from nslab import faults  # the faults build on this package, so not at the top

    lab = state.current()
    kept = "kept" if saved.exist(lab) else "not kept yet"
    print(f"profile {lab.profile_name}, Kubernetes {lab.version} at the start; its fresh disks are {kept}")
    for node in lab.profile.nodes:
        print(f"  {node.name:5} {node.address:15} {'on' if machine.is_on(node.name) else 'OFF'}")
    stopped = [name for name in infra.names(lab) if processes.pid_of(name) is None]
    print("services: " + (f"NOT RUNNING: {', '.join(stopped)}" if stopped else "all run"))
    try:
        problems = cluster.unhealthy()
    except (CommandError, ValueError) as error:
        problems = [f"the API does not answer ({str(error).splitlines()[-1]})"]
    print("cluster: " + ("; ".join(problems) or "healthy"))
    print("faults: " + ("; ".join(faults.active()) or "none"))


def _doctor(_: argparse.Namespace) -> None:
    findings = [*doctor.examine(), *doctor.supply()]
    print("\n".join(map(str, findings)))
    lacking = [f for f in findings if not f.fine and f.essential]
    if lacking:
        sys.stdout.flush()
        raise LabError(f"{len(lacking)} thing(s) are lacking; the lab cannot run here")
