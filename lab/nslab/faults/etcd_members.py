"""Faults of etcd as a cluster: a real NOSPACE alarm, and a member that is down until it is healed."""

from __future__ import annotations

from collections.abc import Sequence

from nslab import probe
from nslab.faults.etcd import find_etcd
from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import machine, state
from nslab.shell import LabError, wait_until

ALARM_USAGE = "etcd-alarm-nospace NODE"
DOWN_USAGE = "member-down NODE"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
TAKEN_AWAY = "/etc/kubernetes/.nslab-etcd.yaml"
SETTLE = 180  # seconds the kubelet gets to end or start etcd, and the API server above it to follow

# Runs on the node; the argument is ACTIVATE or DEACTIVATE. etcdctl can only list and disarm; etcd's own gateway can raise
# an alarm too, and it is as real as one the quota raised: every write is refused until it is taken back.
ALARM = """
set -eu
pki=/etc/kubernetes/pki/etcd
ask() {
    curl -sS --fail --max-time 10 --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt \
        --key $pki/healthcheck-client.key --data "$2" "https://127.0.0.1:2379/v3/maintenance/$1"
}
member=$(ask status '{}' | sed -nE 's/.*"member_id": *"([0-9]+)".*/\\1/p')
ask alarm "{\\"action\\":\\"$1\\",\\"memberID\\":\\"$member\\",\\"alarm\\":\\"NOSPACE\\"}"
"""


def parse_alarm(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, ALARM_USAGE, 1)
    return [Case("etcd-alarm-nospace", node_name(name, "control-plane"))]


def raise_alarm(case: Case) -> str:
    """Raise NOSPACE for the node's member.

    The cluster takes no writes from now on. After some 10 s kube-controller-manager and kube-scheduler cannot renew
    their Leases, end, and are started again.
    """
    _alarm(case, "ACTIVATE")
    return f"etcd has the alarm NOSPACE for its member on {case.subject}; nothing can be written"


def clear_alarm(case: Case) -> str:
    """Take the alarm back; without one nothing happens."""
    _alarm(case, "DEACTIVATE")
    return f"the alarm of {case.subject} is taken back; writes are welcome again"


def _alarm(case: Case, action: str) -> None:
    machine.enter(case.subject, ["sh", "-c", ALARM, "alarm", action])


def parse_down(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`; only where other members keep the quorum, or there would be no cluster left to look at."""
    (name,) = read_arguments(arguments, DOWN_USAGE, 1)
    if len(state.current().control_planes) == 1:
        raise LabError(
            "this lab has one etcd member", "use `lab/lab up --profile ha`, or the fault etcd-stopped"
        )
    return [Case("member-down", node_name(name, "control-plane"))]


def take_down(case: Case) -> str:
    """Take etcd's manifest away, so that the kubelet stops the member and does not start it again."""
    node = case.subject
    machine.enter(node, ["sh", "-c", f"[ ! -e {MANIFEST} ] || mv {MANIFEST} {TAKEN_AWAY}"])
    wait_until(lambda: find_etcd(node) is None, f"etcd on {node} has ended", SETTLE)
    return f"etcd on {node} is down; {MANIFEST} lies at {TAKEN_AWAY}"


def bring_back(case: Case) -> str:
    """Put the manifest back and wait for the member and for the API server, which knows no other etcd."""
    node = case.subject
    machine.enter(node, ["sh", "-c", f"[ ! -e {TAKEN_AWAY} ] || mv {TAKEN_AWAY} {MANIFEST}"])
    wait_until(lambda: find_etcd(node) is not None, f"etcd on {node} runs", SETTLE)
    ready = f"https://{state.node(node).address}:6443/readyz"
    wait_until(lambda: probe.ask("api", ready).ok, f"the API server on {node} is ready", SETTLE)
    return f"etcd on {node} is up again"


ETCD_ALARM = Fault(
    "etcd-alarm-nospace", ALARM_USAGE, "raise etcd's alarm NOSPACE: no write is taken any more",
    parse_alarm, raise_alarm, clear_alarm,
)  # fmt: skip
MEMBER_DOWN = Fault(
    "member-down", DOWN_USAGE, "stop a node's etcd for good, by its manifest (needs the profile ha)",
    parse_down, take_down, bring_back,
)  # fmt: skip
