"""How long a task of the night may take: the sum of the limits of what it does, so that none ends legitimate work.

A task's own limit is the last resort against a hang. What really bounds the work are the limits of its parts: systemd
ends a job on its node, a drain ends by policy, every question over SSH or to the API has a time-out.
"""

from __future__ import annotations

import math

from nightshift.domain.policy import ClusterPolicy

PARALLEL_NODES = 16  # SSH sessions at once: enough for a rack, few enough for one small Airflow host
REATTACH_SECONDS = 600  # how long a lost connection to a running job is tried again; the job does not notice
FETCH_SECONDS = 900  # a snapshot's way off the node
EVIDENCE_SECONDS = 300  # a node's logs on their way
ASK_AGAIN_SECONDS = 10  # single files of a node, for the tests of the diagnosis: a report is due within 60 s
INCIDENT_PARTS_SECONDS = (
    480  # of one incident: its logs, and what else is begun for it; later only its report is written
)
INCIDENT_SECONDS = 600  # all of it: a part that was begun in time may end after it
LOOK_SECONDS = 120  # the slowest plain question to a node
SUPPLY_SECONDS = 30  # its parts end after 6 s; two addresses per image that both say nothing take 10
_MARGIN_SECONDS = 300  # Airflow, the store
_LEAST_SECONDS = 600


def task_seconds(policy: ClusterPolicy) -> dict[str, float]:
    """Return the time limit of every step that needs more than `look_seconds`, by step."""
    limits, rounds, margin = policy.limits, _rounds(policy), _margin(policy)
    # Its own control plane's restart may keep a node step from the API twice: before it begins and before it ends.
    patience = 2 * limits.node_ready_seconds + margin
    drain = policy.drain.timeout_seconds + patience + INCIDENT_SECONDS
    return {
        "reclaim_scratch": rounds * _job(limits.package_job_seconds) + margin,
        "snapshot": _job(limits.snapshot_job_seconds) + FETCH_SECONDS + INCIDENT_SECONDS + margin,
        "reconcile_drift": 2 * rounds * LOOK_SECONDS
        + _job(limits.package_job_seconds)
        + INCIDENT_SECONDS
        + margin,
        "rehearse": 2 * rounds * LOOK_SECONDS + _job(limits.rehearse_job_seconds) + INCIDENT_SECONDS + margin,
        "stage": _stage_rounds(policy) * (_job(limits.package_job_seconds) + INCIDENT_SECONDS) + margin,
        # In front of a node: the brake is asked before its window and after it.
        "check_etcd": patience + rounds * LOOK_SECONDS,
        "drain_node": drain,
        "quiesce": patience,
        "restore": patience,
        # A control plane's also makes quiet what is not so any more. A job of an earlier try may be followed to its end
        # while the API is away; then the step's own begins. Evidence: of that job, of the node before kubeadm, of this job.
        "upgrade_node": drain
        + limits.node_ready_seconds
        + limits.kubeadm_job_seconds
        + _job(limits.kubeadm_job_seconds)
        + 2 * INCIDENT_SECONDS
        + EVIDENCE_SECONDS,
        "upgrade_kubelet": drain
        + limits.package_job_seconds
        + _job(limits.package_job_seconds)
        + INCIDENT_SECONDS,
        "verify_node": patience + LOOK_SECONDS + INCIDENT_SECONDS,
        "uncordon_node": patience,
        "quarantine_node": patience + LOOK_SECONDS,
        "release": limits.kubeadm_job_seconds + rounds * LOOK_SECONDS + margin,
    }


def look_seconds(policy: ClusterPolicy) -> float:
    """Return the time limit of every other step: it asks each node something, many side by side."""
    return max(_LEAST_SECONDS, _rounds(policy) * LOOK_SECONDS + _margin(policy))


def node_seconds(policy: ClusterPolicy) -> float:
    """Return how long one node may take from its cordon to its uncordon, by the limits of what is done on it."""
    limits = policy.limits
    jobs = limits.kubeadm_job_seconds + limits.package_job_seconds
    return float(policy.drain.timeout_seconds + jobs + limits.node_ready_seconds)


def _margin(policy: ClusterPolicy) -> float:
    """What every task may take beside its work; a step also waits for a recovery, as long as a Lease lives."""
    return policy.limits.lease_seconds + _MARGIN_SECONDS


def _rounds(policy: ClusterPolicy) -> int:
    """How often `PARALLEL_NODES` nodes are done side by side until all were."""
    return math.ceil(policy.limits.expected_nodes / PARALLEL_NODES)


def _stage_rounds(policy: ClusterPolicy) -> int:
    """Control-plane nodes one after the other, then workers as many at once as the policy says."""
    return policy.control_plane_slots + math.ceil(policy.limits.expected_nodes / policy.workers.stage_at_once)


def _job(seconds: int) -> int:
    """A job on a node, and a connection that is lost just before its end."""
    return seconds + REATTACH_SECONDS
