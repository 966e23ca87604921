"""What the status files of a node's jobs say about the failure (jobs/<step>, `key=value` lines of `lib/jobs.sh`).

Only the newest job counts: files of earlier nights lie beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nightshift.domain.diagnosis.signs import Sign, Signs

# Exit codes of the node's scripts, see include/scripts/README.md.
ENDS: Mapping[str, str] = {
    "20": "job.package_missing",
    "21": "job.image_missing",
    "22": "job.repository_refused",
    "23": "job.snapshot_mismatch",
    "24": "job.kubelet_unhealthy",
    "25": "job.no_space",
    "26": "job.kubeadm_failed",
    "27": "job.not_staged",
    "28": "job.etcd_unavailable",
    "29": "job.refused",
    "30": "job.install_failed",
    "31": "job.api_unavailable",
    "32": "job.api_lost",
    "33": "job.rehearsal_failed",
    "34": "job.package_held",
    "35": "job.dpkg_busy",
    "76": "job.busy",
    "124": "job.timed_out",
}
OTHER_END = "job.failed"
UNFINISHED = "job.unfinished"
NAMES = frozenset({*ENDS.values(), OTHER_END, UNFINISHED})
BEFORE_SECONDS = 120.0  # what led to a failure is often said just before the job began
_SKEW_SECONDS = 5.0  # a node's clock may be behind the driver's


@dataclass(frozen=True)
class Window:
    """From when on lines count, epoch seconds; None: nobody knows, so all do.

    Args:
        logs: what the node's components say: a cause may have been told just before.
        jobs: what jobs say: what an earlier one said is about that one.
    """

    logs: float | None
    jobs: float | None


def window(files: Mapping[str, str], since: float | None) -> Window:
    """The failure's window.

    Args:
        files: path in the bundle -> text.
        since: when the failed step's job began, as the driver knows it; None or 0: from shortly before the newest job.
    """
    newest = _newest(files, since)
    started = time_in(newest[1], "started") if newest else None
    jobs = math.floor(started) if started else None  # journald's stamps are of whole seconds
    if since:
        return Window(since - _SKEW_SECONDS, jobs or since - _SKEW_SECONDS)
    return Window(started - BEFORE_SECONDS if started else None, jobs)


def read_jobs(files: Mapping[str, str], since: float | None = None) -> Signs:
    """How the newest job ended.

    Args:
        files: path in the bundle -> text.
        since: an older job is of another failure (epoch seconds).
    """
    newest = _newest(files, since)
    if newest is None:
        return Signs(unread=dict.fromkeys(NAMES, "no status file of a job"))
    path, status = newest
    name = _end(status)
    if name is None:
        return Signs(looked=NAMES)
    sign = Sign(
        name,
        subject=path.removeprefix("jobs/"),
        quote=f"state={status.get('state', '')} exit_code={status.get('exit_code', '')}",
        source=path,
        first=time_in(status, "started"),
        last=time_in(status, "finished"),
    )
    return Signs((sign,), looked=NAMES)


def _newest(files: Mapping[str, str], since: float | None) -> tuple[str, dict[str, str]] | None:
    jobs = [(path, status_of(text)) for path, text in files.items() if path.startswith("jobs/")]
    earliest = since - _SKEW_SECONDS if since else 0.0
    known = [job for job in jobs if (started := time_in(job[1], "started")) and started >= earliest]
    return max(known, key=lambda job: time_in(job[1], "started") or 0.0, default=None)


def status_of(text: str) -> dict[str, str]:
    """A job's status file."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _end(status: Mapping[str, str]) -> str | None:
    match status.get("state"):
        case "succeeded":
            return None
        case "running" | "starting":
            return UNFINISHED
        case _:
            return ENDS.get(status.get("exit_code", ""), OTHER_END)


def time_in(status: Mapping[str, str], key: str) -> float | None:
    """A time of a status file, epoch seconds; None when it has none that can be."""
    try:
        number = float(status.get(key, ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def job_began(files: Mapping[str, str], step: str, since: float) -> float:
    """When a failed step's job began, epoch seconds: by the node's word, else by the driver's.

    Args:
        files: path in the bundle -> text.
        step: of the job.
        since: when the driver began with the step. A job that is much older is not that step's.
    """
    started = time_in(status_of(files.get(f"jobs/{step}", "")), "started")
    return started if started is not None and started >= since - BEFORE_SECONDS else since


def failed_since(files: Mapping[str, str], step: str, since: float) -> float | None:
    """Since when lines can be of this failure; None when the step has no job on the node: the newest job decides then.

    A job that was attached to began before the step did. One that had ended before it is another night's, and says
    nothing of this failure.

    Args:
        files: path in the bundle -> text.
        step: the failed one.
        since: when the driver began with it.
    """
    status = status_of(files.get(f"jobs/{step}", ""))
    started, finished = time_in(status, "started"), time_in(status, "finished")
    if started is None:
        return None
    is_older = finished is not None and finished < since - BEFORE_SECONDS
    return since if is_older else started
