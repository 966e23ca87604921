"""A certificate of the control plane or the kubelet has expired."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK

_DECISIVE = ("certificate.expired",)

CAUSE = Cause(
    name="certificate_expired",
    title="A certificate has expired ({subject}).",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Which one? `kubeadm certs check-expiration; openssl x509 -enddate -noout -in /var/lib/kubelet/pki/kubelet-client-current.pem`",
    remedy="Renew it (`kubeadm certs renew`; for a kubelet a new bootstrap), restart what uses it, then run the night again.",
    runbook="CERTIFICATE_EXPIRED",
    specificity=5,
    match=by_signs(*_DECISIVE),
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
)
