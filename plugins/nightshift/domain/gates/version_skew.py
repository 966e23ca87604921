"""Gate: do all running versions fit together, now and after tonight's hop?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightshift.domain.facts import NodeFacts
from nightshift.domain.target import TargetChoice
from nightshift.domain.verdicts import Verdict

NAME = "version_skew"
TITLE = "Version skew"


def check(
    nodes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    target: TargetChoice,
) -> Verdict:
    """Judge kubelets and control-plane components against the API servers and the target."""
    raise NotImplementedError
