"""Faults of the monitoring: an alert that fires, and a Prometheus that is down."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from nslab.faults.model import Case, Fault, read_arguments
from nslab.nodes import infra, processes, state
from nslab.settings import ALERTMANAGER_PORT, INFRA_ADDRESS
from nslab.shell import LabError

ALERT_USAGE = "critical-alert [NAME]"
PROMETHEUS_USAGE = "prometheus-down"
ALERTS = f"http://{INFRA_ADDRESS}:{ALERTMANAGER_PORT}/api/v2/alerts"
LASTS = 86_400  # seconds; Alertmanager forgets an alert that nobody sends again


def parse_alert(arguments: Sequence[str]) -> list[Case]:
    """Read `[NAME]`."""
    named = read_arguments(arguments, ALERT_USAGE, 0, 1)
    return [Case("critical-alert", named[0] if named else "LabOnFire")]


def alert_body(name: str, now: float, ends: float) -> list[dict[str, Any]]:
    """Return what Alertmanager is sent; the same labels again change the same alert."""
    return [
        {
            "labels": {"alertname": name, "severity": "critical", "source": "nslab"},
            "annotations": {"summary": "The lab was told to be on fire."},
            "startsAt": _rfc3339(now),
            "endsAt": _rfc3339(ends),
        }
    ]


def raise_alert(case: Case) -> str:
    """Tell Alertmanager that it fires, for a day."""
    now = time.time()
    _send(alert_body(case.subject, now, now + LASTS))
    return f"alert {case.subject} (critical) fires in Alertmanager"


def resolve_alert(case: Case) -> str:
    """Tell Alertmanager that it is over."""
    now = time.time()
    _send(alert_body(case.subject, now - 1, now))
    return f"alert {case.subject} is resolved"


def _send(body: list[dict[str, Any]]) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(ALERTS, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return
    except (urllib.error.URLError, OSError) as error:
        raise LabError(
            f"Alertmanager at {ALERTS} did not take it: {error}", "see `lab/lab status`"
        ) from error


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def parse_prometheus(arguments: Sequence[str]) -> list[Case]:
    """Read nothing: there is one Prometheus."""
    read_arguments(arguments, PROMETHEUS_USAGE, 0)
    return [Case("prometheus-down", "prometheus")]


def stop_prometheus(case: Case) -> str:
    """End the process; its data stay."""
    processes.stop("prometheus")
    return "Prometheus is down"


def start_prometheus(case: Case) -> str:
    """Start it again as the lab does."""
    infra.start_monitoring(state.current())
    return "Prometheus runs again"


CRITICAL_ALERT = Fault(
    "critical-alert", ALERT_USAGE, "let an alert of severity critical fire in Alertmanager",
    parse_alert, raise_alert, resolve_alert,
)  # fmt: skip
PROMETHEUS_DOWN = Fault(
    "prometheus-down", PROMETHEUS_USAGE, "stop the lab's Prometheus",
    parse_prometheus, stop_prometheus, start_prometheus,
)  # fmt: skip
