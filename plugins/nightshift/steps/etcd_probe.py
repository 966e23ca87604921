"""Give a quiet etcd a little to do, so that its latency can be measured: only when the policy says so.

Each write changes one annotation of our own namespace, which is dropped at the end. Nothing else is touched.
"""

from __future__ import annotations

from nightshift.domain.errors import NightshiftError
from nightshift.steps.session import Session

PROBE_ANNOTATION = "nightshift.io/etcd-probe"
_PAUSE_SECONDS = 0.2  # between two writes: as often as two control planes' leader elections write


def write_a_little(session: Session, seconds: float) -> int:
    """Write for `seconds` and return how often; an API that does not answer ends it early, the gate then says why."""
    until = session.clock() + seconds
    written = 0
    try:
        while session.clock() < until:
            session.kube.set_namespace_annotations({PROBE_ANNOTATION: f"{session.clock():.3f}"})
            written += 1
            session.sleep(_PAUSE_SECONDS)
        session.kube.set_namespace_annotations({PROBE_ANNOTATION: None})
    except NightshiftError as error:
        session.log(f"The writes that were to give etcd something to do ended: {error}")
    session.log(f"etcd was given {written} small writes.")
    return written
