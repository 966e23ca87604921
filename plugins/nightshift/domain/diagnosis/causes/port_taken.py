"""Another process holds a port that a component needs."""

from __future__ import annotations

from dataclasses import replace

from nightshift.domain.diagnosis.cause import Cause, Match, matched
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, KUBELET_STUCK
from nightshift.domain.diagnosis.lasting import failed_at, last_before, lasted
from nightshift.domain.diagnosis.signs import Sign, Signs

_DECISIVE = ("port.taken",)
_SERVING = "component.serving"
# Port -> the sign of how its component ended at last.
_ENDS = {
    "6443": "apiserver.died",
    "2379": "etcd.died",
    "2380": "etcd.died",
    "2381": "etcd.died",
    "10250": "kubelet.last_words",
    "10248": "kubelet.last_words",
}
_KUBELETS = ("10248", "10250")
_QUIET_SECONDS = 60.0  # systemd starts the kubelet anew every 10 s


def _match(signs: Signs) -> Match | None:
    """Two instances of a component that swap meet at the port once: that is over when the new one listens, or ends of something else."""
    found = matched(signs.of(*_DECISIVE))
    if found is None or found.kept_down:
        return found
    overs = [(sign, _over(sign, signs)) for sign in found.decisive]
    still = tuple(sign for sign, over in overs if not over)
    if still:
        return Match(still, still[0].subject)
    sign, why = overs[0]
    return replace(found, doubt=why) if lasted(sign) else replace(found, kept_down=why)


def _over(sign: Sign, signs: Signs) -> str:
    """Why the port was free again before the step failed; "" when nothing says so."""
    port, end = sign.subject.rpartition(":")[2], failed_at(signs)
    if sign.last is None or end is None:
        return ""
    last = last_before(sign, end)
    if last is None:
        return "it was said only after the step had failed"
    if any(
        other.subject == port and last < time <= end for other in signs.of(_SERVING) for time in _times(other)
    ):
        return "the component listened there afterwards, before the step failed"
    if any(last + 1 < time <= end for other in signs.of(_ENDS.get(port, "")) for time in _times(other)):
        return "the component ended later, of something else"
    if port in _KUBELETS and last < end - _QUIET_SECONDS:
        return f"the kubelet said it last {end - last:.0f} s before the step failed"
    return ""


def _times(sign: Sign) -> tuple[float, ...]:
    return tuple(time for time in (sign.first, sign.last) if time is not None)


CAUSE = Cause(
    name="port_taken",
    title="Another process holds the port {subject}.",
    decisive=_DECISIVE,
    explains=(*ETCD_STUCK, *KUBELET_STUCK),
    test="Who holds it? `ss -ltnp`",
    remedy="Stop that process, or an old instance that did not end, then run the night again.",
    specificity=5,
    match=_match,
    links=("pod.crash_loop", "apiserver.died", "etcd.died", "kubelet.exited", "kubelet.not_running"),
    answers=(
        "state/sockets",
        "state/processes",
    ),
)
