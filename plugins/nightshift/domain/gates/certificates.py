"""Gate: do all certificates live through this night?

Looked at on every node: what lies in /etc/kubernetes/pki, the certificates inside kubeconfigs, and the kubelet's client
certificate. One that has expired, or expires within `certificates.block_hours`, **blocks**; so does one that is not valid
yet. A CA with less than `certificates.warn_ca_days` left **warns**: nothing renews it by itself. Any other certificate
with less than `certificates.warn_leaf_days` left warns; on control planes tonight's upgrade renews it, and a kubelet
renews its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from nightshift.domain.facts.certificates import CERTIFICATES, CertificateFacts
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import CertificatePolicy, ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "certificates"
TITLE = "Certificates"
NEEDS: tuple[AnyTopic, ...] = (CERTIFICATES,)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT})

_HOUR = 3600
_DAY = 86_400
_KUBELET = "/var/lib/kubelet/"


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge every certificate of every node."""
    found, now = round_.by_node(CERTIFICATES), round_.now
    findings = [
        finding
        for node in sorted(found)
        for certificate in found[node]
        for finding in _judge(node, certificate, policy.certificates, now)
    ]
    first = _first(found)
    return conclude(
        NAME,
        findings,
        passed=f"{sum(map(len, found.values()))} certificates on {len(found)} nodes are valid; the first to expire is "
        f"{first[1].file} on {first[0]}, {_left(first[1], now)} from now."
        if first
        else "No certificates.",
        value=_left(first[1], now) if first else "",
        threshold=f"more than {policy.certificates.block_hours} hours",
        evidence={node: {c.file: _date(c.ends) for c in found[node]} for node in sorted(found)},
    )


def _first(found: Mapping[str, tuple[CertificateFacts, ...]]) -> tuple[str, CertificateFacts] | None:
    everything = [(node, c) for node in sorted(found) for c in found[node]]
    return min(everything, key=lambda pair: pair[1].ends, default=None)


def _judge(
    node: str, certificate: CertificateFacts, policy: CertificatePolicy, now: float
) -> Iterator[Finding]:
    left = certificate.ends - now
    warn_days = policy.warn_ca_days if certificate.is_ca else policy.warn_leaf_days
    where = f"{certificate.file} on {node} ({certificate.subject or 'without a name'})"
    if certificate.begins > now:
        yield Finding(
            Outcome.BLOCK,
            "CERTIFICATE_NOT_YET_VALID",
            f"{where} is not valid before {_date(certificate.begins)}.",
            "It was made on a machine whose clock is ahead, or our clock is behind.",
            "Compare the clocks; then make that certificate again.",
            value=f"valid from {_date(certificate.begins)}",
            threshold="valid now",
        )
    elif left <= 0:
        yield Finding(
            Outcome.BLOCK,
            "CERTIFICATE_EXPIRED",
            f"{where} expired on {_date(certificate.ends)}.",
            "It was not renewed in time; whatever uses it fails at its next connection or start.",
            _remedy(certificate),
            value=f"expired {-left / _DAY:.1f} days ago",
            threshold="valid",
        )
    elif left <= policy.block_hours * _HOUR:
        yield Finding(
            Outcome.BLOCK,
            "CERTIFICATE_EXPIRING",
            f"{where} expires in {left / _HOUR:.1f} hours ({_date(certificate.ends)}); at least {policy.block_hours} "
            "hours must be left.",
            "It could expire in the middle of this night, and everything after it would look like another fault.",
            _remedy(certificate),
            value=f"{left / _HOUR:.1f} hours",
            threshold=f"{policy.block_hours} hours",
        )
    elif left <= warn_days * _DAY:
        yield Finding(
            Outcome.WARN,
            "CERTIFICATE_EXPIRING",
            f"{where} expires in {left / _DAY:.1f} days ({_date(certificate.ends)}); below {warn_days} days it is said."
            + _cure(certificate),
            "A CA is renewed by nobody but you."
            if certificate.is_ca
            else "Certificates of kubeadm live one year and are renewed by every upgrade.",
            _remedy(certificate),
            value=f"{left / _DAY:.1f} days",
            threshold=f"{warn_days} days",
        )


def _cure(certificate: CertificateFacts) -> str:
    if certificate.is_ca or certificate.file.startswith(_KUBELET):
        return ""
    return " Tonight's upgrade of that node renews it."


def _remedy(certificate: CertificateFacts) -> str:
    if certificate.is_ca:
        return "Rotate the CA by hand (Kubernetes: Manual Rotation of CA Certificates); that takes days of preparation."
    if certificate.file.startswith(_KUBELET):
        return "On that node: journalctl -u kubelet tells why it does not rotate; systemctl restart kubelet tries again."
    return "On that node: kubeadm certs renew all, then restart the control-plane pods; kubeadm certs check-expiration shows it."


def _left(certificate: CertificateFacts, now: float) -> str:
    return f"{(certificate.ends - now) / _DAY:.0f} days"


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
