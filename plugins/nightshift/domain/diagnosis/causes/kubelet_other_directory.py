"""The kubelet does not read the manifests that kubeadm writes."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import CONTROL_PLANE_STUCK

_DECISIVE = ("kubelet.static_pod_path", "kubelet.manifest_unread")

CAUSE = Cause(
    name="kubelet_other_directory",
    title="The kubelet does not read the manifests that kubeadm writes: {subject}.",
    decisive=_DECISIVE,
    explains=CONTROL_PLANE_STUCK,
    test="Which directory does it read? `grep staticPodPath /var/lib/kubelet/config.yaml; ls -la /etc/kubernetes/manifests`",
    remedy="Set staticPodPath to /etc/kubernetes/manifests or repair the file it names, restart the kubelet, then run the night again.",
    specificity=4,
    match=by_signs(*_DECISIVE),
    answers=(
        "state/kubelet-config",
        "manifests/listing",
    ),
)
