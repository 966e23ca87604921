"""etcd refuses a flag that its new version does not know."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK

_DECISIVE = ("etcd.unknown_flag",)

CAUSE = Cause(
    name="etcd_flag",
    title="etcd refuses the flag {subject}: the new version does not know it.",
    decisive=_DECISIVE,
    explains=ETCD_STUCK,
    test="Is the flag in etcd's manifest? `grep -n -- '--' /etc/kubernetes/manifests/etcd.yaml`",
    remedy="Take the flag out of kubeadm-config (etcd.local.extraArgs) and of the manifest, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=(r"manifests/etcd\.yaml",),
)
