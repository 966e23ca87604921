"""etcd waits for its disk for whole seconds. A condition: it delays, and stops a night alone only when nothing else does."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match, Role
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK
from nightshift.domain.diagnosis.etcd_log import STARVED_COUNT
from nightshift.domain.diagnosis.lasting import lasted
from nightshift.domain.diagnosis.signs import Signs, State

_DECISIVE = ("etcd.starved",)
_LOGGED, _RECORDED = "etcd.slow_fsync", "recorder.etcd_slow_fsync"  # the disk itself was slow
_WRITER = "recorder.writer"  # who else wrote to etcd's disk meanwhile, as the node's recorder saw it
# The recorder measured the disk at the very moments that the log speaks of.
_FAST_AT_SYNCS, _FAST_AT_WAITS = "recorder.etcd_fast_at_slow_fsync", "recorder.etcd_fast_when_slow"
_MEASURED = "the recorder saw etcd's disk sync fast enough at those moments"
_UNSHOWN = "nothing shows a slow sync of the disk; the processor may have been slow"
_UNREACHED = "the API server did not reach etcd at all for long: a slow one still takes connections"
_BORNE = f"etcd's own log tells of fewer than {STARVED_COUNT} writes or syncs of a second or more"
_WRITERS_SHOWN = 2


def _match(signs: Signs) -> Match | None:
    """How slow it was, and who took the disk, when that was recorded."""
    writers = signs.of(_WRITER)[:_WRITERS_SHOWN]
    named = "".join(f"; {sign.subject} wrote {sign.value}" for sign in writers)
    found, recorded = signs.of(*_DECISIVE), signs.of(_RECORDED)
    if not found and recorded and signs.state(_DECISIVE[0]) is State.ABSENT:
        return Match((*recorded, *writers), f"{recorded[0].value}{named}", kept_down=_BORNE)
    if not found:
        return None
    kept_down, doubt = _disk(signs)
    doubt = doubt or (_UNREACHED if any(map(lasted, signs.of("apiserver.etcd_unreachable"))) else "")
    return Match((*found, *writers), f"{found[0].value}{named}", kept_down=kept_down, doubt=doubt)


def _disk(signs: Signs) -> tuple[str, str]:
    """Why it is not the disk, and why that is not sure: a slow write may also wait for the processor, a slow sync waits for the disk."""
    if signs.of(_RECORDED):
        return "", ""
    if signs.of(_LOGGED):
        return "", _MEASURED if signs.of(_FAST_AT_SYNCS) else ""
    return (_MEASURED, "") if signs.of(_FAST_AT_WAITS) else ("", _UNSHOWN)


CAUSE = Cause(
    name="etcd_io_starvation",
    title="etcd is starved of disk IO ({subject}).",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, "kubeadm.preflight"),
    test="Does etcd's disk sync slowly now, and who else writes to it? `curl -s localhost:2381/metrics | grep wal_fsync_duration_seconds_bucket; cat /proc/pressure/io; iostat -x 1 5`",
    remedy="Find the writer on etcd's device and move it or etcd's data away; run the night when the etcd gates pass.",
    specificity=2,
    match=_match,
    role=Role.CONDITION,
    links=("apiserver.etcd_timeout",),
    hints=("recorder.etcd_slow_fsync", "recorder.etcd_slow_applies", "recorder.io_pressure"),
    answers=(
        "recorder/samples",
        "recorder/metrics/etcd-",
        "pods/kube-system_etcd-",
    ),
)
