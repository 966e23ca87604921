"""A healthy etcd as the look shows it, to be changed by one field per test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.domain.builders import node

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.etcd import ETCD, EtcdMember, EtcdState, EtcdStatus
from nightshift.domain.gates import GATES
from nightshift.domain.gates.judging import judge
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Verdict

NOW = 1_800_000_000.0
MIB = 1024**2


def names(count: int) -> list[str]:
    return [f"cp{number}" for number in range(1, count + 1)]


def member(name: str, /, **changes: Any) -> EtcdMember:
    number = name.removeprefix("cp") or "9"
    plain = EtcdMember(f"100{number}", name, (f"https://10.1.0.{number}:2380",), is_learner=False)
    return replace(plain, **changes)


def status(name: str, count: int = 3, **changes: Any) -> EtcdStatus:
    plain = EtcdStatus(
        member_id=member(name).member_id,
        version="3.6.5",
        leader_id="1001",
        is_learner=False,
        database_bytes=40 * MIB,
        in_use_bytes=30 * MIB,
        quota_bytes=2048 * MIB,
        raft_index=5000,
        applied_index=5000,
        errors=(),
        members=tuple(member(n) for n in names(count)),
    )
    return replace(plain, **changes)


def states(count: int = 3, **changes: EtcdState | EtcdStatus) -> dict[str, EtcdState]:
    """All members healthy, except those named in `changes`."""
    given = {n: c if isinstance(c, EtcdState) else EtcdState("answers", c) for n, c in changes.items()}
    return {n: EtcdState("answers", status(n, count)) for n in names(count)} | given


def control_planes(count: int = 3) -> tuple[NodeFacts, ...]:
    return tuple(node(name, address=f"10.1.0.{name[2:]}") for name in names(count))


def ask(
    gate: str,
    etcd: dict[str, EtcdState] | Reading,
    *,
    nodes: tuple[NodeFacts, ...] | None = None,
    policy: ClusterPolicy | None = None,
    moment: Moment = Moment.NIGHT,
    ahead: tuple[str, ...] = (),
    more: dict[str, Reading] | None = None,
) -> Verdict:
    known = etcd if isinstance(etcd, Reading) else Reading(NOW, value=etcd)
    who = nodes if nodes is not None else (*control_planes(len(known.value)), node("w1"))
    readings = {NODES.name: Reading(NOW, value=who), ETCD.name: known, **(more or {})}
    policy = policy or ClusterPolicy("lab", "k", "s", "file:///tmp/store")
    return judge(GATES[gate], Round(moment, NOW, readings, ahead), policy)
