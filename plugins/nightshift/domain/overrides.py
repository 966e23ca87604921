"""An owner's word against one finding of one gate: named, reasoned, signed, and over at a stated moment.

An override turns exactly the finding with its code into a warning that says who wants it so. Other findings of the same
gate stay what they are. What could not be known about etcd, the quorum or tonight's target is never overridden: nobody
can take responsibility for what nobody knows there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import Override, iso_minute
from nightshift.domain.verdicts import Outcome, Verdict

NEVER_BLIND = frozenset({"etcd_latency", "etcd_state", "quorum", "version_skew", "plan"})
_SHUT = (Outcome.HOLD, Outcome.BLOCK, Outcome.BLIND)


def in_force(overrides: Iterable[Override], now: float) -> tuple[Override, ...]:
    """The overrides that have not expired; every report shows them, used or not."""
    return tuple(o for o in overrides if now < o.until)


def apply_overrides(verdict: Verdict, overrides: Sequence[Override], now: float) -> Verdict:
    """The verdict as the owner's overrides leave it; one that none of them concerns is returned as it is.

    Args:
        verdict: what the gate said.
        overrides: all of the policy.
        now: seconds since the epoch.
    """
    wanted = {o.code: o for o in in_force(overrides, now) if o.gate == verdict.gate}
    findings = _findings(verdict)
    used = [wanted[f.code] for f in findings if f.code in wanted and _may(verdict.gate, f)]
    if not used:
        return verdict
    changed = [
        _softened(f, wanted[f.code]) if f.code in wanted and _may(verdict.gate, f) else f for f in findings
    ]
    again = conclude(verdict.gate, changed, passed="", evidence=verdict.evidence)
    kept = {**again.evidence, "overrides": [o.to_dict() for o in dict.fromkeys(used)]}
    return replace(again, evidence=kept)


def _may(gate: str, finding: Finding) -> bool:
    """Tell whether an owner may turn this finding into a warning."""
    if finding.outcome is Outcome.BLIND:
        return gate not in NEVER_BLIND
    return finding.outcome in _SHUT


def _softened(finding: Finding, override: Override) -> Finding:
    said = f"Overridden by {override.person} until {iso_minute(override.until)} ({override.reason}): {finding.message}"
    return replace(finding, outcome=Outcome.WARN, message=said)


def _findings(verdict: Verdict) -> list[Finding]:
    """What the verdict was concluded from, and what made it blind beside that."""
    kept: Sequence[Mapping[str, Any]] = verdict.evidence.get("findings") or ()
    found = [Finding(**{**f, "outcome": Outcome(f["outcome"])}) for f in kept]
    if any(f.code == verdict.code for f in found):
        return found
    own = Finding(
        verdict.outcome,
        verdict.code,
        verdict.message,
        verdict.cause,
        verdict.resolution,
        value=verdict.value,
        threshold=verdict.threshold,
    )
    return [own, *found]
