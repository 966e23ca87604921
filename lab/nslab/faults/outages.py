"""Something is away for a while and comes back by itself unchanged: SSH to a node, its API server, etcd or its metrics.

`ssh-cut`, `api-down` and `etcd-metrics-cut` are packet filter rules on the node, so that nothing is restarted and `heal` takes effect at
once. A cable that is cut answers nothing (DROP); a server that is down refuses (a TCP reset). The lab's own way in over
SSH is cut as well; these faults enter without SSH.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence

from nslab.faults.etcd import find_etcd
from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import machine
from nslab.shell import LabError

SSH_USAGE = "ssh-cut NODE"
API_USAGE = "api-down NODE"
METRICS_USAGE = "etcd-metrics-cut NODE"
ETCD_USAGE = "etcd-stopped NODE"

# The comment is what a rule is found by; kube-proxy's own rules stay as they are.
RULES = {
    "ssh-cut": ["-p", "tcp", "--dport", "22", "-m", "comment", "--comment", "nslab-ssh-cut", "-j", "DROP"],
    "api-down": [
        *("-p", "tcp", "--dport", "6443", "-m", "comment", "--comment", "nslab-api-down"),
        *("-j", "REJECT", "--reject-with", "tcp-reset"),
    ],
    # The kubelet's probes come from the same address to the same port and must go through, or etcd would be restarted.
    "etcd-metrics-cut": [
        *("-p", "tcp", "--dport", "2381", "-m", "string", "--algo", "bm", "--string", "GET /metrics"),
        *(
            "-m",
            "comment",
            "--comment",
            "nslab-etcd-metrics-cut",
            "-j",
            "REJECT",
            "--reject-with",
            "tcp-reset",
        ),
    ],
}


def parse_ssh(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, SSH_USAGE, 1)
    return [Case("ssh-cut", node_name(name))]


def parse_api(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, API_USAGE, 1)
    return [Case("api-down", node_name(name, "control-plane"))]


def parse_metrics(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, METRICS_USAGE, 1)
    return [Case("etcd-metrics-cut", node_name(name, "control-plane"))]


def parse_etcd(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, ETCD_USAGE, 1)
    return [Case("etcd-stopped", node_name(name, "control-plane"))]


def close(case: Case) -> str:
    """Put the rule first; connections that are open feel it, too."""
    open_again(case)
    machine.enter(case.subject, ["iptables", "-w", "-I", "INPUT", *RULES[case.fault]])
    return f"{case.subject}: {case.fault}"


def open_again(case: Case) -> str:
    """Take the rule away, however often it stands there; a node that was booted meanwhile has none."""
    delete = shlex.join(["iptables", "-w", "-D", "INPUT", *RULES[case.fault]])
    machine.enter(case.subject, ["sh", "-c", f"while {delete} 2>/dev/null; do :; done"])
    return f"{case.subject}: {case.fault} is over"


def stop_etcd(case: Case) -> str:
    """Freeze the member: its connections stay open and nothing is answered, as on a machine that hangs.

    The kubelet's liveness probe ends a frozen etcd after about 80 s and starts another, which is not frozen.
    """
    pid = find_etcd(case.subject)
    if pid is None:
        raise LabError(f"no etcd runs on {case.subject}", "wait until kubeadm or the kubelet has started it")
    os.kill(pid, signal.SIGSTOP)
    return f"etcd on {case.subject} is stopped"


def continue_etcd(case: Case) -> str:
    """Let the member go on; one that was started meanwhile does not notice."""
    pid = find_etcd(case.subject)
    if pid is not None:
        os.kill(pid, signal.SIGCONT)
    return f"etcd on {case.subject} goes on"


SSH_CUT = Fault("ssh-cut", SSH_USAGE, "drop every packet to a node's sshd", parse_ssh, close, open_again)
API_DOWN = Fault(
    "api-down", API_USAGE, "refuse every connection to a node's API server", parse_api, close, open_again
)
METRICS_CUT = Fault(
    "etcd-metrics-cut", METRICS_USAGE, "refuse every request for etcd's metrics; its probes go on",
    parse_metrics, close, open_again,
)  # fmt: skip
ETCD_STOPPED = Fault(
    "etcd-stopped", ETCD_USAGE, "freeze a node's etcd (SIGSTOP)", parse_etcd, stop_etcd, continue_etcd
)
