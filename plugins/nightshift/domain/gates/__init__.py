"""All gates: each is one file with one pure function, a round of facts and the policy in, a verdict out.

A gate's file has: NAME, TITLE, NEEDS (topics without which it is blind), WANTS (topics it looks at when they are
there), MOMENTS (when it is asked), `check(round, policy)`; its docstring is what people read about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from nightshift.domain.gates import (
    alerts,
    api_use,
    capacity,
    certificates,
    clock,
    compatibility,
    disk_usage,
    drainability,
    drift,
    etcd_latency,
    etcd_state,
    node_health,
    packages,
    quorum,
    rules,
    static_pods,
    supply,
    version_killers,
    version_skew,
    webhooks,
)
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.verdicts import Verdict


@dataclass(frozen=True)
class Gate:
    """One gate as the night and the UI know it.

    Args:
        name: the verdict's `gate`, also the task id.
        title: for people.
        doc: what it looks at and when it blocks (Markdown).
        needs: topics without which it is blind; of a `NodeTopic`, every node's answer is needed.
        wants: topics it looks at when they are there.
        moments: when it is asked.
        check: the pure function; asked through `domain.gates.judging.judge` only.
    """

    name: str
    title: str
    doc: str
    needs: tuple[AnyTopic, ...]
    wants: tuple[AnyTopic, ...]
    moments: frozenset[Moment]
    check: Callable[[Round, ClusterPolicy], Verdict]


def _gate(module: ModuleType) -> Gate:
    return Gate(
        module.NAME,
        module.TITLE,
        (module.__doc__ or "").strip(),
        module.NEEDS,
        module.WANTS,
        module.MOMENTS,
        module.check,
    )


GATES: dict[str, Gate] = {
    module.NAME: _gate(module)
    for module in (
        etcd_latency,
        etcd_state,
        quorum,
        disk_usage,
        node_health,
        version_skew,
        static_pods,
        api_use,
        webhooks,
        certificates,
        clock,
        alerts,
        rules,
        drift,
        version_killers,
        compatibility,
        packages,
        supply,
        drainability,
        capacity,
    )
}
