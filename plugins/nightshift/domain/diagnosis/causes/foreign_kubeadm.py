"""Somebody else ran kubeadm on the node at the same time."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs

_DECISIVE = ("kubeadm.foreign",)

CAUSE = Cause(
    name="foreign_kubeadm",
    title="Somebody else ran kubeadm here at the same time ({subject}).",
    decisive=_DECISIVE,
    explains=("job.busy", "job.kubeadm_failed", "kubeadm.hash_unchanged", "kubeadm.rolled_back"),
    test="Who? `ps -eo user,lstart,args -C kubeadm; last`",
    remedy="Wait for it to end and look what it did, then run the night again.",
    runbook="CONTROL_PLANE_BUSY",
    specificity=5,
    match=by_signs(*_DECISIVE),
)
