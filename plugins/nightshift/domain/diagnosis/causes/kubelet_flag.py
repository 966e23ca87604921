"""The kubelet refuses a flag or a setting that its new version does not know."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import KUBELET_STUCK

_DECISIVE = ("kubelet.unknown_flag", "kubelet.bad_config")

CAUSE = Cause(
    name="kubelet_flag",
    title="The kubelet refuses {subject}: the new version does not know it, or not this value.",
    decisive=_DECISIVE,
    explains=KUBELET_STUCK,
    test="Where does the flag come from? `cat /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet; systemctl cat kubelet`",
    remedy="Take the flag out of that file (kubeadm upgrade rewrites kubeadm-flags.env only), restart the kubelet, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    leads_to=("kubelet_down",),
    answers=(
        "state/kubelet-flags",
        "state/kubelet-config",
    ),
)
