"""One run, said line by line as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from nsdemo.api import AirflowApi, patiently
from nsdemo.settings import ui_url

_QUIET = {None, "upstream_failed", "scheduled", "queued", "skipped", "removed"}
_WORDS = {
    "running": "…",
    "deferred": "waits (its worker slot is free meanwhile)",
    "success": "done",
    "failed": "FAILED",
    "up_for_retry": "will be tried again",
}
_ENDED = {"success", "failed"}


def follow(api: AirflowApi, dag_id: str, run_id: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Report each task's change until the run has ended; returns the run."""
    began = time.monotonic()
    told: dict[tuple[str, int], str | None] = {}
    while True:
        run: dict[str, Any] = patiently(lambda: api.run(dag_id, run_id))
        for task in sorted(patiently(lambda: api.tasks(dag_id, run_id)), key=_order):
            key, state = (task["task_id"], task["map_index"]), task["state"]
            if told.get(key) != state:
                told[key] = state
                if state not in _QUIET:
                    say(f"[{time.monotonic() - began:4.0f} s] {_describe(task)}")
        if run["state"] in _ENDED:
            return run
        time.sleep(1)


def _order(task: Mapping[str, Any]) -> str:
    return str(task["start_date"] or "9999")


def _describe(task: Mapping[str, Any]) -> str:
    """E.g. "control_plane.slot_01.upgrade_node (cp1): done, 181 s"."""
    node = f" ({task['rendered_map_index']})" if task.get("rendered_map_index") else ""
    state = _WORDS.get(task["state"], task["state"])
    seconds = f", {task['duration']:.0f} s" if task["state"] in _ENDED and task["duration"] else ""
    return f"{task['task_id']}{node}: {state}{seconds}"


def run_address(dag_id: str, run_id: str) -> str:
    """Where the run is seen in the UI."""
    return f"{ui_url()}/dags/{dag_id}/runs/{run_id}"
