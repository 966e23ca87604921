"""Gate: is etcd whole, on every member, at this moment?

Asked of each control-plane node's own etcd: does it answer, has it a leader, are there alarms, is every member started,
a voter and on a control-plane node, and is the database far from its quota? Any of these blocks, for an upgrade
restarts the members one by one and writes to all of them. It warns when the database comes near its quota, when much of it is free
space inside the file, and when the members' versions differ before the night (while nodes are upgraded they do for a
while). It is blind when a node cannot be asked, or when no node runs an etcd (an external one is not known).
What needs two looks, such as leader changes, belongs to the gate *etcd latency*.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightshift.domain.etcd_members import node_of
from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.etcd import ETCD, EtcdMember, EtcdState, EtcdStatus
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy, EtcdStatePolicy
from nightshift.domain.round import Moment, Round
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import parse_minor

NAME = "etcd_state"
TITLE = "etcd members and database"
NEEDS = (NODES, ETCD)
WANTS = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

# As OpenShift's etcd operator: below that size, or that share, a defragmentation is not worth its pause.
_FRAGMENTED_BYTES = 100 * 1024**2
_FRAGMENTED_PERCENT = 45.0
_BACKLOG_ENTRIES = 1000  # committed and not applied; at 5000 etcd refuses requests
_ALARM = re.compile(r"memberID:(\d+)\s+alarm:(\w+)")
_NO_LEADER = "etcdserver: no leader"  # also among a status's errors; judged by the leader's id


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge what each member says now."""
    nodes = [node for node in round_.get(NODES) if node.is_control_plane]
    states = round_.by_node(ETCD)
    answering = {name: state.status for name, state in sorted(states.items()) if state.status is not None}
    findings = [
        *_judge_conditions(nodes, states),
        *(
            finding
            for name, status in answering.items()
            for finding in _judge_member(name, status, policy.etcd_state)
        ),
        *_judge_members(nodes, answering),
        *_judge_alarms(answering),
        *_judge_versions(answering, round_.moment),
    ]
    fullest = max((_percent(s.database_bytes, s.quota_bytes) for s in answering.values()), default=0.0)
    return conclude(
        NAME,
        findings,
        passed=f"etcd is whole on {', '.join(answering)}: a leader, no alarm, "
        f"the fullest database at {fullest:.1f} % of its quota.",
        value=f"{len(answering)} of {len(nodes)} members answer, {fullest:.1f} % of the quota",
        threshold=f"all members, below {policy.etcd_state.quota_warn_percent:g} % of the quota",
        evidence={name: _evidence(status) for name, status in answering.items()},
    )


def _judge_conditions(nodes: Sequence[NodeFacts], states: Mapping[str, EtcdState]) -> Iterator[Finding]:
    absent = [name for name, state in sorted(states.items()) if state.condition == "absent"]
    if nodes and not states:
        return  # nobody answered, which whoever asks this gate says; that is no word about an external etcd
    if len(absent) == len(states):
        yield Finding(
            Outcome.BLIND,
            "ETCD_UNREADABLE",
            "No control-plane node runs an etcd of its own.",
            "The cluster uses an external etcd, which Nightshift does not know, or it has no static pod for it.",
            "Look at /etc/kubernetes/manifests/etcd.yaml on the control-plane nodes.",
        )
        return
    for name, state in sorted(states.items()):
        if state.condition in ("absent", "stopped"):
            yield _down(
                name, "no etcd process runs there", f"On {name}: crictl ps -a --name etcd; crictl logs of it."
            )
        elif state.condition == "silent":
            yield _down(
                name,
                "its process runs and does not answer on the node's own loopback",
                f"On {name}: crictl logs of etcd; a stalled disk or a frozen process does this.",
            )


def _down(node: str, how: str, look: str) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "ETCD_MEMBER_DOWN",
        f"etcd on {node} is down: {how}.",
        "Without this member the next one that restarts may take the quorum away.",
        f"{look} Bring it back, then check again.",
        value="down",
        threshold="answers",
    )


def _judge_member(node: str, status: EtcdStatus, policy: EtcdStatePolicy) -> Iterator[Finding]:
    if status.leader_id is None:
        yield Finding(
            Outcome.BLOCK,
            "ETCD_NO_LEADER",
            f"etcd on {node} has no leader.",
            "The member lost its quorum or its peers.",
            "Bring the other members and the network between them back, then check again.",
            value="no leader",
            threshold="a leader",
        )
    backlog = status.raft_index - status.applied_index
    if backlog >= _BACKLOG_ENTRIES:
        yield Finding(
            Outcome.BLOCK,
            "ETCD_BACKLOG",
            f"etcd on {node} has {backlog} committed entries that it has not applied; {_BACKLOG_ENTRIES} is the limit.",
            "It applies slower than the cluster writes: a slow disk, short CPU, or a member that is catching up.",
            "Wait until it has caught up; if it does not, look at the disk and CPU of that node.",
            value=f"{backlog} entries",
            threshold=f"below {_BACKLOG_ENTRIES} entries",
        )
    yield from _judge_size(node, status, policy)


def _judge_size(node: str, status: EtcdStatus, policy: EtcdStatePolicy) -> Iterator[Finding]:
    used = _percent(status.database_bytes, status.quota_bytes)
    if used >= policy.quota_warn_percent:
        outcome, limit = Outcome.WARN, policy.quota_warn_percent
        if used >= policy.quota_block_percent:
            outcome, limit = Outcome.BLOCK, policy.quota_block_percent
        yield Finding(
            outcome,
            "ETCD_QUOTA_NEAR",
            f"The database of etcd on {node} is {_mib(status.database_bytes)}, {used:.1f} % of its quota of "
            f"{_mib(status.quota_bytes)}; the limit is {limit:g} %.",
            "At 100 % etcd raises NOSPACE and the cluster takes no more writes.",
            "Find what fills it (count of objects per resource), delete that, then compact and defragment; or raise "
            "--quota-backend-bytes.",
            value=f"{used:.1f} %",
            threshold=f"{limit:g} %",
        )
    free = _percent(status.database_bytes - status.in_use_bytes, status.database_bytes)
    if status.database_bytes > _FRAGMENTED_BYTES and free >= _FRAGMENTED_PERCENT:
        yield Finding(
            Outcome.WARN,
            "ETCD_FRAGMENTED",
            f"{free:.0f} % of the database file of etcd on {node} ({_mib(status.database_bytes)}) is free space; "
            f"from {_FRAGMENTED_PERCENT:g} % on a defragmentation is worth it.",
            "Deleted and compacted data leaves holes; kubeadm copies them along with every attempt.",
            "etcdctl defrag, one member after the other, the leader last, outside the night: a member answers "
            "nobody while it defragments.",
            value=f"{free:.0f} %",
            threshold=f"{_FRAGMENTED_PERCENT:g} % of more than {_mib(_FRAGMENTED_BYTES)}",
        )


def _judge_members(nodes: Sequence[NodeFacts], answering: Mapping[str, EtcdStatus]) -> Iterator[Finding]:
    """Compare the member lists with the control-plane nodes; what several members say alike is said once."""
    members = {m.member_id: m for status in answering.values() for m in status.members}
    for member in members.values():
        if not member.name:
            yield _wrong(
                f"A member with the peer address {_peers(member)} was added and never started.", member
            )
        elif node_of(member, nodes) is None:
            yield _wrong(
                f"Member {member.name} ({_peers(member)}) is on no control-plane node of this cluster.",
                member,
            )
        if member.is_learner and member.name:
            yield _wrong(f"Member {member.name} is a learner: it has no vote yet.", member)
    seats = {node_of(member, nodes) for member in members.values()}
    for node in nodes if answering else ():
        if node.name not in seats:
            yield Finding(
                Outcome.BLOCK,
                "ETCD_MEMBERS_WRONG",
                f"Control-plane node {node.name} has no etcd member; the members are "
                f"{', '.join(sorted(m.name or _peers(m) for m in members.values()))}.",
                "It was removed from etcd and not from the cluster, or its join ended half-way.",
                f"Join {node.name} again (kubeadm reset, kubeadm join), or delete its Node object.",
                value=f"{len(members)} members",
                threshold=f"one on each of {len(nodes)} control-plane nodes",
            )


def _wrong(message: str, member: EtcdMember) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "ETCD_MEMBERS_WRONG",
        message,
        "A join or a removal ended half-way. Each member counts for the quorum, whether it runs or not.",
        f"Let it finish, or take the member out: etcdctl member remove {int(member.member_id):x}.",
        value=member.name or _peers(member),
        threshold="every member started, a voter, on a control-plane node",
    )


def _judge_alarms(answering: Mapping[str, EtcdStatus]) -> Iterator[Finding]:
    names = {m.member_id: m.name for status in answering.values() for m in status.members}
    said: set[tuple[str, str]] = set()
    for node, status in answering.items():
        for error in status.errors:
            match = _ALARM.search(error)
            if match is None:
                if error != _NO_LEADER:
                    yield _alarm(f"etcd on {node} reports: {error}.", error)
            elif match.groups() not in said:
                said.add((match[1], match[2]))
                yield _alarm(
                    f"etcd has the alarm {match[2]} for member {names.get(match[1]) or match[1]}.", match[2]
                )


def _alarm(message: str, kind: str) -> Finding:
    if kind == "CORRUPT":
        cause = "The member's data differs from that of the others."
        resolution = (
            "Do not upgrade. Replace that member by a fresh one, or restore the newest proven snapshot."
        )
    elif kind == "NOSPACE":
        cause = "The database reached its quota: the cluster takes no more writes."
        resolution = "Delete what fills it, compact, defragment each member, then etcdctl alarm disarm."
    else:
        cause = "etcd says so in its own status."
        resolution = "Look at the log of that etcd and at etcdctl endpoint status -w json; then check again."
    return Finding(Outcome.BLOCK, "ETCD_ALARM", message, cause, resolution, value=kind, threshold="no alarm")


def _judge_versions(answering: Mapping[str, EtcdStatus], moment: Moment) -> Iterator[Finding]:
    """Members one minor apart are how etcd is upgraded; a night may even begin so, when the last one got half through."""
    versions = {status.version for status in answering.values()}
    said = ", ".join(f"{name} {status.version}" for name, status in answering.items())
    minors = sorted({parse_minor(".".join(version.split(".")[:2])) for version in versions})
    if minors and (minors[-1][0] != minors[0][0] or minors[-1][1] - minors[0][1] > 1):
        yield Finding(
            Outcome.BLOCK,
            "ETCD_VERSIONS_DIFFER",
            f"The members of etcd are more than one minor apart: {said}.",
            "etcd works together with its neighbouring minor only.",
            "Bring the oldest member to the others' version first.",
            value=said,
            threshold="at most one minor apart",
        )
    elif len(versions) > 1 and moment is Moment.NIGHT:
        yield Finding(
            Outcome.WARN,
            "ETCD_VERSIONS_DIFFER",
            f"The members of etcd differ in version: {said}.",
            "An earlier upgrade came to some control-plane nodes only.",
            "Nothing to do when the night goes on with the others; else upgrade them by hand.",
            value=said,
            threshold="one version",
        )


def _evidence(status: EtcdStatus) -> dict[str, Any]:
    return {
        "version": status.version,
        "is_leader": status.leader_id == status.member_id,
        "database_bytes": status.database_bytes,
        "in_use_bytes": status.in_use_bytes,
        "quota_bytes": status.quota_bytes,
        "backlog_entries": status.raft_index - status.applied_index,
        "errors": list(status.errors),
    }


def _percent(part: int, whole: int) -> float:
    """0 when there is no limit."""
    return 100.0 * part / whole if whole > 0 else 0.0


def _peers(member: EtcdMember) -> str:
    return ", ".join(member.peer_urls) or "unknown"


def _mib(size: int) -> str:
    return f"{size / 1024**2:.0f} MiB"
