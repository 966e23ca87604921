"""Gather the facts each gate judges; the judging is in domain/gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.steps.session import Session


def gather_etcd_samples(session: Session) -> dict[str, Any]:
    """First and second look of the etcd gate: {"taken", "members": {node: sample|None}, "errors": {node: text}}. Also renews the Lease when this run holds it."""
    raise NotImplementedError


def check_etcd_latency(
    session: Session, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Verdict (as a dict) from two samples taken `policy.etcd_latency.window_seconds` apart."""
    raise NotImplementedError


def check_disk_usage(session: Session) -> dict[str, Any]:
    """Verdict: would a mount overflow?"""
    raise NotImplementedError


def check_node_health(session: Session) -> dict[str, Any]:
    """Verdict: nodes ready, without pressure, clocks together?"""
    raise NotImplementedError


def check_version_skew(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict: do all versions fit the skew policy before and after this hop?"""
    raise NotImplementedError


def check_static_pods(session: Session) -> dict[str, Any]:
    """Verdict: are the static-pod directories clean and running as written?"""
    raise NotImplementedError
