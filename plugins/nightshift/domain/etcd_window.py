"""A window over etcd that was kept open because observations were missing: what its last part says alone.

Verdicts are in the form in which tasks hand them on (`Verdict.to_dict`), samples in that of `steps/gates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightshift.domain.verdicts import Outcome

TOO_FEW = "ETCD_TOO_FEW_SAMPLES"  # spelled out in the gate too: codes are read from the gates' own files
_OPEN = (Outcome.PASS, Outcome.WARN)
_LEAST_SECONDS = 3.0  # a look costs a task's start and a connection to every member
_RESERVE = 1.2  # the observations of an idle cluster come in small bursts


def look_on_seconds(verdict: Mapping[str, Any], minimum_samples: int, most: float, looks: int = 1) -> float:
    """Seconds after which the missing observations should be there, at the pace of the window so far.

    Args:
        verdict: that of the gate, ETCD_TOO_FEW_SAMPLES.
        minimum_samples: of each histogram, the policy's.
        most: seconds; also the answer when there is no pace to reckon with.
        looks: how often was looked in vain: a cluster that fell silent keeps less than the pace, and is asked ever more rarely.
    """
    paces = [
        (float(count), float(member["window_seconds"]))
        for member in verdict["evidence"].values()
        if isinstance(member, Mapping) and "observations" in member
        for count in member["observations"].values()
        if count is not None and count < minimum_samples
    ]
    if not paces or min(count for count, _ in paces) <= 0:
        return most
    missing = max((minimum_samples - count) * seconds / count for count, seconds in paces)
    return min(most, max(_LEAST_SECONDS * looks, missing * _RESERVE))


def last_window_start(
    looks: Sequence[Mapping[str, Any]], taken: float, window_seconds: float
) -> Mapping[str, Any] | None:
    """The newest look with which the window's last part is a whole window; None: it is too early for one.

    Args:
        looks: samples that were taken while the window was open.
        taken: when the newest sample was, epoch seconds.
        window_seconds: the policy's.
    """
    whole = [look for look in looks if taken - float(look["taken"]) >= window_seconds]
    return max(whole, key=lambda look: float(look["taken"]), default=None)


def hidden_findings(whole: Mapping[str, Any], last: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What shuts the gate by the last part alone, and the longer window hides; missing observations do not count.

    Args:
        whole: the verdict over the whole window.
        last: the verdict over its last part.
    """
    if Outcome(whole["outcome"]) not in _OPEN:
        return []
    found = last["evidence"].get("findings") or [last]
    return [one for one in found if Outcome(one["outcome"]) not in _OPEN and one["code"] != TOO_FEW]
