"""Where the time of an upgrade went: the script writes it into its result file, the DAG into its ledger entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.cordons import Cordons
from bench.runs import KINDS, PHASES, NodeTimes
from nslab.shell import LabError

# A phase's name in the script's result file and in the ledger.
_IN_SCRIPT = {phase: phase.replace(" ", "-") for phase in PHASES}
_IN_LEDGER = {**{phase: phase for phase in PHASES}, "kubeadm package": "kubeadm_package", "kubeadm upgrade": "kubeadm"}  # fmt: skip
_OLD_NIGHTSHIFT = (
    "Airflow may run an older Nightshift: stop it (`./nightshift demo --stop-airflow`), then measure again"
)
_LEDGER_PRECISION = 1.0  # seconds: the entry's own begin and end are cut to whole ones


def of_script(result: Path, control_planes: Collection[str]) -> tuple[NodeTimes, ...]:
    """Read the script's result file: lines of `node phase seconds began`, among others."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    phases: dict[str, dict[str, float]] = {}
    for words in (line.split() for line in result.read_text().splitlines()):
        if len(words) == 4:
            node, phase, seconds, at = words[0], words[1], float(words[2]), float(words[3])
            began.setdefault(node, at)
            ended[node] = at + seconds
            phases.setdefault(node, {})[phase] = seconds
    kind = kinds(control_planes)
    return tuple(
        NodeTimes(
            node,
            kind(node),
            round(ended[node] - began[node], 1),
            _named(said, _IN_SCRIPT, f"{result}, {node}", "read the script's output.log"),
        )
        for node, said in phases.items()
    )


def of_ledger(entry: Mapping[str, Any], control_planes: Collection[str]) -> tuple[NodeTimes, ...]:
    """Read a night's entry: nodes with `began`, `seconds` and `steps`, here in the order of time."""
    touched = [node for node in entry["nodes"] if node.get("seconds") is not None]
    kind = kinds(control_planes)
    return tuple(
        NodeTimes(
            node["name"],
            kind(node["name"]),
            node["seconds"],
            _named(node.get("steps") or {}, _IN_LEDGER, f"the ledger entry, {node['name']}", _OLD_NIGHTSHIFT),
        )
        for node in sorted(touched, key=lambda node: str(node.get("began")))
    )


def kinds(control_planes: Collection[str]) -> Callable[[str], str]:
    """Return what names a node's kind when asked node by node, in the order of the upgrade.

    Which control plane comes first (and gets `kubeadm upgrade apply`) is each side's own choice.
    """
    seen: list[str] = []

    def kind(node: str) -> str:
        if node not in control_planes:
            return KINDS[2]
        seen.append(node)
        return KINDS[0] if len(seen) == 1 else KINDS[1]

    return kind


def _named(
    said: Mapping[str, float], names: Mapping[str, str], where: str, next_step: str
) -> dict[str, float]:
    missing = [name for name in names.values() if name not in said]
    if missing:
        raise LabError(f"{where}: nothing is said about the time of {', '.join(missing)}", next_step)
    return {phase: said[name] for phase, name in names.items()}


def find_entry(ledger: Path, cordons: Cordons) -> dict[str, Any]:
    """Return the entry of the night in which these cordons were seen.

    Raises:
        LabError: there is none, or it does not say that the night upgraded the cluster.
    """
    for path in sorted(ledger.glob("*.json"), reverse=True):
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        until = _moment(entry["finished"]) + _LEDGER_PRECISION
        if _moment(entry["started"]) <= cordons.first_cordon and cordons.last_uncordon <= until:
            break
    else:
        raise LabError(
            f"no entry in {ledger} is of the night that was just measured",
            "name the ledger that the DAG's report writes to: --dag-ledger DIR",
        )
    if entry["answer"] != "upgraded":
        raise LabError(
            f"{path.name} says {entry['answer']}: {entry['sentence']}",
            "the run does not count; do what the entry says, then measure again",
        )
    return entry


def waited_at_gates(entry: Mapping[str, Any], cordons: Cordons) -> float:
    """Return in how many seconds between first cordon and last uncordon the night waited at a gate."""
    if "node_gates" not in entry:
        raise LabError("the ledger entry does not say when its gates were waited for", _OLD_NIGHTSHIFT)
    waits = [(_moment(gate["began"]), _moment(gate["ended"])) for gate in entry["node_gates"]]
    return round(covered(waits, cordons.first_cordon, cordons.last_uncordon), 1)


def covered(intervals: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    """Return how much of the time from `begin` to `end` lies in at least one interval."""
    total, reached = 0.0, begin
    for first, last in sorted(intervals):
        total += max(0.0, min(last, end) - max(first, reached))
        reached = max(reached, min(last, end))
    return total


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
