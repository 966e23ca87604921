"""What the gates have in common: many findings, one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nightshift.domain.look_again import LookAgain, together, usual
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
    look_again: LookAgain | None = None  # None: as usual for its code

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data, for a verdict's evidence."""
        return {**asdict(self), "outcome": self.outcome.value}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from `to_dict`'s output."""
        look_again = LookAgain.from_dict(data.get("look_again"))
        return Finding(**{**data, "outcome": Outcome(data["outcome"]), "look_again": look_again})


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
    timed = (replace(f, look_again=f.look_again or usual(f.outcome, f.code)) for f in findings)
    ordered = sorted(timed, key=lambda f: f.outcome.severity, reverse=True)
    leader = ordered[0]
    equal = [f for f in ordered if f.outcome is leader.outcome]
    rest = [f.message for f in ordered if f.outcome is not leader.outcome]
    message = " ".join(f.message for f in equal) + (" Also: " + " ".join(rest) if rest else "")
    kept["findings"] = [f.to_dict() for f in ordered]
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
        look_again=together(f.look_again for f in equal),
    )


def findings_of(verdict: Verdict) -> list[Finding]:
    """What the verdict was concluded from, and what made it blind beside that."""
    kept: Sequence[Mapping[str, Any]] = verdict.evidence.get("findings") or ()
    found = [Finding.from_dict(f) for f in kept]
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
        look_again=verdict.look_again,
    )
    return [own, *found]
