"""The API server turns requests away because a priority level has no room (API Priority and Fairness)."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import CONTROL_PLANE_STUCK

_DECISIVE = ("api.too_many_requests", "api.told_to_wait")

CAUSE = Cause(
    name="api_starvation",
    title="The API server turns requests away: it is flooded, or a priority level has no room.",
    decisive=_DECISIVE,
    explains=(*CONTROL_PLANE_STUCK, "kubeadm.preflight", "job.failed"),
    test="Who fills which level? `kubectl get --raw /debug/api_priority_and_fairness/dump_priority_levels; kubectl get flowschemas`",
    remedy="Stop the client that floods it, or give its FlowSchema another priority level, then run the night again.",
    specificity=4,
    match=by_signs(*_DECISIVE),
    # Being told to wait alone may also be a server that shuts down.
    links=("api.too_many_requests",),
    answers=("recorder/metrics/apiserver-",),
)
