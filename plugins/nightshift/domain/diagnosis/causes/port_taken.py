"""Another process holds a port that a component needs."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK

_DECISIVE = ("port.taken",)

CAUSE = Cause(
    name="port_taken",
    title="Another process holds the port {subject}.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Who holds it? `ss -ltnp`",
    remedy="Stop that process, or an old instance that did not end, then run the night again.",
    runbook="SECOND_PROCESS",
    specificity=5,
    match=by_signs(*_DECISIVE),
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
)
