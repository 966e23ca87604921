"""A name that the node needs cannot be resolved."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause
from nightshift.domain.diagnosis.causes.symptoms import IMAGES_STUCK, PACKAGES_STUCK
from nightshift.domain.diagnosis.causes.transient import in_step_or_lasting

_DECISIVE = ("dns.failed",)

CAUSE = Cause(
    name="dns",
    title="The name {subject} cannot be resolved on this node.",
    decisive=_DECISIVE,
    explains=(*IMAGES_STUCK, *PACKAGES_STUCK, "job.kubelet_unhealthy", "job.api_lost"),
    test="Does the node's resolver answer? `cat /etc/resolv.conf; getent hosts NAME`",
    remedy="Repair the node's resolver or the name, then run the night again.",
    specificity=4,
    match=in_step_or_lasting(*_DECISIVE, in_step="dns.in_step", firm="no such host"),
    answers=("state/resolv",),
)
