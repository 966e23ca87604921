"""What the status files of a node's jobs say about the failure (jobs/<step>, `key=value` lines of `lib/jobs.sh`).

Only the newest job counts: files of earlier nights lie beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightshift.domain.diagnosis.signs import Sign, Signs

# Exit codes of the node's scripts, see include/scripts/README.md.
ENDS: Mapping[str, str] = {
    "20": "job.package_missing",
    "21": "job.image_missing",
    "22": "job.repository_refused",
    "24": "job.kubelet_unhealthy",
    "25": "job.no_space",
    "26": "job.kubeadm_failed",
    "28": "job.etcd_unavailable",
    "30": "job.install_failed",
    "31": "job.api_unavailable",
    "32": "job.api_lost",
    "76": "job.busy",
    "124": "job.timed_out",
}
OTHER_END = "job.failed"
UNFINISHED = "job.unfinished"
_NAMES = frozenset({*ENDS.values(), OTHER_END, UNFINISHED})
_BEFORE_SECONDS = 120.0  # what led to a failure is often said just before the job began


def read_jobs(files: Mapping[str, str]) -> Signs:
    """How the newest job ended."""
    newest = _newest(files)
    if newest is None:
        return Signs(unread=dict.fromkeys(_NAMES, "no status file of a job"))
    path, status = newest
    name = _end(status)
    if name is None:
        return Signs(looked=_NAMES)
    sign = Sign(
        name,
        subject=path.removeprefix("jobs/"),
        quote=f"state={status.get('state', '')} exit_code={status.get('exit_code', '')}",
        source=path,
        first=_number(status.get("started")),
        last=_number(status.get("finished")),
    )
    return Signs((sign,), looked=_NAMES)


def since(files: Mapping[str, str]) -> float | None:
    """From when on lines count (epoch seconds): shortly before the newest job began; None: nobody knows."""
    newest = _newest(files)
    started = _number(newest[1].get("started")) if newest else None
    return started - _BEFORE_SECONDS if started else None


def _newest(files: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    jobs = [(path, _status(text)) for path, text in files.items() if path.startswith("jobs/")]
    known = [(path, status) for path, status in jobs if _number(status.get("started"))]
    return max(known, key=lambda job: _number(job[1]["started"]) or 0.0, default=None)


def _status(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _end(status: Mapping[str, str]) -> str | None:
    match status.get("state"):
        case "succeeded":
            return None
        case "running" | "starting":
            return UNFINISHED
        case _:
            return ENDS.get(status.get("exit_code", ""), OTHER_END)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
