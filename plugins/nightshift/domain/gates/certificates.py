"""Gate: do all certificates live through this night?

Looked at on every node: what lies in /etc/kubernetes/pki, the certificates inside kubeconfigs, and the kubelet's client
certificate. One that has expired, or expires within `certificates.block_hours`, **blocks**; so does one that is not valid
yet. What kubeadm puts on every node must be found there, or the gate is **blind**: the cluster's CA and the kubelet's
client certificate (in its file, or that of kubelet.conf); on a control plane also those of the API server, the front
proxy and the kubeconfigs, and where an etcd runs, etcd's. A CA with less than `certificates.warn_ca_days` left **warns**:
nothing renews it by itself. Any other certificate with less than `certificates.warn_leaf_days` left warns; on control
planes tonight's upgrade renews it, and a kubelet renews its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.certificates import CERTIFICATES, CertificateFacts
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.look_again import at_moment
from nightshift.domain.policy import CertificatePolicy, ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.topics import NODES, PROBES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "certificates"
TITLE = "Certificates"
NEEDS: tuple[AnyTopic, ...] = (CERTIFICATES, NODES)
WANTS: tuple[AnyTopic, ...] = (PROBES,)
MOMENTS = frozenset({Moment.NIGHT})

_HOUR = 3600
_DAY = 86_400
_KUBELET = (
    "/var/lib/kubelet/",
    "/etc/kubernetes/kubelet.conf",
)  # the kubelet's own: kubeadm renews none of it
_KUBELET_CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
_KUBELET_SERVER = "/var/lib/kubelet/pki/kubelet-server-current.pem"
_NODE_NAME = "system:node:"  # how a kubelet's own name begins, wherever its certificate lies
_PKI = "/etc/kubernetes/pki/"
_ETCD_PKI = f"{_PKI}etcd/"
_ETCD_MANIFEST = "etcd.yaml"

# What kubeadm puts there, in the order in which it is named.
_ON_EVERY_NODE = (f"{_PKI}ca.crt",)
_ON_CONTROL_PLANES = (
    f"{_PKI}apiserver.crt",
    f"{_PKI}apiserver-kubelet-client.crt",
    f"{_PKI}front-proxy-ca.crt",
    f"{_PKI}front-proxy-client.crt",
    *(f"/etc/kubernetes/{name}.conf" for name in ("admin", "controller-manager", "scheduler")),
)
_OF_ETCD = tuple(f"{_ETCD_PKI}{name}.crt" for name in ("ca", "server", "peer", "healthcheck-client"))
_BESIDE_ETCD = (f"{_PKI}apiserver-etcd-client.crt", *_OF_ETCD)
_NAMED = 3  # missing files in one message; the evidence has those that are there


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge every certificate of every node."""
    found, now = round_.by_node(CERTIFICATES), round_.now
    findings = [
        *_missing(found, round_.get(NODES), _etcd_nodes(round_)),
        *(
            finding
            for node in sorted(found)
            for certificate in found[node]
            for finding in _judge(node, certificate, policy.certificates, now)
        ),
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


def _etcd_nodes(round_: Round) -> frozenset[str]:
    """The nodes with an etcd of kubeadm's; of one that was not probed its certificates tell."""
    try:
        probes = round_.by_node(PROBES)
    except NotRead:
        return frozenset()
    return frozenset(node for node, p in probes.items() if any(m.name == _ETCD_MANIFEST for m in p.manifests))


def _missing(
    found: Mapping[str, tuple[CertificateFacts, ...]], nodes: Iterable[NodeFacts], etcd_nodes: frozenset[str]
) -> Iterator[Finding]:
    """What a node of its role has, and was not found: it lies elsewhere, and nobody has looked at it, or it is gone."""
    control_planes = {node.name for node in nodes if node.is_control_plane}
    for node in sorted(found):
        there = {certificate.file for certificate in found[node]}
        required = [*_ON_EVERY_NODE]
        if node in control_planes:
            required += _ON_CONTROL_PLANES
            # An external etcd's certificates lie where kubeadm-config says; only its CA may be among these.
            if node in etcd_nodes or there.intersection(_OF_ETCD[1:]):
                required += _BESIDE_ETCD
        lacking = [file for file in required if file not in there]
        if not any(map(_is_kubelets, found[node])):
            lacking.append(_KUBELET_CLIENT)
        if lacking:
            role = ", a control plane" if node in control_planes else ""
            verb = "was" if len(lacking) == 1 else "were"
            yield _not_found(f"{_listed(lacking)} {verb} not found on {node}{role}.")


def _is_kubelets(certificate: CertificateFacts) -> bool:
    """Whether a kubelet shows it to the API server. With rotation off it lies in kubelet.conf, or where that says."""
    return certificate.file == _KUBELET_CLIENT or (
        certificate.file != _KUBELET_SERVER and certificate.subject.startswith(_NODE_NAME)
    )


def _listed(files: list[str]) -> str:
    more = len(files) - _NAMED
    return ", ".join(files[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _not_found(message: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "CERTIFICATE_NOT_FOUND",
        message,
        "It lies in another directory (certificatesDir in kubeadm-config), or was deleted.",
        "On that node: kubeadm certs check-expiration shows what there is; put it where kubeadm puts it.",
        value="not found",
        threshold="found on every node",
    )


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
            look_again=at_moment(certificate.begins, f"when {where} is valid, or once it was made again"),
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
            look_again=at_moment(
                certificate.ends - policy.block_hours * _HOUR, f"when {where} begins to block the night"
            ),
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
