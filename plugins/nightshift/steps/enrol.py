"""Prepares a cluster for Nightshift, or takes everything back. Run by a person, never by the night."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightshift.clients.cluster_setup import ClusterSetup
from nightshift.clients.node_install import install_scripts, remove_scripts
from nightshift.clients.node_ssh import NodeSsh
from nightshift.clients.permissions import Permission
from nightshift.clients.questions.incident import evidence_permissions
from nightshift.clients.script_bundle import SSH_USER, ScriptBundle
from nightshift.clients.ssh_connect import KeyPair, connector
from nightshift.domain.debts import OWNER_ANNOTATION, TOKEN_ANNOTATION, DebtKind, workload_debts
from nightshift.domain.errors import ConfigError, LeaseHeldError, NightshiftError
from nightshift.domain.facts import NodeFacts, WorkloadName
from nightshift.domain.policy import LimitPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.steps.debts import repay, repay_all
from nightshift.steps.hold import RENEWAL_SECONDS
from nightshift.steps.look import permissions
from nightshift.steps.session import on_all

_WATCH_SECONDS = LimitPolicy.lease_renew_seconds + RENEWAL_SECONDS


@dataclass(frozen=True)
class Access:
    """How a person with full rights reaches the cluster.

    Args:
        setup: the API, as administrator.
        ssh_user: root, or a user with password-less sudo.
        ssh_key: that user's private key, PEM.
        host_key: finds a node's pinned host key; None when it is not known.
        log: one line for the person who watches.
        quiesce: workloads of the policy that the night may make quiet.
        clock: seconds since the epoch.
        sleep: waits that many seconds.
    """

    setup: ClusterSetup
    ssh_user: str
    ssh_key: str
    host_key: Callable[[NodeFacts], str | None]
    log: Callable[[str], None]
    quiesce: tuple[WorkloadName, ...] = ()
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def enrol(access: Access, key: KeyPair) -> dict[str, Any]:
    """Prepare every node and the API; repeating it changes nothing that is so already.

    Args:
        access: the administrator's ways in.
        key: the pair Nightshift itself shall log in with.

    Returns:
        {"kube_config": data of the service account's kubeconfig, "host_keys": {node: key}}.

    Raises:
        ConfigError: HOST_KEY_UNKNOWN, a node's host key is not pinned; nothing was touched.
        NightshiftError: the first node's that could not be prepared; all others were. While a run holds the cluster
            no node is prepared that has other scripts, or lets another key in.
    """
    nodes = access.setup.api.nodes()
    holder = _holder(access)
    if holder:
        access.log(f"Run {holder} is at the cluster: nodes keep scripts and key, rights stay as they are")
    host_keys = pinned_host_keys(access, nodes)
    bundle = ScriptBundle.shipped()

    def prepare(node: NodeFacts) -> Sequence[str]:
        pinned = host_keys[node.name]
        connect = connector(node.address, access.ssh_user, access.ssh_key, pinned)
        changes = install_scripts(node.name, connect, bundle, key.public, is_held=bool(holder))
        return (*changes, _verified(node, key, pinned, bundle))

    _report(access, on_all(nodes, prepare))
    if not holder:  # a right that a run needs to give something back is not taken from it
        applied = access.setup.apply(access.quiesce, granted_reads())
        access.log(f"cluster: applied {len(applied)} objects in namespace nightshift and around it")
    return {"kube_config": access.setup.kube_config(), "host_keys": host_keys}


def _holder(access: Access) -> str:
    """Who is at the cluster; "" for nobody.

    An expired Lease is watched for as long as a live run needs to renew it: this machine's clock is not Airflow's, and
    an API that was away for a while lets every Lease expire.
    """
    lease = access.setup.api.lease()
    if not lease.holder or lease.renewed is None or lease.is_live(access.clock()):
        return lease.holder if lease.renewed is not None else ""
    access.log(f"The Lease of {lease.holder} has expired; it is watched for {_WATCH_SECONDS:.0f} s")
    deadline = access.clock() + _WATCH_SECONDS
    while access.clock() < deadline:
        access.sleep(1.0)
        now = access.setup.api.lease()
        if now != lease:
            return now.holder
    return ""


def granted_reads() -> tuple[Permission, ...]:
    """What gates and evidence read, each once."""
    return tuple(dict.fromkeys((*permissions(), *evidence_permissions())))


def unenrol(access: Access) -> None:
    """Remove everything `enrol` made, from nodes and cluster, and give back what a dead run still holds.

    Args:
        access: the administrator's ways in.

    Raises:
        LeaseHeldError: LEASE_HELD, a run is at the cluster; nothing was touched.
        ConfigError: HOST_KEY_UNKNOWN.
        NightshiftError: the first node's that could not be cleaned; all others and not the cluster were.
    """
    holder = _holder(access)
    if holder:
        raise LeaseHeldError(
            "LEASE_HELD",
            f"Run {holder} is at this cluster.",
            cause="Its Lease was renewed within its time.",
            next_step="Let it end, or mark it failed in Airflow and wait for the recovery.",
        )
    nodes = access.setup.api.nodes()
    host_keys = pinned_host_keys(access, nodes)
    bundle = ScriptBundle.shipped()

    def clean(node: NodeFacts) -> Sequence[str]:
        connect = connector(node.address, access.ssh_user, access.ssh_key, host_keys[node.name])
        changes = remove_scripts(node.name, connect, bundle)  # refuses while a job of a dead run still works
        if access.setup.api.uncordon(node.name):
            changes = (*changes, "uncordoned, a run that died had cordoned it")
        marks = (node.annotations.get(OWNER_ANNOTATION), node.annotations.get(TOKEN_ANNOTATION))
        access.setup.api.drop_node_annotations(node.name, *marks)
        if QUARANTINE_ANNOTATION in node.annotations:
            access.setup.api.annotate_node(node.name, {QUARANTINE_ANNOTATION: None})
        return changes or ("nothing was there",)

    _report(access, on_all(nodes, clean))
    _repay_recorded(access, access.clock())
    removed = access.setup.remove()
    access.log(f"cluster: removed {len(removed)} objects")


def _repay_recorded(access: Access, now: float) -> None:
    """Give back what a dead run had made quiet: the record of it goes with the namespace."""
    api = access.setup.api
    done, failed = repay_all(workload_debts(api.debts()), lambda debt: repay(api, debt, now))
    for line in done:
        access.log(f"cluster: {line}")
    for debt in api.debts():
        if str(debt) in failed or debt.kind is DebtKind.UNREADABLE:
            why = failed.get(str(debt), f"the record of {debt} cannot be read: {debt.undo}")
            access.log(f"cluster: FAILED {why}")
    for error in failed.values():
        raise error


def pinned_host_keys(access: Access, nodes: Sequence[NodeFacts]) -> dict[str, str]:
    """The pinned host key of every node.

    Raises:
        ConfigError: HOST_KEY_UNKNOWN, naming all nodes without one: trust is never made up on first use.
    """
    found = {node.name: access.host_key(node) for node in nodes}
    missing = sorted(name for name, key in found.items() if key is None)
    if missing:
        raise ConfigError(
            "HOST_KEY_UNKNOWN",
            f"No host key is pinned for {', '.join(missing)}.",
            cause="The known_hosts file names neither the node's address nor its name.",
            next_step="Compare `ssh-keyscan -t ed25519 ADDRESS` with /etc/ssh/ssh_host_ed25519_key.pub on the node "
            "itself, then add the line to the file.",
        )
    return {name: key for name, key in found.items() if key is not None}


def _verified(node: NodeFacts, key: KeyPair, host_key: str, bundle: ScriptBundle) -> str:
    """Log in as Nightshift will, look once around, and say so."""
    ssh = NodeSsh(node.name, connector(node.address, SSH_USER, key.private, host_key), bundle)
    try:
        probe = ssh.probe()
    finally:
        ssh.close()
    return f"log-in works; kubelet {probe.kubelet_version}, scripts {bundle.version}"


def _report(access: Access, results: Mapping[str, Sequence[str] | NightshiftError]) -> None:
    """Say what happened on every node, then raise the first error, if any."""
    for name, result in results.items():
        lines = (f"FAILED {result}",) if isinstance(result, NightshiftError) else result
        for line in lines:
            access.log(f"{name}: {line}")
    for result in results.values():
        if isinstance(result, NightshiftError):
            raise result
