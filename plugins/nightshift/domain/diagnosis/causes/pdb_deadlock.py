"""A PodDisruptionBudget allows no eviction, so a drain never ends."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs

_DECISIVE = ("drain.budget",)

CAUSE = Cause(
    name="pdb_deadlock",
    title="A PodDisruptionBudget allows no eviction: the drain cannot end ({subject}).",
    decisive=_DECISIVE,
    explains=("drain.blocked", "job.timed_out"),
    test="Which budget allows none? `kubectl get pdb -A`",
    remedy="Add a replica or loosen the budget, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    forbids=("kubeadm.hash_unchanged",),
    answers=(
        "driver/error",
        "cluster/events",
    ),
)
