"""dpkg is locked by another process, or was interrupted and waits for a repair."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import PACKAGES_STUCK

_DECISIVE = ("dpkg.locked", "dpkg.interrupted")

CAUSE = Cause(
    name="package_manager_busy",
    title="dpkg is locked or was interrupted ({subject}).",
    decisive=_DECISIVE,
    explains=(*PACKAGES_STUCK, "job.dpkg_busy", "job.kubeadm_failed"),
    test="Who holds the lock, is anything half installed? `lslocks | grep /var/lib/dpkg; dpkg --audit`",
    remedy="Let the other process end, or run `dpkg --configure -a`, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=(
        "recorder/processes",
        "state/processes",
    ),
)
