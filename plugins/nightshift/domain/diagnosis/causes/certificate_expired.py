"""A certificate of the control plane or the kubelet has expired."""

from __future__ import annotations

from dataclasses import replace

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.etcd_clients import with_refused_clients
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK
from nightshift.domain.diagnosis.signs import Signs, State

_DECISIVE = ("certificate.expired",)
_LISTED = "certificates.ended"
_matched = with_refused_clients(*_DECISIVE, refused="etcd.client_expired", alert="expired certificate")


def _match(signs: Signs) -> Match | None:
    """What says so may speak of another machine's certificate: the node's own were listed after the failure."""
    found = _matched(signs)
    if found is None or found.kept_down or signs.state(_LISTED) is not State.ABSENT:
        return found
    return replace(found, doubt="none of this node's own certificates had ended when the evidence was taken")


CAUSE = Cause(
    name="certificate_expired",
    title="A certificate has expired ({subject}).",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Which one? `kubeadm certs check-expiration; openssl x509 -enddate -noout -in /var/lib/kubelet/pki/kubelet-client-current.pem`",
    remedy="Renew it (`kubeadm certs renew`; for a kubelet a new bootstrap), restart what uses it, then run the night again.",
    specificity=5,
    match=_match,
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
    answers=("state/certificates",),
)
