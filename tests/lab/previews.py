"""What a dry run says the night would be, read back from the log of `decide` as a person reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab.world import BUSY_NIGHTS

_TIME = r"(\d+) (s|minutes)"
_NODE = re.compile(
    r"(?P<place>control plane \d+|canary|wave \d+): (?P<name>\S+), kubeadm upgrade (?P<command>apply|node), "
    r"evicts (?P<count>\d+) pods(?:: (?P<pods>[^ ]+/[^ ]+(?:, [^ ]+/[^ ]+)*))?, "
    rf"fetches (?P<mebibytes>\d+) MiB \(unpacked\), about {_TIME} \((?:as last time|not measured here yet)\)"
)
_NIGHT = re.compile(
    r"Dry run, nothing was changed\. The night would upgrade (?P<order>\S+(?:, \S+)*) to (?P<target>\S+) in about "
    + _TIME
    + r"\."
)
_OUTAGE = re.compile(rf" The API would be away for up to {_TIME}\.")
UPLOAD = "Into kubeadm-config would be written, "


@dataclass(frozen=True)
class SaidNode:
    """One node's line.

    Args:
        place: "control plane 1", "canary", "wave 2".
        name: of the node.
        command: kubeadm's, "apply" or "node".
        pods: what its drain would evict, "namespace/name".
        mebibytes: what it would fetch.
        seconds: from drain to uncordon, as far as the line says.
    """

    place: str
    name: str
    command: str
    pods: frozenset[str]
    mebibytes: int
    seconds: int


@dataclass(frozen=True)
class SaidNight:
    """The whole of it.

    Args:
        order: names of the nodes, as the sentence has them.
        target: the version they would be upgraded to.
        nodes: their lines, in the order of the log.
        seconds: of the night.
        outage_seconds: how long the API would be away at most; 0: it would stay up.
        uploads: what would be written into kubeadm-config, one sentence each.
    """

    order: tuple[str, ...]
    target: str
    nodes: tuple[SaidNode, ...]
    seconds: int
    outage_seconds: int
    uploads: tuple[str, ...]


def until_foreseen(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A look at a night that would begin: it is asked for again while nothing but a busy disk of this machine is in the way.

    A dry run is green whatever the gates say, and of a night that one of them shuts nothing is foreseen; see also
    `World.is_just_busy`.
    """
    for _ in range(BUSY_NIGHTS):
        run = look()
        gates = (run["ledger"] or {"gates": []})["gates"]
        if {gate["code"] for gate in gates if gate["outcome"] == "block"} != {"ETCD_SLOW"}:
            break
        print(f"the machine is busy: {run['note']}", flush=True)
    return run


def read_preview(lines: Iterable[str]) -> SaidNight:
    """Find the preview among the lines of a log; fails with them when it is not there, or says less than it should."""
    log = list(lines)
    night = next((found for line in log if (found := _NIGHT.match(line))), None)
    assert night, f"no night is foreseen in: {log}"
    outage = _OUTAGE.search(night.string)
    assert outage or " The API would stay up." in night.string, night.string
    nodes = tuple(_node(found) for line in log if (found := _NODE.fullmatch(line)))
    return SaidNight(
        order=tuple(night["order"].split(", ")),
        target=night["target"],
        nodes=nodes,
        seconds=_seconds(night.groups()[2:]),
        outage_seconds=_seconds(outage.groups()) if outage else 0,
        uploads=tuple(line for line in log if line.startswith(UPLOAD)),
    )


def _node(found: re.Match[str]) -> SaidNode:
    pods = frozenset((found["pods"] or "").split(", ")) - {""}
    assert len(pods) == int(found["count"]), found.string
    return SaidNode(
        found["place"],
        found["name"],
        found["command"],
        pods,
        int(found["mebibytes"]),
        _seconds(found.groups()[-2:]),
    )


def _seconds(words: Sequence[str | None]) -> int:
    number, unit = words
    return int(number or 0) * (60 if unit == "minutes" else 1)
