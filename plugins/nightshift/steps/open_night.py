"""May the night begin? Brake, window, permissions, who is at the cluster, every node open; heal what a dead run left."""

from __future__ import annotations

from typing import Any

from nightshift.clients.kube_api import (
    BRAKE_NAME,
    DEBTS_NAME,
    KUBELET_READER,
    NAMESPACE,
    workload_permissions,
)
from nightshift.clients.permissions import Permission
from nightshift.domain.errors import ConfigError, NightshiftError, merge
from nightshift.domain.facts import NodeFacts
from nightshift.domain.owner import require_own_name
from nightshift.domain.quarantine import read_quarantine
from nightshift.domain.store_paths import path_safe
from nightshift.domain.verdicts import Answer
from nightshift.steps.brake import Hold, held
from nightshift.steps.hold import await_recovery, describe_holder, push
from nightshift.steps.look import permissions
from nightshift.steps.quiesce import require_workloads
from nightshift.steps.recover import recover
from nightshift.steps.session import Session, on_all

_COORDINATION = "coordination.k8s.io"
# Asked of the API itself before anything depends on one; the shipped roles grant exactly these and a little more.
PERMISSIONS = (
    Permission("get", "", "nodes"),
    Permission("list", "", "nodes"),
    Permission("patch", "", "nodes"),
    Permission("get", "", "pods"),
    Permission("list", "", "pods"),
    Permission("create", "", "pods/eviction"),
    Permission("list", "policy", "poddisruptionbudgets"),
    Permission("get", "", "namespaces", name=NAMESPACE),
    Permission("patch", "", "namespaces", name=NAMESPACE),
    Permission("get", "", "configmaps", "kube-system", "kubeadm-config"),
    Permission("get", "", "configmaps", NAMESPACE, BRAKE_NAME),
    Permission("get", "", "configmaps", NAMESPACE, DEBTS_NAME),
    Permission("create", "", "configmaps", NAMESPACE),
    Permission("update", "", "configmaps", NAMESPACE, DEBTS_NAME),
    Permission("get", _COORDINATION, "leases", NAMESPACE),
    Permission("create", _COORDINATION, "leases", NAMESPACE),
    Permission("update", _COORDINATION, "leases", NAMESPACE),
    Permission("create", "", "serviceaccounts/token", NAMESPACE, KUBELET_READER),
    Permission("create", "", "pods", NAMESPACE),  # the probe pods of postflight
    Permission("delete", "", "pods", NAMESPACE),
    Permission("get", "", "pods/log", NAMESPACE),
)


def open_night(session: Session, *, dry_run: bool = False) -> dict[str, Any]:
    """Answer {"answer": go|held|blind, "sentence", "code", "recovered": dict|None}.

    In a dry run nothing is repaired and nothing keeps it closed: what would do so is part of its sentence.

    Raises:
        ConfigError: CONFIG_INVALID (an Airflow without a name of its own, also in a dry run), API_FORBIDDEN, or
            WORKLOAD_MISSING.
        NightshiftError: a store that takes nothing (STORE_UNAVAILABLE), or a node that lets nobody in, see `require_nodes`.
    """
    require_own_name(session.installation)
    found = held(session)
    if dry_run:
        return _looked(session, found)
    if found is not None:
        return _said(session, Answer.HELD, found.code, found.sentence)
    require_permissions(session)
    lease = session.kube.lease()
    if lease.holder == session.owner:  # this task was cleared in the middle of its own run
        return _said(session, Answer.GO, "OK", "The night is open: this run holds the cluster already.")
    if lease.is_live(session.clock()) and not await_recovery(session, lease):
        sentence = f"Somebody is at this cluster: {describe_holder(lease)}."
        return _said(session, Answer.HELD, "LEASE_HELD", sentence)
    return _after_healing(session)


def _looked(session: Session, found: Hold | None) -> dict[str, Any]:
    """The opening of a dry run."""
    require_permissions(session)
    require_store(session)
    require_nodes(session)
    require_workloads(session)
    said = [] if found is None else [found.sentence]
    lease = session.kube.lease()
    if lease.holder:
        said.append(f"Somebody is at this cluster: {describe_holder(lease)}.")
    return _said(session, Answer.GO, "OK", " ".join(["A dry run: it only looks.", *said]))


def require_permissions(session: Session) -> None:
    """Ask the API itself for every permission the night needs, before anything depends on one.

    Raises:
        ConfigError: API_FORBIDDEN, listing all that is missing.
    """
    quiesce = [p for name in session.policy.quiesce for p in workload_permissions(name)]
    wanted = [*dict.fromkeys((*PERMISSIONS, *permissions())), *quiesce]
    denied = session.kube.can_i(wanted)
    if denied:
        raise ConfigError(
            "API_FORBIDDEN",
            f"Connection {session.policy.kubernetes_connection} may not: {', '.join(denied)}.",
            cause="Its user lacks a role binding, or the roles are older than this version of Nightshift or than quiesce "
            "in the cluster's YAML.",
            next_step="Run the enrol command for this cluster again (it applies the roles) and start the run again.",
        )
    session.log(f"All {len(wanted)} permissions are there")


def require_store(session: Session) -> None:
    """Write one small object into the store and read it back, also in a dry run: the store is ours, not the cluster's.

    Without it the first to notice would be the snapshot, after the cluster was claimed.

    Raises:
        NightshiftError: STORE_UNAVAILABLE.
    """
    session.store.check(path_safe(session.owner))
    session.log("The store takes what is written and gives it back")


def require_nodes(session: Session) -> None:
    """Log in on every node and run the shipped scripts' look-around, before anything depends on one.

    Whatever closes a node would make each gate blind in words of its own; here it is one error with its own name.

    Raises:
        NightshiftError: what the nodes said, as one error: UnreachableError, TrustError, ConfigError (the connection)
            or BlindError (PROBE_INCOMPLETE).
    """
    nodes = [node for node in session.kube.nodes() if not _is_left_out(session, node)]
    answers = on_all(nodes, lambda node: session.on(node).probe())
    closed = {name: answer for name, answer in answers.items() if isinstance(answer, NightshiftError)}
    if closed:
        raise merge(closed)
    session.log(f"All {len(nodes)} nodes can be reached and carry the shipped scripts")


def _is_left_out(session: Session, node: NodeFacts) -> bool:
    """A worker that an earlier night set aside and that the policy does not try again."""
    is_aside = not node.is_control_plane and read_quarantine(node) is not None
    return is_aside and not session.policy.workers.retry_quarantined


def _after_healing(session: Session) -> dict[str, Any]:
    """Repay what a dead run left; what cannot be repaid yet keeps the night closed."""
    healed = recover(session, None, "leftovers found when the night opened")
    if healed["answer"] in ("nothing", "recovered"):
        # A push that failed when the last run ended, or a Pushgateway restored from its file, still says 1.
        push(session, {"k8s_upgrade_in_flight": 0.0})
        require_store(session)
        require_nodes(session)
        require_workloads(session)
        sentence = "The night is open."
        if healed["answer"] == "recovered":
            sentence = f"The night is open; a dead run's leftovers were repaired first: {healed['sentence']}"
        return _said(session, Answer.GO, "OK", sentence, healed)
    if healed["answer"] == "partial":
        return _said(session, Answer.BLIND, "LEFTOVERS_UNKNOWN", healed["sentence"], healed)
    return _said(session, Answer.HELD, "LEFTOVERS_RUNNING", healed["sentence"], healed)


def _said(
    session: Session, answer: Answer, code: str, sentence: str, recovered: dict[str, Any] | None = None
) -> dict[str, Any]:
    session.log(f"{answer.value}: {sentence}")
    return {"answer": answer.value, "code": code, "sentence": sentence, "recovered": recovered}
