from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.gate_rounds import NOW, POLICY, round_of

from nightshift.domain.facts.certificates import CERTIFICATES, CertificateFacts
from nightshift.domain.gates import certificates
from nightshift.domain.policy import CertificatePolicy, ClusterPolicy
from nightshift.domain.verdicts import Outcome, Verdict

HOUR, DAY = 3600, 86_400
LEAF = CertificateFacts(
    "/etc/kubernetes/pki/apiserver.crt", "kube-apiserver", NOW - 100 * DAY, NOW + 265 * DAY, False
)
CA = CertificateFacts("/etc/kubernetes/pki/ca.crt", "kubernetes", NOW - 100 * DAY, NOW + 3550 * DAY, True)
KUBELET = replace(LEAF, file="/var/lib/kubelet/pki/kubelet-client-current.pem", subject="system:node:w1")


def verdict_of(*found: CertificateFacts, policy: ClusterPolicy = POLICY) -> Verdict:
    return certificates.check(round_of({CERTIFICATES: {"cp1": (CA, LEAF), "w1": found}}), policy)


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
    verdict = verdict_of(CA, replace(certificate, ends=NOW + left))
    assert (verdict.outcome, verdict.code) == (outcome, code)
    if code != "OK":
        assert f"{certificate.file} on w1 ({certificate.subject})" in verdict.message


def test_only_what_the_upgrade_renews_is_said_to_be_renewed_by_it() -> None:
    soon = NOW + 5 * DAY
    renewed = "Tonight's upgrade of that node renews it"
    assert renewed in verdict_of(replace(LEAF, ends=soon)).message
    assert renewed not in verdict_of(replace(KUBELET, ends=soon)).message
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
