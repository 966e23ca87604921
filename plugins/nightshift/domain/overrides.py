"""An owner's word against one finding of one gate: named, reasoned, signed, and over at a stated moment.

An override turns exactly the finding with its code into a warning that says who wants it so. Other findings of the same
gate stay what they are. What could not be known about etcd, the quorum or tonight's target is never overridden, whichever
gate says so: nobody can take responsibility for what nobody knows there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nightshift.domain.gates.findings import Finding, conclude, findings_of
from nightshift.domain.look_again import at_moment
from nightshift.domain.policy import Override, iso_minute
from nightshift.domain.verdicts import Outcome, Verdict

# Gates of which nothing unknown is overridden, and what must not be unknown whichever gate misses it.
NEVER_BLIND = frozenset({"etcd_latency", "etcd_state", "quorum", "version_skew", "plan"})
NEVER_UNKNOWN = frozenset({"VERSION_UNKNOWN", "TARGET_NOT_CHOSEN", "TARGET_UNKNOWN"})
_ETCD = "ETCD_"  # how the codes about etcd begin
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
    findings = findings_of(verdict)
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
        is_vital = finding.code in NEVER_UNKNOWN or finding.code.startswith(_ETCD)
        return gate not in NEVER_BLIND and not is_vital
    return finding.outcome in _SHUT


def _softened(finding: Finding, override: Override) -> Finding:
    said = f"Overridden by {override.person} until {iso_minute(override.until)} ({override.reason}): {finding.message}"
    over = at_moment(override.until, "when this override is over")
    return replace(finding, outcome=Outcome.WARN, message=said, look_again=over)
