"""etcd has no leader: too few members answer."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK

_DECISIVE = ("etcd.no_leader",)

CAUSE = Cause(
    name="etcd_quorum",
    title="etcd has no leader: too few of its members answer.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, "kubeadm.preflight"),
    test="Which members answer? `etcdctl member list -w table; etcdctl endpoint health --cluster`",
    remedy="Bring the missing members back (or restore), then run the night again.",
    runbook="ETCD_NO_LEADER",
    specificity=3,
    match=by_signs(*_DECISIVE),
)
