"""A certificate is of another authority or for another name than its user expects."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause
from nightshift.domain.diagnosis.causes.etcd_clients import with_refused_clients
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK

_DECISIVE = ("certificate.untrusted",)

CAUSE = Cause(
    name="certificate_wrong",
    title="A certificate is wrong: {subject}.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Which authority signed it, for which names? `for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt; do openssl x509 -noout -subject -issuer -ext subjectAltName -in $f; done`",
    remedy="Put back the certificate or the CA that belongs there, restart what uses it, then run the night again.",
    specificity=4,
    match=with_refused_clients(
        *_DECISIVE, refused="etcd.client_untrusted", alert="unknown certificate authority"
    ),
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
    answers=("state/certificates",),
)
