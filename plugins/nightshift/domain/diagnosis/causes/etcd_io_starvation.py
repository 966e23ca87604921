"""etcd waits for its disk for whole seconds. A condition: it delays, and stops a night alone only when nothing else does."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match, Role
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK
from nightshift.domain.diagnosis.signs import Signs

_DECISIVE = ("etcd.starved",)


def _match(signs: Signs) -> Match | None:
    found = signs.of(*_DECISIVE)
    return Match(found, found[0].value) if found else None


CAUSE = Cause(
    name="etcd_io_starvation",
    title="etcd is starved of disk IO ({subject}).",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, "kubeadm.preflight"),
    test="Does etcd's disk sync slowly now, and who else writes to it? `curl -s localhost:2381/metrics | grep wal_fsync_duration_seconds_bucket; cat /proc/pressure/io; iostat -x 1 5`",
    remedy="Find the writer on etcd's device and move it or etcd's data away; run the night when the etcd gates pass.",
    runbook="ETCD_SLOW",
    specificity=2,
    match=_match,
    role=Role.CONDITION,
    links=("apiserver.etcd_timeout",),
)
