"""The node could not be reached over SSH; what ran on it may have gone on."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs

_DECISIVE = ("driver.node_away",)

CAUSE = Cause(
    name="ssh_cut",
    title="The node could not be reached over SSH.",
    decisive=_DECISIVE,
    explains=("driver.unreachable", "job.unfinished"),
    test="Does the node answer now, and what did its job do? `systemctl status 'nightshift-*'; ss -ltn 'sport = :22'`",
    remedy="Repair the network or sshd; the next night attaches to the job or runs it again.",
    specificity=1,
    match=by_signs(*_DECISIVE),
    answers=("jobs/",),
)
