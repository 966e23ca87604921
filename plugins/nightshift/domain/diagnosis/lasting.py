"""Whether what a log said still held when the step failed: a restart of the control plane says much that is over a moment later."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.diagnosis.signs import Sign, Signs

LASTED_SECONDS = 60.0  # a restart is over by then
SLACK_SECONDS = 5.0  # journald's stamps are of whole seconds
_NEAR_SECONDS = 95.0  # before the end: the kubelet tries each pod again at least every 90 s
_KUBEADMS_WORDS = ("kubeadm.hash_unchanged", "kubeadm.rolled_back")


@dataclass(frozen=True)
class Standing:
    """How a sign stands in time to the failure.

    Args:
        kept_down: why it cannot be what stopped the step ("" when it can).
        doubt: why it may be something else ("" when it is sure).
    """

    kept_down: str = ""
    doubt: str = ""


def failed_at(signs: Signs) -> float | None:
    """When the step failed, epoch seconds: the end of its job, or kubeadm's own words; None when nobody says."""
    ends = [sign.last for sign in signs.seen if sign.name.startswith("job.") and sign.last is not None]
    said = [sign.last for sign in signs.of(*_KUBEADMS_WORDS) if sign.last is not None]
    return max(ends or said, default=None)


def lasted(sign: Sign) -> bool:
    """It was said again and again, for longer than a restart takes. Two restarts that say it once each are no such stretch."""
    return sign.steady is not None and sign.steady[0] >= LASTED_SECONDS


def last_before(sign: Sign, end: float) -> float | None:
    """When it was said last before the step failed, as far as that is known; None: only afterwards, or nobody knows.

    kubeadm's rollback restarts the control plane once more: what is said then is about that.
    """
    known = [time for time in (sign.first, sign.last) if time is not None and time <= end + SLACK_SECONDS]
    return max(known, default=None)


def standing(sign: Sign, signs: Signs) -> Standing:
    """How a sign stands that a restart shows as well: was it over before the step failed, did it begin only afterwards, did it last."""
    end = failed_at(signs)
    if end is None or sign.last is None:
        return Standing(doubt="nothing says whether it still was so when the step failed")
    last = last_before(sign, end)
    if last is None:
        return Standing(kept_down="it was said only after the step had failed")
    if lasted(sign) and sign.steady is not None:
        ago = end - sign.steady[1]
        return Standing(doubt="" if ago <= _NEAR_SECONDS else f"it ended {ago:.0f} s before the step failed")
    if last >= end - _NEAR_SECONDS:
        return Standing(doubt="it was not said for long: a restart may say that, too")
    return Standing(kept_down=f"it was said last {end - last:.0f} s before the step failed")
