"""The container runtime does not offer the CRI that this kubelet needs: it is too old, or its CRI plugin is off."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import IMAGES_STUCK, KUBELET_STUCK

_DECISIVE = ("runtime.too_old",)

CAUSE = Cause(
    name="runtime_too_old",
    title="The container runtime does not offer the interface that the new kubelet needs ({subject}): it is too old, or its CRI plugin is off.",
    decisive=_DECISIVE,
    explains=(*KUBELET_STUCK, *IMAGES_STUCK),
    test="Which version runs, and is its CRI plugin loaded? `containerd --version; ctr plugins ls | grep cri; crictl version`",
    remedy="Upgrade the runtime (or take cri out of disabled_plugins in /etc/containerd/config.toml), restart it, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    leads_to=("kubelet_down", "image_unpullable"),
    links=(
        "kubelet.exited",
        "kubelet.not_running",
        "kubeadm.preflight",
        "job.image_missing",
        "job.kubelet_unhealthy",
    ),
    answers=(
        "state/packages",
        "journal/(?:containerd|crio)",
    ),
)
