"""Faults of configuration: a kubelet's file edited by hand, a Corefile of one's own, a kubeadm-config that nothing runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import cluster, machine
from nslab.shell import LabError, wait_until

KUBELET_USAGE = "kubelet-config-edited NODE"
COREFILE_USAGE = "corefile-custom"
DRIFT_USAGE = "kubeadm-config-drifted FLAG VALUE"

KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
KUBELET_LINE = "maxPods: 111"
COREFILE_LINE = "    log . # nslab"
NO_EXTRAS = "scheduler: {}"


def parse_kubelet(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, KUBELET_USAGE, 1)
    return [Case("kubelet-config-edited", node_name(name))]


def edit_kubelet(case: Case) -> str:
    """Add a setting to the kubelet's file and let it read the file."""
    script = f"grep -qx '{KUBELET_LINE}' {KUBELET_CONFIG} || echo '{KUBELET_LINE}' >>{KUBELET_CONFIG}"
    _change_kubelet(case.subject, script)
    return f"{KUBELET_CONFIG} on {case.subject} says {KUBELET_LINE}, and kubelet-config does not"


def undo_kubelet(case: Case) -> str:
    """Take the line out again, if no upgrade has done so."""
    _change_kubelet(case.subject, f"sed -i '/^{KUBELET_LINE}$/d' {KUBELET_CONFIG}")
    return f"{KUBELET_CONFIG} on {case.subject} is as kubeadm wrote it"


def _change_kubelet(node: str, script: str) -> None:
    machine.enter(node, ["sh", "-c", f"set -e\n{script}\nsystemctl restart kubelet"])
    healthy = ["curl", "-sf", "-m", "2", "http://127.0.0.1:10248/healthz"]
    wait_until(
        lambda: machine.enter(node, healthy, check=False).stdout == "ok",
        f"the kubelet of {node} is healthy",
        60,
    )


def parse_corefile(arguments: Sequence[str]) -> list[Case]:
    """Read nothing."""
    read_arguments(arguments, COREFILE_USAGE, 0)
    return [Case("corefile-custom", "coredns")]


def change_corefile(_: Case) -> str:
    """Let CoreDNS log every query; it reads the file anew by itself."""
    write_config_map("coredns", "Corefile", corefile_with_line(read_config_map("coredns", "Corefile")))
    return "the Corefile has a line of its own"


def restore_corefile(_: Case) -> str:
    """Take the line out again."""
    write_config_map("coredns", "Corefile", corefile_without_line(read_config_map("coredns", "Corefile")))
    return "the Corefile is as kubeadm wrote it"


def corefile_with_line(corefile: str) -> str:
    """Return the Corefile with one more plugin behind `errors`."""
    plain = corefile_without_line(corefile)
    changed = plain.replace("    errors\n", f"    errors\n{COREFILE_LINE}\n", 1)
    if changed == plain:
        raise LabError("the Corefile has no line `errors`", "`lab/lab reset` makes a fresh cluster")
    return changed


def corefile_without_line(corefile: str) -> str:
    """Return the Corefile as it was."""
    return corefile.replace(f"{COREFILE_LINE}\n", "")


def parse_drift(arguments: Sequence[str]) -> list[Case]:
    """Read `FLAG VALUE`, of the scheduler."""
    flag, value = read_arguments(arguments, DRIFT_USAGE, 2)
    if not re.fullmatch(r"[a-z][a-z-]*", flag) or not re.fullmatch(r"[A-Za-z0-9./:-]+", value):
        raise LabError(f"{flag}={value} is no flag", "write it like: profiling false")
    return [Case("kubeadm-config-drifted", flag, {"value": value})]


def add_to_config(case: Case) -> str:
    """Let kubeadm-config say a flag of the scheduler that no manifest has."""
    text = read_config_map("kubeadm-config", "ClusterConfiguration")
    write_config_map(
        "kubeadm-config", "ClusterConfiguration", config_with(text, case.subject, case.text("value"))
    )
    return (
        f"kubeadm-config gives the scheduler --{case.subject}={case.text('value')}, and nothing runs with it"
    )


def drop_from_config(case: Case) -> str:
    """Take it out again."""
    text = read_config_map("kubeadm-config", "ClusterConfiguration")
    value = case.text("value")
    write_config_map(
        "kubeadm-config", "ClusterConfiguration", text.replace(_scheduler(case.subject, value), NO_EXTRAS)
    )
    return f"kubeadm-config says nothing of --{case.subject}"


def config_with(text: str, flag: str, value: str) -> str:
    """Return a ClusterConfiguration that gives the scheduler one flag."""
    if _scheduler(flag, value) in text:
        return text
    if NO_EXTRAS not in text:
        raise LabError("kubeadm-config says something of the scheduler already", "heal the other fault first")
    return text.replace(NO_EXTRAS, _scheduler(flag, value))


def _scheduler(flag: str, value: str) -> str:
    return f'scheduler:\n  extraArgs:\n  - name: {flag}\n    value: "{value}"'


def drop_extra_args(flags: Sequence[str]) -> None:
    """Take flags out of kubeadm-config, wherever it says them."""
    text = read_config_map("kubeadm-config", "ClusterConfiguration")
    changed = without_extra_args(text, flags)
    if changed != text:
        write_config_map("kubeadm-config", "ClusterConfiguration", changed)


def without_extra_args(text: str, flags: Sequence[str]) -> str:
    """Return a ClusterConfiguration, as kubeadm writes it, without these flags; an empty list goes with the last one."""
    names = "|".join(re.escape(flag.lstrip("-").partition("=")[0]) for flag in flags)
    text = re.sub(rf"^( *)- name: (?:{names})\n\1  value: [^\n]*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^([a-zA-Z]+):\n  extraArgs:\n(?! )", r"\1: {}\n", text, flags=re.MULTILINE)


def read_config_map(name: str, key: str) -> str:
    """Return one key of a ConfigMap in kube-system."""
    query = ["-n", "kube-system", "get", "configmap", name, "-o", "json"]
    return str(json.loads(cluster.kubectl(query).stdout)["data"][key])


def write_config_map(name: str, key: str, value: str) -> None:
    """Set it."""
    patch = json.dumps({"data": {key: value}})
    cluster.kubectl(["-n", "kube-system", "patch", "configmap", name, "--type", "merge", "-p", patch])


KUBELET_CONFIG_EDITED = Fault(
    "kubelet-config-edited", KUBELET_USAGE, "edit a kubelet's file by hand and restart it",
    parse_kubelet, edit_kubelet, undo_kubelet,
)  # fmt: skip
COREFILE_CUSTOM = Fault(
    "corefile-custom", COREFILE_USAGE, "give the Corefile a line of its own",
    parse_corefile, change_corefile, restore_corefile,
)  # fmt: skip
KUBEADM_CONFIG_DRIFTED = Fault(
    "kubeadm-config-drifted", DRIFT_USAGE, "give the scheduler a flag in kubeadm-config that no manifest has",
    parse_drift, add_to_config, drop_from_config,
)  # fmt: skip
