"""Somebody else ran kubeadm on the node at the same time."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match, matched
from nightshift.domain.diagnosis.lasting import failed_at, last_before
from nightshift.domain.diagnosis.signs import Signs

_DECISIVE = ("kubeadm.foreign",)
_RECORDED = "recorder.foreign_kubeadm"
_RUNNING = "kubeadm.running"
_OURS_ENDED = "job.kubeadm_failed"  # a job that was cut off may have left its own kubeadm behind
_LATE = "it may have begun only after this step had failed"


def _match(signs: Signs) -> Match | None:
    """The node says who it was, the recorder saw it begin, or it still runs though ours has ended."""
    found = matched(signs.of(*_DECISIVE))
    if found is not None:
        return found
    end, recorded = failed_at(signs), signs.of(_RECORDED)
    during = tuple(sign for sign in recorded if end is None or last_before(sign, end) is not None)
    if during:
        return Match(during, during[0].subject)
    running = signs.of(_RUNNING) if signs.of(_OURS_ENDED) else ()
    late = (*recorded, *running)
    return Match(late, late[0].subject, doubt=_LATE) if late else None


CAUSE = Cause(
    name="foreign_kubeadm",
    title="Somebody else ran kubeadm here at the same time ({subject}).",
    decisive=_DECISIVE,
    explains=(
        "job.busy",
        "driver.busy",
        "job.kubeadm_failed",
        "kubeadm.hash_unchanged",
        "kubeadm.rolled_back",
    ),
    test="Who? `ps -eo user,lstart,args -C kubeadm; last`",
    remedy="Wait for it to end and look what it did, then run the night again.",
    specificity=5,
    match=_match,
    hints=(_RECORDED, _RUNNING),
    answers=(
        "recorder/processes",
        "state/processes",
    ),
)
