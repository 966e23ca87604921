"""An object is stored in etcd that the API server cannot read: of a kind it does not know, or encrypted with a key it does not have."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import APISERVER_STUCK

_DECISIVE = ("apiserver.unservable",)

CAUSE = Cause(
    name="unservable_object",
    title="The API server cannot read an object that is stored in etcd ({subject}): its resource never becomes ready.",
    decisive=_DECISIVE,
    explains=APISERVER_STUCK,
    test="Which resource cannot be listed? `kubectl get --raw '/readyz?verbose'; kubectl get RESOURCE -A` for each resource named in its log",
    remedy="Rewrite or delete the object with a version that still serves it (or give the API server the missing key), then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=("pods/kube-system_kube-apiserver-",),
)
