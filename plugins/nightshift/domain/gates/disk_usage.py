"""Gate: would any mount overflow the kubelet's own limits during the upgrade?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightshift.domain.facts import KubeletThresholds, NodeFacts, NodeProbe
from nightshift.domain.policy import DiskPolicy
from nightshift.domain.verdicts import Verdict

NAME = "disk_usage"
TITLE = "Disk forecast"


def check(
    nodes: Sequence[NodeFacts],
    probes: Mapping[str, NodeProbe | None],
    thresholds: Mapping[str, KubeletThresholds | None],
    policy: DiskPolicy,
) -> Verdict:
    """Forecast every mount of every node; None or absent in `probes` or `thresholds` = could not be read."""
    raise NotImplementedError
