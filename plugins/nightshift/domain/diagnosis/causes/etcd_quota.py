"""etcd's database reached its quota: it takes no more writes (alarm NOSPACE)."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK

_DECISIVE = ("etcd.no_space",)

CAUSE = Cause(
    name="etcd_quota",
    title="etcd's database has reached its quota and takes no writes (alarm NOSPACE).",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, "kubeadm.preflight"),
    test="Is the alarm on? `etcdctl alarm list; etcdctl endpoint status -w table`",
    remedy="Compact, defragment, disarm the alarm; find who fills it; then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=("state/etcd", "recorder/metrics/etcd-"),
)
