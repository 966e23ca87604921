"""The kernel killed a component for want of memory."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK

_DECISIVE = ("oom.killed",)

CAUSE = Cause(
    name="oom_kill",
    title="The kernel killed {subject} for want of memory.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Who had the memory? `journalctl -k | grep -A40 oom-kill; free -m`",
    remedy="Give the node memory or move what fills it, then run the night again.",
    runbook="NODE_UNDER_PRESSURE",
    specificity=4,
    match=by_signs(*_DECISIVE),
    leads_to=("kubelet_down", "etcd_quorum"),
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
)
