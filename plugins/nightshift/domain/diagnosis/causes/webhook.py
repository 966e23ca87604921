"""An admission webhook refuses or does not answer."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause
from nightshift.domain.diagnosis.causes.transient import in_step_or_lasting

_DECISIVE = ("webhook.failed",)

CAUSE = Cause(
    name="webhook",
    title="The admission webhook {subject} refuses or does not answer.",
    decisive=_DECISIVE,
    explains=(
        "kubeadm.preflight",
        "job.kubeadm_failed",
        "job.api_lost",
        "job.timed_out",
        "drain.blocked",
        "kubeadm.hash_unchanged",
        "kubeadm.rolled_back",
    ),
    test="Does its service have endpoints, and does it cover kube-system? `kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations; kubectl get endpointslices -A`",
    remedy="Bring the webhook's pods back, or exempt kube-system from it, then run the night again.",
    specificity=4,
    match=in_step_or_lasting(*_DECISIVE, in_step="webhook.in_step", firm="denied the request"),
    answers=("cluster/events",),
)
