"""One round of all gates straight through the steps, no Airflow in between: `python gate_round.py FILE [--quick] [--choice FILE]`.

Run by gate_world.py in a process of its own, with the environment of Airflow's processes: it reaches the cluster as a task
does, by the enrolled connections. Prints one line of JSON: {"verdicts", "seconds", "round_seconds", "choice"}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from nightshift.clients.cluster_config import load_cluster
from nightshift.domain.errors import NightshiftError
from nightshift.domain.gates import GATES
from nightshift.domain.round import Moment
from nightshift.orchestration.runtime import open_session
from nightshift.steps import gates
from nightshift.steps.detect_target import detect_target
from nightshift.steps.session import Session

PATIENT = ("etcd_latency", "disk_usage")
_TOO_FEW = "ETCD_TOO_FEW_SAMPLES"
_LOOK_ON_SECONDS = 15.0


def ask_all(session: Session, *, is_quick: bool, kept: dict[str, Any] | None) -> dict[str, Any]:
    """Every gate's verdict.

    Args:
        session: the cluster.
        is_quick: leave etcd's window out.
        kept: an earlier answer of `detect_target`, for when the cluster gives none.
    """
    began = session.clock()
    choice = _choice(session, kept)
    first = None if is_quick else gates.gather_etcd_samples(session)
    asked = session.clock()
    quick = [g.name for g in GATES.values() if g.name not in PATIENT and Moment.NIGHT in g.moments]
    verdicts = list(gates.ask_night(session, quick, choice)["verdicts"])
    round_seconds = session.clock() - asked
    verdicts.append(gates.check_disk_usage(session, choice))
    if first is not None:
        verdicts.append(_watch_etcd(session, first))
    return {
        "verdicts": verdicts,
        "round_seconds": round(round_seconds, 2),
        "seconds": round(session.clock() - began, 2),
        "choice": choice,
    }


def _choice(session: Session, kept: dict[str, Any] | None) -> dict[str, Any]:
    try:
        found = detect_target(session)
    except NightshiftError as error:
        session.log(str(error))
        if kept is None:
            raise
        return kept
    return kept if kept is not None and found["answer"] == "blind" else found


def _watch_etcd(session: Session, first: dict[str, Any]) -> dict[str, Any]:
    """As the sensor does: the policy's window, and a quiet etcd is watched longer."""
    policy = session.policy.etcd_latency
    until = first["taken"] + policy.window_seconds
    while True:
        session.sleep(max(0.0, until - session.clock()))
        now = gates.gather_etcd_samples(session)
        verdict = gates.check_etcd_latency(session, first, now)
        is_over = now["taken"] - first["taken"] >= policy.longest_window_seconds
        if verdict["code"] != _TOO_FEW or is_over:
            return verdict
        until = session.clock() + _LOOK_ON_SECONDS


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--choice", type=Path)
    given = parser.parse_args()
    is_kept = given.choice is not None and given.choice.exists()
    kept = json.loads(given.choice.read_text(encoding="utf-8")) if is_kept else None

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with open_session(load_cluster(given.file), f"gate-round-{time.time():.0f}", log) as session:
        said = ask_all(session, is_quick=given.quick, kept=kept)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
