"""The node was started anew while a job was at work."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs

_DECISIVE = ("node.rebooted", "boot.marker")

CAUSE = Cause(
    name="node_rebooted",
    title="The node was rebooted while the job was at work.",
    decisive=_DECISIVE,
    explains=("job.unfinished", "driver.unreachable", "kubelet.exited", "job.timed_out"),
    test="When, and why? `last -x reboot shutdown; journalctl --list-boots`",
    remedy="Find who rebooted it (kured, a person, power), keep that out of the night, run the night again.",
    runbook="JOB_LOST",
    specificity=4,
    match=by_signs(*_DECISIVE),
    leads_to=("ssh_cut", "kubelet_down"),
)
