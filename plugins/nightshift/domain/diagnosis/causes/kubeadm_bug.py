"""kubeadm itself fails, in a way that is known of this version."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs

_DECISIVE = ("kubeadm.known_bug",)

CAUSE = Cause(
    name="kubeadm_bug",
    title="This version of kubeadm has a known bug: {subject}.",
    decisive=_DECISIVE,
    explains=("job.kubeadm_failed", "job.api_lost", "kubeadm.preflight"),
    test="Which version ran, and does the issue describe this end? `kubeadm version -o short`",
    remedy="Take a version that has the fix as the target (or the workaround that the issue names), then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=(
        "state/packages",
        "journal/nightshift-all",
    ),
)
