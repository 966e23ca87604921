"""The kubelet does not run, and nothing says why."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import KUBELET_STUCK

_DECISIVE = ("kubelet.not_running",)

CAUSE = Cause(
    name="kubelet_down",
    title="The kubelet does not run.",
    decisive=_DECISIVE,
    explains=KUBELET_STUCK,
    test="Since when, and what were its last words? `systemctl status kubelet; journalctl -u kubelet -n 50`",
    remedy="Start it, or repair what it says, then run the night again.",
    runbook="NODE_NOT_READY",
    specificity=1,
    match=by_signs(*_DECISIVE),
)
