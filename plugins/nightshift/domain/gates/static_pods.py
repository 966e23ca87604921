"""Gate: is the static-pod directory what it seems, as the kubelet would read it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightshift.domain.facts import NodeFacts, NodeProbe
from nightshift.domain.verdicts import Verdict

NAME = "static_pods"
TITLE = "Static pods"


def check(nodes: Sequence[NodeFacts], probes: Mapping[str, NodeProbe | None]) -> Verdict:
    """Judge /etc/kubernetes/manifests and the running control-plane processes of every node."""
    raise NotImplementedError
