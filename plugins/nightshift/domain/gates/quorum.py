"""Gate: does etcd keep its quorum while the next control-plane node is away?

An upgrade restarts one member at a time. Counted are the voters that answer and know a leader; one that is down or
could not be asked counts as missing. Before the night the worst case is judged: any of the healthy members goes. In front of a slot
it is the node of that slot; in front of workers nothing goes. Too few left blocks. With one or two members there is no
quorum without one in any case: that passes when the policy says `accept_api_outage`, and blocks otherwise, as the
plan does (`API_OUTAGE_NOT_ACCEPTED`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nightshift.domain.etcd_members import node_of
from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.etcd import ETCD, EtcdMember, EtcdState
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.plan import MEMBERS_FOR_QUORUM, control_planes_due, outage_not_accepted
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment, Round
from nightshift.domain.target import TargetKind
from nightshift.domain.topics import COMPONENTS, NODES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "quorum"
TITLE = "etcd quorum"
NEEDS = (NODES, ETCD)
WANTS = (TARGET, COMPONENTS)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Take the next control-plane node away in thought and count."""
    nodes = [node for node in round_.get(NODES) if node.is_control_plane]
    states = round_.by_node(ETCD)
    voters = _voters(states, nodes)
    if not voters:
        return conclude(NAME, [_unknown(states)], passed="")
    healthy = sorted(name for name in voters if _is_well(states.get(name)))
    going = _going(round_, nodes, healthy)
    if not going:
        return conclude(
            NAME,
            [],
            passed="No control-plane node is upgraded here: etcd keeps all its members.",
            value="none goes",
        )
    if len(voters) < MEMBERS_FOR_QUORUM:
        return _without_spare(nodes, voters, policy)
    majority = len(voters) // 2 + 1
    left = {name: len(healthy) - (name in healthy) for name in going}
    worst = min(left, key=lambda name: left[name])
    missing = sorted(set(voters) - set(healthy))
    return conclude(
        NAME,
        [_at_risk(worst, left[worst], majority, voters, missing)] if left[worst] < majority else [],
        passed=f"etcd keeps its quorum without {worst}: {left[worst]} of {len(voters)} members stay, {majority} are needed.",
        value=f"{left[worst]} members stay",
        threshold=f"{majority} of {len(voters)}",
        evidence={"voters": sorted(voters), "healthy": healthy, "going": list(going)},
    )


def _voters(states: Mapping[str, EtcdState], nodes: Sequence[NodeFacts]) -> tuple[str, ...]:
    """The voting members by their nodes, as those say that answer; the longest list counts when they disagree."""
    lists: list[list[EtcdMember]] = [
        [m for m in state.status.members if not m.is_learner]
        for state in states.values()
        if state.status is not None
    ]
    longest = max(lists, key=len, default=[])
    return tuple(sorted({node_of(member, nodes) or member.name or member.member_id for member in longest}))


def _is_well(state: EtcdState | None) -> bool:
    return state is not None and state.status is not None and state.status.leader_id is not None


def _going(round_: Round, nodes: Sequence[NodeFacts], healthy: Sequence[str]) -> tuple[str, ...]:
    """Who may be restarted next: the nodes behind this place, or before the night each that is due."""
    names = [node.name for node in nodes]
    if round_.moment is Moment.PLACE:
        return tuple(name for name in round_.nodes_ahead if name in names)
    target, components = round_.find(TARGET), round_.find(COMPONENTS)
    if target is not None and target.kind is TargetKind.NONE:
        return ()
    if target is None or target.version is None or components is None:
        return tuple(names)  # not known who is due: any of them
    return tuple(node.name for node in control_planes_due(nodes, components, target.version))


def _without_spare(nodes: Sequence[NodeFacts], voters: Sequence[str], policy: ClusterPolicy) -> Verdict:
    count = f"{len(voters)} member{'s' if len(voters) > 1 else ''}"
    refused = outage_not_accepted(len(nodes))  # word for word what the plan says: the decision says it once
    if not policy.accept_api_outage:
        return replace(refused, gate=NAME)
    return conclude(
        NAME,
        [],
        passed=f"etcd has {count}: while one is restarted there is no quorum and no API. The policy accepts that "
        "(accept_api_outage).",
        value=count,
        threshold=refused.threshold,
    )


def _at_risk(node: str, left: int, majority: int, voters: Sequence[str], missing: Sequence[str]) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "QUORUM_AT_RISK",
        f"Without {node} etcd has {left} healthy member{'' if left == 1 else 's'}, {majority} of {len(voters)} are needed: "
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
        "The missing members do not answer, or have no leader.",
        f"Bring etcd on {', '.join(missing)} back, then check again.",
        value=f"{left} members",
        threshold=f"{majority} of {len(voters)}",
    )


def _unknown(states: Mapping[str, EtcdState]) -> Finding:
    return Finding(
        Outcome.BLIND,
        "ETCD_UNREADABLE",
        f"No etcd member answers ({', '.join(f'{n}: {s.condition}' for n, s in sorted(states.items())) or 'none asked'}).",
        "Without an answer nobody knows who the members are.",
        "On a control-plane node: crictl ps -a --name etcd; crictl logs of it. Then check again.",
    )
