"""The package repository is not signed by a key that the node trusts."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import PACKAGES_STUCK

_DECISIVE = ("apt.signature",)

CAUSE = Cause(
    name="repository_signature",
    title="The package repository is not signed by a key that this node trusts ({subject}).",
    decisive=_DECISIVE,
    explains=PACKAGES_STUCK,
    test="Which key signs, which keys are trusted? `apt-get update` (changes only apt's lists); `ls -l /etc/apt/keyrings`",
    remedy="Install the repository's present key, after checking it, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
)
