from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import node, probe
from tests.unit.domain.gate_rounds import NOW, POLICY, round_of

from nightshift.domain.facts.certificates import CERTIFICATES, CertificateFacts
from nightshift.domain.gates import certificates
from nightshift.domain.policy import CertificatePolicy, ClusterPolicy
from nightshift.domain.round import AnyTopic
from nightshift.domain.topics import NODES, PROBES
from nightshift.domain.verdicts import Outcome, Verdict

HOUR, DAY = 3600, 86_400
LEAF = CertificateFacts(
    "/etc/kubernetes/pki/apiserver.crt", "kube-apiserver", NOW - 100 * DAY, NOW + 265 * DAY, False
)
CA = CertificateFacts("/etc/kubernetes/pki/ca.crt", "kubernetes", NOW - 100 * DAY, NOW + 3550 * DAY, True)
KUBELET = replace(LEAF, file="/var/lib/kubelet/pki/kubelet-client-current.pem", subject="system:node:w1")

# As kubeadm leaves them, kubelet.conf naming the kubelet's own file.
WORKER = (CA, KUBELET)
ETCD_FILES = tuple(
    f"/etc/kubernetes/pki/{name}.crt"
    for name in ("apiserver-etcd-client", "etcd/ca", "etcd/server", "etcd/peer", "etcd/healthcheck-client")
)
PLAIN_FILES = (
    *(
        f"/etc/kubernetes/pki/{name}.crt"
        for name in ("apiserver", "apiserver-kubelet-client", "front-proxy-ca", "front-proxy-client")
    ),
    *(f"/etc/kubernetes/{name}.conf" for name in ("admin", "super-admin", "controller-manager", "scheduler")),
)
NO_ETCD = (CA, KUBELET, *(replace(LEAF, file=file) for file in PLAIN_FILES))
CONTROL_PLANE = (*NO_ETCD, *(replace(LEAF, file=file) for file in ETCD_FILES))


def without(certificates: tuple[CertificateFacts, ...], *files: str) -> tuple[CertificateFacts, ...]:
    return tuple(c for c in certificates if not c.file.endswith(files))


def verdict_of(*found: CertificateFacts, policy: ClusterPolicy = POLICY) -> Verdict:
    """With these on w1, instead of its own of the same files."""
    files = {c.file for c in found}
    return verdict_on(
        {"cp1": CONTROL_PLANE, "w1": (*(c for c in WORKER if c.file not in files), *found)}, policy
    )


def verdict_on(
    found: Mapping[str, tuple[CertificateFacts, ...]],
    policy: ClusterPolicy = POLICY,
    facts: Mapping[AnyTopic, Any] | None = None,
) -> Verdict:
    read: dict[AnyTopic, Any] = {
        CERTIFICATES: found,
        NODES: (node("cp1"), node("w1")),
        PROBES: {"cp1": probe(), "w1": probe("w1")},
    }
    return certificates.check(round_of({**read, **(facts or {})}), policy)


@pytest.mark.parametrize(
    ("certificate", "left", "outcome", "code"),
    [
        (LEAF, 15 * DAY, Outcome.PASS, "OK"),
        (LEAF, 13 * DAY, Outcome.WARN, "CERTIFICATE_EXPIRING"),
        (LEAF, 25 * HOUR, Outcome.WARN, "CERTIFICATE_EXPIRING"),
        (LEAF, 23 * HOUR, Outcome.BLOCK, "CERTIFICATE_EXPIRING"),
        (LEAF, 0, Outcome.BLOCK, "CERTIFICATE_EXPIRED"),
        (LEAF, -3 * DAY, Outcome.BLOCK, "CERTIFICATE_EXPIRED"),
        (CA, 31 * DAY, Outcome.PASS, "OK"),
        (CA, 29 * DAY, Outcome.WARN, "CERTIFICATE_EXPIRING"),
        (CA, HOUR, Outcome.BLOCK, "CERTIFICATE_EXPIRING"),
        (CA, -HOUR, Outcome.BLOCK, "CERTIFICATE_EXPIRED"),
        (KUBELET, 13 * DAY, Outcome.WARN, "CERTIFICATE_EXPIRING"),
    ],
)
def test_one_certificate(certificate: CertificateFacts, left: float, outcome: Outcome, code: str) -> None:
    verdict = verdict_of(replace(certificate, ends=NOW + left))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert f"{certificate.file} on w1 ({certificate.subject})" in verdict.message
    if outcome is Outcome.WARN:  # from when on it blocks
        assert verdict.look_again is not None
        assert 0 <= (verdict.look_again.at or 0) - (NOW + left - 24 * HOUR) < 60


def test_only_what_the_upgrade_renews_is_said_to_be_renewed_by_it() -> None:
    soon = NOW + 5 * DAY
    renewed = "Tonight's upgrade of that node renews it"
    assert renewed in verdict_of(replace(LEAF, ends=soon)).message
    assert renewed not in verdict_of(replace(KUBELET, ends=soon)).message
    in_kubeconfig = replace(KUBELET, file="/etc/kubernetes/kubelet.conf", ends=soon)
    assert renewed not in verdict_of(in_kubeconfig).message
    assert renewed not in verdict_of(replace(CA, ends=soon)).message


def test_a_certificate_of_the_future_blocks() -> None:
    verdict = verdict_of(replace(LEAF, begins=NOW + HOUR))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "CERTIFICATE_NOT_YET_VALID")


@pytest.mark.parametrize(
    ("numbers", "left", "outcome"),
    [
        ({"block_hours": 48}, 47 * HOUR, Outcome.BLOCK),
        ({"warn_leaf_days": 60}, 59 * DAY, Outcome.WARN),
        ({"warn_leaf_days": 0}, 5 * DAY, Outcome.PASS),
    ],
)
def test_the_policy_moves_the_limits(numbers: dict[str, Any], left: float, outcome: Outcome) -> None:
    policy = replace(POLICY, certificates=CertificatePolicy(**numbers))
    assert verdict_of(replace(LEAF, ends=NOW + left), policy=policy).outcome is outcome


def test_pass_names_the_first_to_expire() -> None:
    verdict = verdict_of(replace(KUBELET, ends=NOW + 100 * DAY))
    assert "kubelet-client-current.pem on w1, 100 days from now" in verdict.message


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"cp1": CONTROL_PLANE, "w1": ()},
            "pki/ca.crt, /var/lib/kubelet/pki/kubelet-client-current.pem were not",
        ),
        ({"cp1": (), "w1": WORKER}, "and 11 more were not found on cp1, a control plane."),
        (
            {"cp1": without(CONTROL_PLANE, "/apiserver.crt"), "w1": WORKER},
            "pki/apiserver.crt was not found on cp1",
        ),
        (
            {"cp1": without(CONTROL_PLANE, "proxy-client.crt"), "w1": WORKER},
            "front-proxy-client.crt was not found",
        ),
        (
            {"cp1": without(CONTROL_PLANE, "scheduler.conf"), "w1": WORKER},
            "scheduler.conf was not found on cp1",
        ),
        (
            {"cp1": without(CONTROL_PLANE, "etcd/peer.crt"), "w1": WORKER},
            "pki/etcd/peer.crt was not found on cp1",
        ),
        (
            {"cp1": without(CONTROL_PLANE, *ETCD_FILES), "w1": WORKER},
            "apiserver-etcd-client.crt, /etc/kubernetes",
        ),
        ({"cp1": without(CONTROL_PLANE, "current.pem"), "w1": WORKER}, "current.pem was not found on cp1"),
        ({"cp1": CONTROL_PLANE, "w1": without(WORKER, "current.pem")}, "current.pem was not found on w1."),
        (
            {"cp1": CONTROL_PLANE, "w1": without(WORKER, "ca.crt")},
            "/etc/kubernetes/pki/ca.crt was not found on w1.",
        ),
    ],
)
def test_certificates_that_were_not_found_are_not_healthy(
    found: Mapping[str, tuple[CertificateFacts, ...]], said: str
) -> None:
    verdict = verdict_on(found)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "CERTIFICATE_NOT_FOUND")
    assert said in verdict.message


def test_what_kubeadm_puts_there_passes() -> None:
    assert verdict_on({"cp1": CONTROL_PLANE, "w1": WORKER}).outcome is Outcome.PASS
    assert (
        verdict_on({"cp1": without(CONTROL_PLANE, "super-admin.conf"), "w1": WORKER}).outcome is Outcome.PASS
    )


@pytest.mark.parametrize("client", [(), (replace(LEAF, file="/etc/kubernetes/pki/etcd/ca.crt", is_ca=True),)])
def test_an_external_etcd_keeps_its_certificates_where_it_likes(client: tuple[CertificateFacts, ...]) -> None:
    """kubeadm-config names them; the API server's client certificate may be called anything."""
    alone = {"cp1": replace(probe(), manifests=tuple(m for m in probe().manifests if m.name != "etcd.yaml"))}
    found = {"cp1": (*NO_ETCD, *client), "w1": WORKER}
    assert verdict_on(found, facts={PROBES: alone}).outcome is Outcome.PASS


def test_without_a_probe_the_certificates_tell_that_an_etcd_runs() -> None:
    found = {"cp1": without(CONTROL_PLANE, "etcd/peer.crt"), "w1": WORKER}
    assert verdict_on(found, facts={PROBES: {}}).outcome is Outcome.BLIND


def test_a_kubelet_whose_rotation_is_off_has_its_certificate_in_its_kubeconfig() -> None:
    embedded = replace(KUBELET, file="/etc/kubernetes/kubelet.conf")
    assert verdict_on({"cp1": CONTROL_PLANE, "w1": (CA, embedded)}).outcome is Outcome.PASS
    serving = replace(KUBELET, file="/var/lib/kubelet/pki/kubelet-server-current.pem")
    assert verdict_on({"cp1": CONTROL_PLANE, "w1": (CA, serving)}).outcome is Outcome.BLIND


def test_a_node_that_did_not_answer_is_not_also_said_to_have_none() -> None:
    assert (
        verdict_on({"cp1": CONTROL_PLANE}).outcome is Outcome.PASS
    )  # `judge` makes the gate blind for its silence
