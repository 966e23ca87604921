"""Prometheus and Alertmanager, read only: alerts that are firing, and instant queries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import urllib3

from nightshift.domain.facts.alerts import AlertFacts

_TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)
_SHOWN = 5  # series of a result that a message names


class NoAnswer(Exception):
    """It did not answer, or not with what was asked for; the text is for people."""


def firing_in_prometheus(url: str) -> tuple[AlertFacts, ...]:
    """All firing alerts of a Prometheus, silenced ones included: silences are Alertmanager's.

    Raises:
        NoAnswer: it does not answer, or this is no Prometheus.
    """
    data = _data(_get(url, "/api/v1/alerts"))
    return tuple(_prometheus_alert(a) for a in data["alerts"] if a["state"] == "firing")


def firing_in_alertmanager(url: str) -> tuple[AlertFacts, ...]:
    """All alerts of an Alertmanager that have not ended, silenced and inhibited ones marked.

    Raises:
        NoAnswer: it does not answer, or this is no Alertmanager.
    """
    return tuple(_alertmanager_alert(a) for a in _get(url, "/api/v2/alerts"))


def query_fires(url: str, promql: str) -> tuple[bool, tuple[str, ...]]:
    """Ask an instant query as an alerting rule would: a vector that is not empty fires, a number that is not 0.

    Returns:
        Whether it fires, and what it returned, for people.

    Raises:
        NoAnswer: it does not answer, refuses the query, or the result is NaN or of another type.
    """
    data = _data(_get(url, "/api/v1/query?" + urlencode({"query": promql})))
    kind, result = data["resultType"], data["result"]
    if kind == "vector":
        shown = tuple(f"{_series(s['metric'])} {s['value'][1]}" for s in result[:_SHOWN])
        return bool(result), shown
    if kind == "scalar":
        value = float(result[1])
        if math.isnan(value):
            raise NoAnswer("its result is NaN")
        return value != 0, (result[1],)
    raise NoAnswer(f"its result is a {kind}, not a vector or a number")


def _get(url: str, path: str) -> Any:
    """One GET; the decoded JSON.

    Raises:
        NoAnswer: no connection, another status than 200, no JSON.
    """
    address = url.rstrip("/") + path
    try:
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
            answer = pool.request("GET", address)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NoAnswer(str(getattr(error, "reason", None) or error)) from error
    try:
        body = json.loads(answer.data)
    except ValueError as error:
        raise NoAnswer(f"status {answer.status} and no JSON") from error
    if answer.status != 200:
        said = body.get("error") or body.get("message") if isinstance(body, dict) else body
        raise NoAnswer(f"status {answer.status}: {said}")
    return body


def _data(body: Any) -> Mapping[str, Any]:
    """What Prometheus wraps its answers in."""
    if not isinstance(body, dict) or body.get("status") != "success":
        raise NoAnswer(f"not the answer of a Prometheus: {str(body)[:100]}")
    data: Mapping[str, Any] = body["data"]
    return data


def _prometheus_alert(alert: Mapping[str, Any]) -> AlertFacts:
    return AlertFacts(
        labels=dict(alert["labels"]),
        since=_seconds(alert.get("activeAt")),
        summary=_summary(alert),
    )


def _alertmanager_alert(alert: Mapping[str, Any]) -> AlertFacts:
    status = alert.get("status") or {}
    return AlertFacts(
        labels=dict(alert["labels"]),
        since=_seconds(alert.get("startsAt")),
        summary=_summary(alert),
        is_silenced=bool(status.get("silencedBy") or status.get("inhibitedBy") or status.get("mutedBy")),
    )


def _summary(alert: Mapping[str, Any]) -> str:
    annotations = alert.get("annotations") or {}
    return str(annotations.get("summary") or annotations.get("description") or "")


def _seconds(text: str | None) -> float | None:
    """Both write RFC 3339 with up to nine digits behind the second."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _series(labels: Mapping[str, str]) -> str:
    """A series as Prometheus writes it."""
    name = labels.get("__name__", "")
    rest = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if key != "__name__")
    return f"{name}{{{rest}}}" if rest or not name else name
