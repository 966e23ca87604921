"""One round of all gates straight through the steps, no Airflow in between: `python gate_round.py FILE [OPTIONS]`.

Run by gate_world.py in a process of its own, with the environment of Airflow's processes: it reaches the cluster as a task
does, by the enrolled connections. Prints one line of JSON, see `ask_all`.
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
from nightshift.domain.etcd_window import TOO_FEW, look_on_seconds
from nightshift.domain.gates import GATES
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Answer
from nightshift.orchestration.runtime import open_session
from nightshift.steps import gates
from nightshift.steps.detect_target import detect_target
from nightshift.steps.session import Session

PATIENT = ("etcd_latency", "disk_usage")
FAILED = "failed"  # what `detected` says of a `detect_target` that ended with an error
_LOOK_ON_SECONDS = 15.0  # at most, as the sensor


def ask_all(
    session: Session,
    *,
    is_quick: bool,
    kept: dict[str, Any] | None,
    opened: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Every gate's verdict, and what it took.

    Answers {"verdicts", "detected": {"answer", "sentence"}, "choice": what was asked about, "sample": etcd's first one,
    "seconds": all of it, "round_seconds": all but the settle window, so target detection, samples and disks as well}.

    Args:
        session: the cluster.
        is_quick: open etcd's window, and do not wait for its end.
        kept: an earlier answer of `detect_target`, for when the cluster gives none. A night ends there, before any gate
            is asked; only so can be seen that the gates name what keeps the target from being known. `detected` is
            what such a night would say.
        opened: the first sample of a quick round; etcd's window began there.
    """
    began = session.clock()
    detected, choice = _choice(session, kept)
    first = gates.gather_etcd_samples(session) if opened is None else opened
    quick = [g.name for g in GATES.values() if g.name not in PATIENT and Moment.NIGHT in g.moments]
    verdicts = [*gates.ask_night(session, quick, choice)["verdicts"], gates.check_disk_usage(session, choice)]
    settled = 0.0
    if not is_quick:
        verdict, settled = _watch_etcd(session, first)
        verdicts.append(verdict)
    seconds = session.clock() - began
    return {
        "verdicts": verdicts,
        "detected": detected,
        "choice": choice,
        "sample": first,
        "seconds": round(seconds, 2),
        "round_seconds": round(seconds - settled, 2),
    }


def _choice(session: Session, kept: dict[str, Any] | None) -> tuple[dict[str, str], dict[str, Any]]:
    """What the night would be told, and what the gates are asked about."""
    try:
        found = detect_target(session)
    except NightshiftError as error:
        session.log(str(error))
        if kept is None:
            raise
        return {"answer": FAILED, "sentence": str(error)}, kept
    detected = {"answer": found["answer"], "sentence": found["sentence"]}
    is_kept = kept is not None and found["answer"] == Answer.BLIND
    return detected, kept if is_kept and kept is not None else found


def _watch_etcd(session: Session, first: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """As the sensor does: the policy's window, and a quiet etcd is watched longer. Also how long was waited for its end."""
    policy = session.policy.etcd_latency
    until = first["taken"] + policy.window_seconds
    began = waited = session.clock()
    looks = 0
    while True:
        looks += 1
        left = until - session.clock()
        if left > 0:
            session.sleep(left)
            waited = session.clock()
        now = gates.gather_etcd_samples(session)
        verdict = gates.check_etcd_latency(session, first, now)
        is_over = now["taken"] - first["taken"] >= policy.longest_window_seconds
        if verdict["code"] != TOO_FEW or is_over:
            return verdict, waited - began
        until = session.clock() + look_on_seconds(verdict, policy.minimum_samples, _LOOK_ON_SECONDS, looks)


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true", help="do not wait for the end of etcd's window")
    parser.add_argument("--choice", type=Path, help="an earlier answer of detect_target")
    parser.add_argument("--opened", type=Path, help="an earlier round's first sample of etcd")
    given = parser.parse_args()

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with open_session(load_cluster(given.file), f"gate-round-{time.time():.0f}", log) as session:
        said = ask_all(session, is_quick=given.quick, kept=_read(given.choice), opened=_read(given.opened))
    print(json.dumps(said), flush=True)


def _read(file: Path | None) -> dict[str, Any] | None:
    if file is None or not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
