"""What gates that judge tonight's hop say when there is no hop to judge."""

from __future__ import annotations

from nightshift.domain.gates.findings import Finding
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome


def unknown_target(target: TargetChoice) -> list[Finding]:
    """A blind finding when the target could not be chosen or does not say where to; nothing when there is nothing to do."""
    is_half = target.is_hop and None in (target.version, target.minor)
    if target.kind is not TargetKind.BLIND and not is_half:
        return []
    return [
        Finding(
            Outcome.BLIND,
            "TARGET_NOT_CHOSEN",
            f"Without a target nothing can be said about it. {target.sentence}",
            "Something that decides tonight's target is not known.",
            "Repair what the message names; the target is chosen anew the next time.",
        )
    ]
