"""A member of etcd is not what it should be: still a learner, removed, or of another cluster."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK

_DECISIVE = ("etcd.member",)

CAUSE = Cause(
    name="etcd_member",
    title="A member of etcd is not a full member of this cluster: {subject}.",
    decisive=_DECISIVE,
    explains=ETCD_STUCK,
    test="Who is a member, who a learner? `etcdctl member list -w table`",
    remedy="Promote the learner (`etcdctl member promote ID`), or remove the member and let it join anew; then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=("state/etcd",),
)
