"""A pod without a budget keeps its node: it does not end, or the policy protects it."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs

_DECISIVE = ("drain.pod_stays",)

CAUSE = Cause(
    name="pod_stays",
    title="A pod stays on its node and no budget keeps it: it does not end, or may not be evicted ({subject}).",
    decisive=_DECISIVE,
    explains=("drain.blocked",),
    test="What keeps the pod? `kubectl get pod -n NAMESPACE POD -o yaml` (deletionTimestamp, finalizers, ownerReferences, emptyDir)",
    remedy="Let it end (its finalizers, its grace period), or say that it may go: the annotation nightshift.io/evict or the policy's drain section.",
    specificity=4,
    match=by_signs(*_DECISIVE),
    answers=("driver/error",),
)
