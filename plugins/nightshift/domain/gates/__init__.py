"""All gates: each is one file with one pure function, a round of facts and the policy in, a verdict out.

A gate's file has: NAME, TITLE, NEEDS (topics without which it is blind), WANTS (topics it looks at when they are
there), MOMENTS (when it is asked), `check(round, policy)`; its docstring is what people read about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from nightshift.domain.gates import (
    capacity,
    disk_usage,
    drainability,
    etcd_latency,
    node_health,
    static_pods,
    version_skew,
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
        disk_usage,
        node_health,
        version_skew,
        static_pods,
        drainability,
        capacity,
    )
}
