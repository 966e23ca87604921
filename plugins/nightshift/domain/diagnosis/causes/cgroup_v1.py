"""The node runs on cgroup v1, which the kubelet refuses from 1.35 on."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import KUBELET_STUCK

_DECISIVE = ("kubelet.cgroup_v1", "kubeadm.cgroup_v1")

CAUSE = Cause(
    name="cgroup_v1",
    title="The node uses cgroup v1, which kubelet 1.35 and newer refuse.",
    decisive=_DECISIVE,
    explains=(*KUBELET_STUCK, "kubeadm.preflight"),
    test="Which version? `stat -fc %T /sys/fs/cgroup` (cgroup2fs is v2)",
    remedy="Boot the node with cgroup v2; for the time being failCgroupV1: false in the kubelet's configuration.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    leads_to=("kubelet_down",),
    answers=("state/platform", "state/kubelet-config"),
)
