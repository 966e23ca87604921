"""Gate: is etcd fast enough to survive an upgrade, on every member, over the settle window?"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.domain.facts import EtcdSample
from nightshift.domain.policy import EtcdLatencyPolicy
from nightshift.domain.verdicts import Verdict

NAME = "etcd_latency"
TITLE = "etcd latency"


def check(
    before: Mapping[str, EtcdSample | None],
    after: Mapping[str, EtcdSample | None],
    policy: EtcdLatencyPolicy,
) -> Verdict:
    """Compare two samples per member; the keys of both are all expected members, None = could not be read."""
    raise NotImplementedError
