"""etcd has no leader: too few members answer."""

from __future__ import annotations

import re

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK
from nightshift.domain.diagnosis.etcd_log import LEADERLESS_SECONDS
from nightshift.domain.diagnosis.signs import Sign, Signs

_DECISIVE = ("etcd.leaderless",)
_RECORDED = "recorder.etcd_no_leader"  # the recorder asked each second
_SLOW_DISK = ("etcd.slow_fsync", "recorder.etcd_slow_fsync")
_STRETCH = re.compile(r"(\d{1,9}) s without a break")


def _match(signs: Signs) -> Match | None:
    """One stretch without a leader that no start explains, in the log of one container or as the recorder saw it."""
    lasting = (
        *signs.of(*_DECISIVE),
        *(sign for sign in signs.of(_RECORDED) if _seconds(sign) >= LEADERLESS_SECONDS),
    )
    if not lasting:
        return None
    doubt = (
        "etcd's disk was slow as well: members that answer late do the same" if signs.of(*_SLOW_DISK) else ""
    )
    return Match(lasting, doubt=doubt)


def _seconds(sign: Sign) -> float:
    found = _STRETCH.match(sign.value)
    return float(found[1]) if found else 0.0


CAUSE = Cause(
    name="etcd_quorum",
    title="etcd has no leader: too few of its members answer.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, "kubeadm.preflight"),
    test="Which members answer? `etcdctl member list -w table; etcdctl endpoint health --cluster`",
    remedy="Bring the missing members back (or restore), then run the night again.",
    specificity=3,
    match=_match,
    answers=("state/etcd",),
    hints=(_RECORDED,),
)
