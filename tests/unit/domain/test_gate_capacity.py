from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import budget, node, pod, round_of

from nightshift.domain.facts import BudgetFacts, NodeFacts, PodFacts
from nightshift.domain.facts.placement import Need, Placement, Room, Taint
from nightshift.domain.gates import capacity, drainability
from nightshift.domain.policy import ClusterPolicy, DrainPolicy, WorkerPolicy
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Outcome, Verdict

GIB = 2**30
CONTROL_PLANE = Taint("node-role.kubernetes.io/control-plane", "", "NoSchedule")


def place(name: str, cpu: int = 2000, memory: int = 4 * GIB, pods: int = 110, **changes: Any) -> NodeFacts:
    taints = (CONTROL_PLANE,) if name.startswith("cp") else ()
    return replace(
        node(name), **{"labels": {"host": name}, "taints": taints, "room": Room(cpu, memory, pods), **changes}
    )


def needs(name: str, where: str, cpu: int = 1000, memory: int = GIB, **changes: Any) -> PodFacts:
    return pod(name, **{"node": where, "need": Need(cpu, memory), **changes})


def check(
    pods: Sequence[PodFacts],
    nodes: Sequence[NodeFacts] | None = None,
    budgets: Sequence[BudgetFacts] = (),
    ahead: tuple[str, ...] = (),
    **policy: Any,
) -> Verdict:
    facts: dict[str, Any] = {
        "nodes": tuple(nodes or (place("cp1"), place("w1"), place("w2"))),
        "pods": tuple(pods),
        "budgets": tuple(budgets),
        "volumes": {},
    }
    moment = Moment.PLACE if ahead else Moment.NIGHT
    return capacity.check(
        round_of(moment=moment, nodes_ahead=ahead, **facts),
        ClusterPolicy("lab", "k", "s", "file:///s", **policy),
    )


def test_the_other_worker_has_room() -> None:
    verdict = check([needs("a", "w1"), needs("b", "w2")])
    assert (verdict.outcome, verdict.evidence) == (Outcome.PASS, {"drained_together": []})


def test_pods_without_room_block_and_are_named_with_what_they_ask_for() -> None:
    verdict = check([needs("a", "w1", cpu=1500), needs("b", "w2", cpu=600)])
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "CAPACITY_SHORT")
    assert "While w1 is drained, 1 of its pods find no room on the other nodes: default/a." in verdict.message
    assert "They ask for 1.5 CPU and 1024 MiB of memory; w2 has 1.4 CPU" in verdict.message
    assert "tolerate node-role.kubernetes.io/control-plane" in verdict.message
    assert "w2 is drained" in verdict.message  # b finds none on w1 either
    accepted = check(
        [needs("a", "w1", cpu=1500), needs("b", "w2", cpu=600)], drain=DrainPolicy(without_room="warn")
    )
    assert (accepted.outcome, accepted.code) == (Outcome.WARN, "CAPACITY_SHORT")


def test_memory_and_the_number_of_pods_count_as_well() -> None:
    assert (
        check([needs("a", "w1", cpu=1, memory=4 * GIB), needs("b", "w2", cpu=1, memory=1)]).code
        == "CAPACITY_SHORT"
    )
    few = (place("cp1"), place("w1"), place("w2", pods=1))
    asks_nothing = needs("a", "w1", cpu=0, memory=0)
    assert check([asks_nothing, needs("b", "w2", 0, 0)], few, ahead=("w1",)).code == "CAPACITY_SHORT"
    assert check([asks_nothing], few, ahead=("w1",)).outcome is Outcome.PASS
    both = check([asks_nothing, needs("c", "w1", 0, 0)], few, ahead=("w1",))
    assert "1 of its pods find no room" in both.message


GPU, SCRATCH = "nvidia.com/gpu", "ephemeral-storage"


def test_every_resource_that_is_asked_for_counts() -> None:
    """A node without a resource has none of it, however empty it is; what runs there has taken its part."""
    has = {"w1": (), "w2": ((SCRATCH, 10 * GIB), (GPU, 2)), "w3": ((SCRATCH, 10 * GIB),)}
    nodes = [place(name, room=Room(8000, 16 * GIB, 110, others)) for name, others in has.items()]
    one = needs("a", "w1", need=Need(100, GIB, ((GPU, 1),)))
    assert check([one], nodes, ahead=("w1",)).outcome is Outcome.PASS
    taken = needs("b", "w2", need=Need(100, GIB, ((GPU, 2),)))
    short = check([one, taken], nodes, ahead=("w1",))
    assert (short.outcome, short.code) == (Outcome.BLOCK, "CAPACITY_SHORT")
    assert "They ask for 0.1 CPU, 1024 MiB of memory and 1 nvidia.com/gpu; " in short.message
    assert "15360 MiB of memory and 0 nvidia.com/gpu left" in short.message
    large = needs("c", "w1", need=Need(100, GIB, ((SCRATCH, 11 * GIB),)))
    assert "11264 MiB of ephemeral-storage" in check([large], nodes, ahead=("w1",)).message
    both = [replace(large, need=Need(100, GIB, ((SCRATCH, 6 * GIB),)), name=name, uid=name) for name in "cd"]
    assert check(both, nodes, ahead=("w1",)).outcome is Outcome.PASS
    assert check([*both, replace(both[0], name="e")], nodes, ahead=("w1",)).code == "CAPACITY_SHORT"


def test_what_few_nodes_have_is_given_to_those_that_ask_for_it_first() -> None:
    nodes = [
        place("w1"),
        place("w2", memory=4 * GIB, room=Room(2000, 4 * GIB, 110, ((GPU, 1),))),
        place("w3"),
    ]
    large = needs("a", "w1", memory=3 * GIB)
    picky = needs("b", "w1", need=Need(1000, 2 * GIB, ((GPU, 1),)))
    assert check([large, picky], nodes, ahead=("w1",)).outcome is Outcome.PASS


def test_what_asks_for_nothing_of_a_full_node_still_fits() -> None:
    assert (
        check([needs("a", "w1", 0, 0), needs("b", "w2", 2000, 4 * GIB)], ahead=("w1",)).outcome
        is Outcome.PASS
    )


def test_only_what_moves_is_placed_and_only_what_lives_takes_room() -> None:
    daemon = needs("d", "w1", 2000, controller="DaemonSet/d", controller_kind="DaemonSet")
    mirror = needs("m", "w1", 2000, is_mirror=True)
    bare = needs(
        "b", "w1", 2000, controller=None, controller_kind=None, annotations={"nightshift.io/evict": "true"}
    )
    finished = needs("f", "w2", 2000, phase="Succeeded")
    for stays in (daemon, mirror, bare):
        assert check([stays, needs("x", "w2", 1)], ahead=("w1",)).outcome is Outcome.PASS, stays.name
    assert check([needs("a", "w1", 2000), finished], ahead=("w1",)).outcome is Outcome.PASS


def test_a_node_that_takes_no_pods_has_no_room() -> None:
    for state in ({"is_unschedulable": True}, {"is_ready": False}, {"is_ready": None}):
        verdict = check([needs("a", "w1")], (place("cp1"), place("w1"), place("w2", **state)), ahead=("w1",))
        assert verdict.code == "CAPACITY_SHORT", state
    assert "w2 is not Ready" in verdict.message
    pressure = (Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule"),)
    full = check([needs("a", "w1")], (place("cp1"), place("w1"), place("w2", taints=pressure)), ahead=("w1",))
    assert "w2 has the taint node.kubernetes.io/disk-pressure" in full.message


def test_pods_tied_to_their_node_are_another_gates_business() -> None:
    tied = needs("a", "w1", placement=Placement(selector=(("host", "w1"),)))
    assert check([tied, needs("b", "w2", 2000)], ahead=("w1",)).outcome is Outcome.PASS


def test_a_budget_used_up_by_pods_without_room_blocks_whatever_the_policy_says() -> None:
    pods = [needs("a1", "w1"), needs("a2", "w1"), needs("b", "w2", 2000, labels={"app": "b"})]
    allows = [budget(disruptions_allowed=1)]
    verdict = check(pods, budgets=allows, ahead=("w1",), drain=DrainPolicy(without_room="warn"))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "PDB_NO_ROOM")
    assert "2 pods of budget default/web find no room elsewhere (default/a1, default/a2)" in verdict.message
    enough = check(
        pods, budgets=[budget(disruptions_allowed=2)], ahead=("w1",), drain=DrainPolicy(without_room="warn")
    )
    assert enough.outcome is Outcome.WARN


def test_workers_that_are_drained_together_are_away_together() -> None:
    nodes = [place("cp1"), *(place(f"w{n}") for n in range(1, 4))]
    pods = [needs("a", "w1", 1200), needs("b", "w2", 1200), needs("c", "w3", 700)]
    assert check(pods, nodes).outcome is Outcome.PASS
    verdict = check(pods, nodes, workers=WorkerPolicy(max_unavailable=2))
    assert verdict.code == "CAPACITY_SHORT"
    assert "While w1 and w2 is drained" in verdict.message


def test_a_node_that_does_not_say_what_it_carries_is_blind() -> None:
    verdict = check([needs("a", "w1")], (place("cp1"), place("w1"), place("w2", room=None)))
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "CAPACITY_UNKNOWN")


@pytest.mark.no_cover  # the limit of time is the program's own
def test_a_thousand_nodes_and_ten_thousand_pods_fold_in_seconds() -> None:
    nodes = [place(f"n{n:04}", 16000, 64 * GIB) for n in range(1000)]
    pods = [
        needs(
            f"p{n}", f"n{n % 1000:04}", 100, GIB // 4, namespace=f"s{n % 200}", labels={"app": f"a{n % 500}"}
        )
        for n in range(10_000)
    ]
    budgets = [
        budget(f"b{n}", namespace=f"s{n % 200}", selector={"matchLabels": {"app": f"a{n}"}})
        for n in range(500)
    ]
    facts: dict[str, Any] = {
        "nodes": tuple(nodes),
        "pods": tuple(pods),
        "budgets": tuple(budgets),
        "volumes": {},
    }
    started = time.process_time()
    for gate in (capacity, drainability):
        assert gate.check(round_of(**facts), ClusterPolicy("lab", "k", "s", "f")).outcome is Outcome.PASS
    assert time.process_time() - started < 5
