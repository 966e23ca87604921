"""What the gates have in common: many findings, one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nightshift.domain.verdicts import Outcome, Verdict


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be; the fields are those of `Verdict`."""

    outcome: Outcome
    code: str
    message: str
    cause: str
    resolution: str
    value: str = ""
    threshold: str = ""


def conclude(
    gate: str,
    findings: Sequence[Finding],
    *,
    passed: str,
    value: str = "",
    threshold: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> Verdict:
    """Fold findings into the gate's verdict: the worst one leads, none is lost.

    Args:
        gate: name of the gate.
        findings: what was found, in a stable order.
        passed: the sentence when nothing was found.
        value: decisive number when nothing was found.
        threshold: what it was compared with.
        evidence: details to keep beside the verdict.
    """
    kept = dict(evidence or {})
    if not findings:
        return Verdict(gate, Outcome.PASS, "OK", passed, value=value, threshold=threshold, evidence=kept)
    ordered = sorted(findings, key=lambda f: f.outcome.severity, reverse=True)
    leader = ordered[0]
    equal = [f for f in ordered if f.outcome is leader.outcome]
    rest = [f.message for f in ordered if f.outcome is not leader.outcome]
    message = " ".join(f.message for f in equal) + (" Also: " + " ".join(rest) if rest else "")
    kept["findings"] = [{**asdict(f), "outcome": f.outcome.value} for f in ordered]
    return Verdict(
        gate,
        leader.outcome,
        leader.code,
        message,
        cause=" ".join(dict.fromkeys(f.cause for f in equal)),
        resolution=" ".join(dict.fromkeys(f.resolution for f in equal)),
        value=leader.value,
        threshold=leader.threshold,
        evidence=kept,
    )
