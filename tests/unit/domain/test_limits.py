from dataclasses import replace

import pytest

from nightshift.domain.limits import (
    EVIDENCE_SECONDS,
    FETCH_SECONDS,
    INCIDENT_PARTS_SECONDS,
    INCIDENT_SECONDS,
    REATTACH_SECONDS,
    look_seconds,
    task_seconds,
)
from nightshift.domain.policy import ClusterPolicy, DrainPolicy, LimitPolicy

POLICY = ClusterPolicy(
    "c",
    "k",
    "s",
    "file:///s",
    drain=DrainPolicy(timeout_seconds=7200),
    limits=LimitPolicy(
        kubeadm_job_seconds=4000,
        package_job_seconds=1000,
        snapshot_job_seconds=2000,
        node_ready_seconds=400,
        expected_nodes=33,
    ),
)


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("drain_node", 7200 + INCIDENT_SECONDS),
        pytest.param(
            "upgrade_node",
            4000 + 7200 + 4000 + 400 + 3 * INCIDENT_SECONDS + EVIDENCE_SECONDS,
            id="an earlier try's job followed, drained again, job, verified",
        ),
        pytest.param(
            "upgrade_kubelet",
            1000 + 7200 + 1000 + REATTACH_SECONDS + 2 * 400 + INCIDENT_SECONDS,
            id="an earlier try's job followed, drained again, job and its lost connection, API away twice",
        ),
        pytest.param("snapshot", 2000 + FETCH_SECONDS + INCIDENT_SECONDS, id="job and its way off the node"),
        pytest.param(
            "stage", (3 + 9) * (1000 + INCIDENT_SECONDS), id="3 control planes, then 33 nodes in rounds of 4"
        ),
        pytest.param("reclaim_scratch", 3 * 1000, id="scratch of 33 nodes"),
        pytest.param("release", 4000 + 3 * 60, id="waits for kubeadm, fences all nodes"),
        pytest.param("verify_node", 400 + 60 + INCIDENT_SECONDS, id="API away, pods settle"),
        pytest.param(
            "check_etcd", 2 * 400 + 3 * 60, id="API away before the window and after it, nodes asked"
        ),
    ],
)
def test_a_task_has_time_for_all_it_may_legitimately_do(step: str, parts: float) -> None:
    assert task_seconds(POLICY)[step] > parts


def test_looking_at_many_nodes_takes_longer() -> None:
    assert look_seconds(POLICY) == 3 * 120 + 120 + 300
    assert look_seconds(replace(POLICY, limits=LimitPolicy(expected_nodes=5))) == 600
    assert look_seconds(replace(POLICY, limits=LimitPolicy(expected_nodes=1600))) > 100 * 120


def test_every_task_has_time_to_wait_for_a_recovery() -> None:
    """A step waits for a recovery that is at work, as long as a Lease lives."""
    patient = replace(POLICY, limits=replace(POLICY.limits, lease_seconds=3600))
    assert look_seconds(patient) > 3600
    assert all(seconds > 3600 for seconds in task_seconds(patient).values())
    assert task_seconds(patient)["drain_node"] > 7200 + 3600


def test_an_incident_has_time_for_its_parts_after_the_slowest_archive() -> None:
    assert EVIDENCE_SECONDS + 120 <= INCIDENT_PARTS_SECONDS <= INCIDENT_SECONDS - 120
