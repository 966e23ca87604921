"""The API server refuses a flag, a flag's value or a feature gate that its new version does not know."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import APISERVER_STUCK

_DECISIVE = ("apiserver.unknown_flag", "apiserver.bad_flag_value", "apiserver.unknown_feature")

CAUSE = Cause(
    name="apiserver_flag",
    title="kube-apiserver refuses {subject}: the new version does not know it, or not this value.",
    decisive=_DECISIVE,
    explains=APISERVER_STUCK,
    test="Does the new version know the flag? `grep -n -- '--' /etc/kubernetes/manifests/kube-apiserver.yaml; kubectl -n kube-system get cm kubeadm-config -o yaml`",
    remedy="Take the flag out of kubeadm-config (apiServer.extraArgs) and of the manifest, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=(
        r"manifests/kube-apiserver\.yaml",
        "cluster/kubeadm-config",
        "state/kubeadm-config",
    ),
)
