"""Gauges in the Pushgateway: one group per cluster, never per run, so that nothing is left behind.

Every push is a POST: it replaces all metrics of the same name, whatever their labels, and leaves the group's others alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

_TIMEOUT_SECONDS = 5.0
_JOB = "nightshift"

HELP = {
    "k8s_upgrade_in_flight": "1 while a run holds the cluster",
    "k8s_upgrade_started_timestamp": "When the run in flight (or the last one) claimed the cluster, epoch seconds",
    "k8s_upgrade_snapshot_taken": "1 once the run in flight (or the last one) has stored a proven etcd snapshot, else 0",
    "k8s_upgrade_blocked": "1 when the last night was blocked: somebody can act",
    "k8s_upgrade_held": "1 when the last night was held: waiting for something nobody here can change",
    "k8s_upgrade_failed": "1 when the last night ended red: it failed, stopped half-way, or could not know (blind)",
    "k8s_upgrade_available": "1: nodes wait for this target; 0: none is left behind, or (kind=none) nothing is offered",
    "k8s_version_check_last_run_timestamp": "When versions were compared last, epoch seconds",
}


class Pushgateway:
    """Publishes one cluster's gauges; without an address it does nothing."""

    def __init__(self, url: str | None, cluster: str) -> None:
        self._url = url
        self._cluster = cluster

    def push(
        self,
        gauges: Mapping[str, float],
        labelled: Sequence[tuple[str, Mapping[str, str], float]] = (),
    ) -> str | None:
        """Publish gauges; returns what went wrong instead of raising: telemetry never fails an upgrade."""
        if not self._url:
            return None
        try:
            registry = _registry(
                gauges, labelled
            )  # fresh: the default one would push this process's own metrics
            pushadd_to_gateway(
                self._url,
                job=_JOB,
                registry=registry,
                grouping_key={"cluster": self._cluster},
                timeout=_TIMEOUT_SECONDS,
            )
        except (OSError, ValueError) as error:
            return f"{self._url}: {error}"
        return None


def _registry(
    gauges: Mapping[str, float], labelled: Sequence[tuple[str, Mapping[str, str], float]]
) -> CollectorRegistry:
    """A registry with exactly these values."""
    registry = CollectorRegistry()
    for name, value in gauges.items():
        Gauge(name, HELP.get(name, name), registry=registry).set(value)
    families: dict[str, Gauge] = {}
    for name, labels, value in labelled:
        names = sorted(labels)
        if name not in families:
            families[name] = Gauge(name, HELP.get(name, name), names, registry=registry)
        families[name].labels(*(labels[label] for label in names)).set(value)
    return registry
