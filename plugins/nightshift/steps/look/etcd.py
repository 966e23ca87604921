"""etcd's metrics as a topic, and as JSON: the window's samples wait in XCom between two processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.domain.errors import BlindError
from nightshift.domain.facts import EtcdSample, HistogramSample
from nightshift.domain.round import Reading, Unread
from nightshift.steps.session import NodePort

_HISTOGRAMS = ("wal_fsync", "backend_commit", "apply")


def read_etcd(node: NodePort, clock: Callable[[], float]) -> EtcdSample:
    """One member's metrics.

    Raises:
        BlindError: ETCD_UNREADABLE, there is no etcd on this control plane, or what answers is none.
    """
    text = node.etcd_metrics()
    sample = None if text is None else parse_etcd_metrics(text, node.name, clock())
    if sample is None:
        raise BlindError(
            "ETCD_UNREADABLE",
            f"The metrics of etcd on {node.name} could not be read.",
            cause="There is no etcd on this node."
            if text is None
            else "What answered are no metrics of etcd.",
            next_step="On the node: crictl ps --name etcd; curl http://127.0.0.1:2381/metrics. Then check again.",
        )
    return sample


def reading_to_dict(reading: Reading) -> dict[str, Any]:
    """A reading of all members as strict JSON: {"taken", "members": {node: sample}, "problems": {node: …}, "problem"}.

    `problem` is set when not even the members are known.
    """
    members = {name: sample_to_dict(sample) for name, sample in (reading.value or {}).items()}
    problems = {name: asdict(unread) for name, unread in reading.problems.items()}
    problem = asdict(reading.problem) if reading.problem else None
    return {"taken": reading.taken, "members": members, "problems": problems, "problem": problem}


def reading_from_dict(data: Mapping[str, Any], taken: float) -> Reading:
    """Rebuild a reading from `reading_to_dict`'s output.

    Args:
        data: the reading.
        taken: when it is handed to a round. A window's first sample may be older than facts may be; how old it is
            allowed to be is the gate's own business, and each sample carries its own time.
    """
    members = {name: sample_from_dict(sample) for name, sample in data["members"].items()}
    problems = {name: Unread(**unread) for name, unread in data["problems"].items()}
    problem = Unread(**data["problem"]) if data["problem"] else None
    return Reading(taken, value=None if problem else members, problem=problem, problems=problems)


def sample_to_dict(sample: EtcdSample) -> dict[str, Any]:
    """A sample as strict JSON (a trigger's event and XCom refuse Infinity): the last bound becomes "+Inf"."""
    return {**vars(sample), **{name: _histogram_to_dict(getattr(sample, name)) for name in _HISTOGRAMS}}


def _histogram_to_dict(histogram: HistogramSample | None) -> dict[str, Any] | None:
    if histogram is None:
        return None
    buckets = [["+Inf" if math.isinf(bound) else bound, count] for bound, count in histogram.buckets]
    return {**vars(histogram), "buckets": buckets}


def sample_from_dict(data: Mapping[str, Any]) -> EtcdSample:
    """Rebuild a sample from `sample_to_dict`'s output."""
    return EtcdSample(**{**data, **{name: _histogram(data[name]) for name in _HISTOGRAMS}})


def _histogram(data: Mapping[str, Any] | None) -> HistogramSample | None:
    if data is None:
        return None
    buckets = tuple((float(bound), float(count)) for bound, count in data["buckets"])
    return HistogramSample(buckets, data["count"], data["total_seconds"])
