"""The node was started anew while a job was at work."""

from __future__ import annotations

import math

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.jobs import NAMES
from nightshift.domain.diagnosis.signs import Signs

_DECISIVE = ("node.rebooted", "boot.marker")


def _match(signs: Signs) -> Match | None:
    """A boot from before the job began did not end it."""
    began = max((sign.first for sign in signs.of(*NAMES) if sign.first is not None), default=0.0)
    # The journal's times are of whole seconds.
    found = tuple(s for s in signs.of(*_DECISIVE) if s.last is None or s.last >= math.floor(began))
    if not found:
        return None
    doubt = "" if any(sign.last for sign in found) else "nobody knows when it was started"
    return Match(found, found[0].subject, doubt=doubt)


CAUSE = Cause(
    name="node_rebooted",
    title="The node was rebooted while the job was at work.",
    decisive=_DECISIVE,
    explains=("job.unfinished", "driver.unreachable", "kubelet.exited", "job.timed_out"),
    test="When, and why? `last -x reboot shutdown; journalctl --list-boots`",
    remedy="Find who rebooted it (kured, a person, power), keep that out of the night, run the night again.",
    specificity=4,
    match=_match,
    leads_to=("ssh_cut", "kubelet_down"),
    answers=("state/processes",),
)
