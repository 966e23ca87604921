"""etcd has no leader: too few members answer."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK
from nightshift.domain.diagnosis.signs import Signs

_LASTING_SECONDS = 30.0  # each start of etcd is without a leader for some seconds
_DECISIVE = ("etcd.no_leader",)


def _match(signs: Signs) -> Match | None:
    lasting = [s for s in signs.of(*_DECISIVE) if s.last and s.first and s.last - s.first >= _LASTING_SECONDS]
    return Match(tuple(lasting)) if lasting else None


CAUSE = Cause(
    name="etcd_quorum",
    title="etcd has no leader: too few of its members answer.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, "kubeadm.preflight"),
    test="Which members answer? `etcdctl member list -w table; etcdctl endpoint health --cluster`",
    remedy="Bring the missing members back (or restore), then run the night again.",
    runbook="ETCD_NO_LEADER",
    specificity=3,
    match=_match,
)
