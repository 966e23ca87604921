"""All gates: each is one file with one pure function, facts and policy in, verdict out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from nightshift.domain.gates import disk_usage, etcd_latency, node_health, static_pods, version_skew
from nightshift.domain.verdicts import Verdict


@dataclass(frozen=True)
class Gate:
    """One gate as the night and the UI know it.

    Args:
        name: the verdict's `gate`, also the task id.
        title: for people.
        doc: what it looks at and when it blocks (Markdown).
        check: the pure function; its signature is the gate's own.
    """

    name: str
    title: str
    doc: str
    check: Callable[..., Verdict]


def _gate(module: ModuleType) -> Gate:
    return Gate(module.NAME, module.TITLE, (module.__doc__ or "").strip(), module.check)


GATES: dict[str, Gate] = {
    module.NAME: _gate(module)
    for module in (etcd_latency, disk_usage, node_health, version_skew, static_pods)
}
