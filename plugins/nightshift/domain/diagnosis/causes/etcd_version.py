"""etcd does not start with data that another version has written."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK

_DECISIVE = ("etcd.downgrade", "etcd.version_path")

CAUSE = Cause(
    name="etcd_version",
    title="etcd's version does not fit its data: no such step up or down is possible.",
    decisive=_DECISIVE,
    explains=ETCD_STUCK,
    test="Which version runs, which one wrote? `etcdctl endpoint status -w table; grep image: /etc/kubernetes/manifests/etcd.yaml`",
    remedy="Go to the etcd version that the cluster version asks for, in the steps upstream names; then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=("state/etcd", r"manifests/etcd\.yaml"),
)
