"""The kernel killed a component for want of memory."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK
from nightshift.domain.diagnosis.signs import Sign, Signs

_DECISIVE = ("oom.killed",)
_NODE_SERVICES = ("kubelet", "containerd")


def _match(signs: Signs) -> Match | None:
    """A tenant may run an etcd or a kube-apiserver of its own: the kernel names the killed one's cgroup, and it must be seen to end here."""
    found = signs.of(*_DECISIVE)
    if not found:
        return None
    of_ours = {sign.subject for sign in signs.of("oom.of_ours")}
    of_others = {sign.subject for sign in signs.of("oom.of_others")} - of_ours
    ours = tuple(
        s for s in found if s.subject in of_ours or (_ended_here(s, signs) and s.subject not in of_others)
    )
    if ours:
        is_sure = any(sign.subject in of_ours and _ended_here(sign, signs) for sign in ours)
        doubt = "" if is_sure else f"nothing shows that it was this node's own {ours[0].subject}"
        return Match(ours, ours[0].subject, doubt=doubt)
    why = f"nothing shows that this node's own {found[0].subject} ended; a pod may run a program of that name"
    return Match(found, found[0].subject, kept_down=why)


def _ended_here(sign: Sign, signs: Signs) -> bool:
    if sign.subject in _NODE_SERVICES:
        return bool(signs.of("kubelet.exited", "kubelet.not_running", "job.kubelet_unhealthy"))
    # The kernel cuts names at 15 characters: kube-controller, kube-scheduler.
    return any(crash.subject.startswith(sign.subject) for crash in signs.of("pod.crash_loop"))


CAUSE = Cause(
    name="oom_kill",
    title="The kernel killed {subject} for want of memory.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Who had the memory? `journalctl -k | grep -A40 oom-kill; free -m`",
    remedy="Give the node memory or move what fills it, then run the night again.",
    specificity=4,
    match=_match,
    hints=("recorder.memory_low",),
    leads_to=("kubelet_down", "etcd_quorum"),
    answers=(
        "journal/kernel",
        "state/memory",
    ),
)
