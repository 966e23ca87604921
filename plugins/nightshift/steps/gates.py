"""Gather the facts each gate judges; the judging is in domain/gates. Nothing here raises for an outside system.

What could not be read is handed on as `None`; an API that is away makes the whole gate blind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import EtcdSample, HistogramSample, KubeletThresholds, NodeFacts
from nightshift.domain.gates import disk_usage, etcd_latency, node_health, static_pods, version_skew
from nightshift.domain.target import TargetChoice
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.steps.hold import renew_if_ours
from nightshift.steps.session import Session, on_all

T = TypeVar("T")

_HISTOGRAMS = ("wal_fsync", "backend_commit", "apply")


def gather_etcd_samples(session: Session) -> dict[str, Any]:
    """One look at every member: {"taken", "members": {node: sample|None}, "errors": {node: text}, "problem"}.

    `problem` is set when not even the members are known. Also renews the Lease when this run holds it:
    the gate's window is a long wait between mutating steps.
    """
    taken = session.clock()
    try:
        renew_if_ours(session)
        nodes = [n for n in session.kube.nodes() if n.is_control_plane]
    except NightshiftError as error:
        session.log(str(error))
        return {"taken": taken, "members": {}, "errors": {}, "problem": _reasons(error)}
    samples, errors = _split(session, on_all(nodes, lambda node: _sample(session, node)))
    for name in sorted(samples):
        session.log(f"{name}: etcd metrics {'read' if samples[name] else 'could not be read'}")
    members = {name: sample_to_dict(sample) if sample else None for name, sample in samples.items()}
    return {"taken": taken, "members": members, "errors": errors, "problem": None}


def continues_window(session: Session, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether a gate's window may begin at an earlier gate's last sample."""
    if before["problem"] or now["problem"]:
        return False
    return etcd_latency.continues(_members(before), _members(now), session.policy.etcd_latency)


def check_etcd_latency(
    session: Session, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Verdict (as a dict) from two samples taken `policy.etcd_latency.window_seconds` apart."""
    problem = after["problem"] or before["problem"]
    if problem:
        return _said(session, _blind(etcd_latency.NAME, problem))
    verdict = etcd_latency.check(_members(before), _members(after), session.policy.etcd_latency)
    return _said(session, verdict, {**before["errors"], **after["errors"]})


def check_disk_usage(session: Session) -> dict[str, Any]:
    """Verdict: would a mount overflow?"""

    def judge() -> tuple[Verdict, dict[str, str]]:
        nodes = session.kube.nodes()
        probes, errors = _split(session, on_all(nodes, lambda node: session.on(node).probe()))
        token = session.kube.kubelet_token()
        answers = on_all(nodes, lambda node: kubelet_thresholds(session.on(node).kubelet_configz(token)))
        thresholds, more = _split(session, answers)
        return disk_usage.check(nodes, probes, thresholds, session.policy.disk), {**more, **errors}

    return _guarded(session, disk_usage.NAME, judge)


def check_node_health(session: Session) -> dict[str, Any]:
    """Verdict: nodes ready, without pressure, not put aside by somebody else?"""
    return _guarded(session, node_health.NAME, lambda: (node_health.check(session.kube.nodes()), {}))


def check_version_skew(session: Session, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict: do all versions fit the skew policy before and after this hop?"""

    def judge() -> tuple[Verdict, dict[str, str]]:
        nodes, components = session.kube.nodes(), session.kube.component_versions()
        return version_skew.check(nodes, components, TargetChoice.from_dict(choice["target"])), {}

    return _guarded(session, version_skew.NAME, judge)


def check_static_pods(session: Session) -> dict[str, Any]:
    """Verdict: are the static-pod directories clean and running as written?"""

    def judge() -> tuple[Verdict, dict[str, str]]:
        nodes = session.kube.nodes()
        probes, errors = _split(session, on_all(nodes, lambda node: session.on(node).probe()))
        return static_pods.check(nodes, probes), errors

    return _guarded(session, static_pods.NAME, judge)


def kubelet_thresholds(configz: Mapping[str, Any]) -> KubeletThresholds | None:
    """The disk part of a kubelet's live configuration; None when it is not what a kubelet says."""
    config = configz.get("kubeletconfig", configz)
    high, low = config.get("imageGCHighThresholdPercent"), config.get("imageGCLowThresholdPercent")
    if not isinstance(high, int | float) or not isinstance(low, int | float):
        return None
    return KubeletThresholds(float(high), float(low), dict(config.get("evictionHard") or {}))


def sample_to_dict(sample: EtcdSample) -> dict[str, Any]:
    """A sample as strict JSON (a trigger's event and XCom refuse Infinity): the last bound becomes "+Inf"."""
    return {**vars(sample), **{name: _histogram_to_dict(getattr(sample, name)) for name in _HISTOGRAMS}}


def _histogram_to_dict(histogram: HistogramSample | None) -> dict[str, Any] | None:
    if histogram is None:
        return None
    buckets = [["+Inf" if math.isinf(bound) else bound, count] for bound, count in histogram.buckets]
    return {**vars(histogram), "buckets": buckets}


def sample_from_dict(data: Mapping[str, Any] | None) -> EtcdSample | None:
    """Rebuild a sample from `sample_to_dict`'s output."""
    if data is None:
        return None
    histograms = {name: _histogram(data[name]) for name in _HISTOGRAMS}
    return EtcdSample(**{**data, **histograms})


def _members(gathered: Mapping[str, Any]) -> dict[str, EtcdSample | None]:
    """The samples of one look, by member."""
    return {name: sample_from_dict(sample) for name, sample in gathered["members"].items()}


def _histogram(data: Mapping[str, Any] | None) -> HistogramSample | None:
    if data is None:
        return None
    buckets = tuple((float(bound), float(count)) for bound, count in data["buckets"])
    return HistogramSample(buckets, data["count"], data["total_seconds"])


def _sample(session: Session, node: NodeFacts) -> EtcdSample | None:
    text = session.on(node).etcd_metrics()
    return None if text is None else parse_etcd_metrics(text, node.name, session.clock())


def _split(
    session: Session, answers: Mapping[str, T | NightshiftError | None]
) -> tuple[dict[str, T | None], dict[str, str]]:
    """Values with None for every node that failed, and why each of those did."""
    values: dict[str, T | None] = {}
    errors: dict[str, str] = {}
    for name, answer in answers.items():
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: {answer}")
            errors[name] = str(answer)
            values[name] = None
        else:
            values[name] = answer
    return values, errors


def _guarded(
    session: Session, gate: str, judge: Callable[[], tuple[Verdict, dict[str, str]]]
) -> dict[str, Any]:
    """Run a gate; an API that does not answer or refuses makes it blind instead of breaking it."""
    try:
        verdict, errors = judge()
    except NightshiftError as error:
        verdict, errors = blind_verdict(gate, error), {}
    return _said(session, verdict, errors)


def blind_verdict(gate: str, error: NightshiftError) -> Verdict:
    """A gate that could not even begin to look."""
    return _blind(gate, _reasons(error))


def _reasons(error: NightshiftError) -> dict[str, str]:
    return {
        "code": error.code,
        "message": error.message,
        "cause": error.cause,
        "resolution": error.next_step,
    }


def _blind(gate: str, reasons: Mapping[str, str]) -> Verdict:
    return Verdict(
        gate=gate,
        outcome=Outcome.BLIND,
        code=reasons["code"],
        message=reasons["message"],
        cause=reasons["cause"],
        resolution=reasons["resolution"],
    )


def _said(session: Session, verdict: Verdict, errors: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Log the verdict and return it, with what could not be read as part of its evidence."""
    session.log(f"{verdict.gate}: {verdict.outcome.value} ({verdict.code}). {verdict.message}")
    if verdict.resolution:
        session.log(f"What would flip it: {verdict.resolution}")
    if errors:
        verdict = replace(verdict, evidence={**verdict.evidence, "errors": dict(errors)})
    return verdict.to_dict()
