"""The node's clock is wrong: certificates are not valid yet, or etcd's members disagree."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK

_DECISIVE = ("certificate.not_yet_valid", "etcd.clock")

CAUSE = Cause(
    name="clock",
    title="The node's clock is wrong (certificates valid only from {subject}).",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="What time is it here and elsewhere? `date -u; timedatectl; chronyc tracking`",
    remedy="Set the clock and start time synchronisation, then run the night again.",
    specificity=4,
    match=by_signs(*_DECISIVE),
    leads_to=("certificate_expired", "certificate_wrong", "image_unpullable"),
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
    answers=("state/clock",),
)
