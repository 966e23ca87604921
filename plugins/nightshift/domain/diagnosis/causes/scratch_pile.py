"""kubeadm's old etcd backups pile up: they fill the disk and cost IO. A condition."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Role, by_signs

_DECISIVE = ("scratch.pile",)

CAUSE = Cause(
    name="scratch_pile",
    title="kubeadm's old backups pile up ({subject}).",
    decisive=_DECISIVE,
    explains=(),
    test="How many, how large? `du -sh /etc/kubernetes/tmp; ls /etc/kubernetes/tmp | wc -l`",
    remedy="Remove the old ones (step reclaim-scratch does), never those of a failure that is not understood yet.",
    specificity=1,
    match=by_signs(*_DECISIVE),
    role=Role.CONDITION,
    answers=("state/scratch",),
)
