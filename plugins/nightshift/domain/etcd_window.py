"""A window over etcd that was kept open because observations were missing: what its last part says alone.

Verdicts are in the form in which tasks hand them on (`Verdict.to_dict`), samples in that of `steps/gates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightshift.domain.verdicts import Outcome

TOO_FEW = "ETCD_TOO_FEW_SAMPLES"  # spelled out in the gate too: codes are read from the gates' own files
_OPEN = (Outcome.PASS, Outcome.WARN)


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
