"""One measured upgrade, and the file the measured ones are kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nslab.build.store import write_text
from nslab.shell import LabError

SIDES = ("bash", "dag")
PHASES = ("drain", "kubeadm package", "kubeadm upgrade", "kubelet", "verify", "uncordon")
KINDS = ("first control plane", "other control planes", "workers")


@dataclass(frozen=True)
class NodeTimes:
    """What the time of one node went into."""

    name: str
    kind: str  # one of KINDS
    seconds: float  # from the begin of its drain to the end of its uncordon
    phases: Mapping[str, float]  # each of PHASES -> seconds

    @property
    def between(self) -> float:
        """Seconds between its phases: on the DAG's side the scheduling and starting of tasks."""
        return self.seconds - sum(self.phases.values())


@dataclass(frozen=True)
class Run:
    """One measured upgrade."""

    side: str
    pair: int
    origin: str  # day and commit, for the page
    wall: float  # seconds from first cordon to last uncordon
    gates: float  # seconds of it in which the DAG waited at a gate; the script has none
    whole: float  # seconds the command took, with what it does before and after
    api_requests: int
    api_failed: int
    api_gap: float  # seconds
    web_requests: int
    web_failed: int
    web_gap: float  # seconds
    nodes: tuple[NodeTimes, ...]  # in the order in which they were upgraded
    discarded: int = 0  # attempts before it that did not end on the target

    @property
    def net(self) -> float:
        """Seconds from first cordon to last uncordon without the gates."""
        return self.wall - self.gates

    @property
    def between_nodes(self) -> float:
        """The rest: seconds that belong neither to a node nor to a gate."""
        return self.net - sum(node.seconds for node in self.nodes)


def load(results: Path) -> list[Run]:
    """Return the runs made so far; a line cut off by a kill is left out.

    Raises:
        LabError: the file holds runs without the figures the tables need.
    """
    if not results.exists():
        return []
    lines = [line for line in results.read_text().splitlines(keepends=True) if line.endswith("\n")]
    try:
        return [_run(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{results} holds runs of another version of this comparison, which lack what the tables need",
            "measure anew: the same command with --fresh",
        ) from error


def keep(results: Path, made: Run) -> None:
    """Add a run to the file."""
    lines = [json.dumps(asdict(r)) + "\n" for r in [*load(results), made]]
    write_text(results, "".join(lines))


def _run(row: Mapping[str, Any]) -> Run:
    nodes = tuple(NodeTimes(**node) for node in row["nodes"])
    if any(set(node.phases) != set(PHASES) or node.kind not in KINDS for node in nodes):
        raise ValueError("other phases or kinds of nodes")
    return Run(**{**row, "nodes": nodes})
