from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from tests.unit.domain.builders import node, probe

from nightshift.domain.debts import OWNER_ANNOTATION, TOKEN_ANNOTATION, Debt, DebtKind
from nightshift.domain.facts import JobFacts, LeaseFacts, NodeFacts, NodeProbe
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION, Quarantine
from nightshift.domain.recovery import RecoveryPlan, foresee, is_resumed, plan_recovery

NOW = 10_000.0
MARKS = {OWNER_ANNOTATION: "dead", TOKEN_ANNOTATION: "7"}
DEAD = LeaseFacts(holder="dead", token=7, acquired=1.0, renewed=NOW - 121, duration_seconds=120)
LIVE = replace(DEAD, holder="other", renewed=NOW - 5)
FREE = replace(DEAD, holder="")
CORDONED = node("cp1", is_unschedulable=True, annotations=MARKS)
QUIET = Debt(DebtKind.REPLICAS, "Deployment/shop/web", {"before": 3, "uid": "u"}, "dead", 7, 1.0)
RUNNING = JobFacts("kubeadm-upgrade", "running", None, "dead", 7, (), 1.0, None)


def recover(
    lease: LeaseFacts | None,
    nodes: list[NodeFacts],
    probes: dict[str, NodeProbe | None] | None = None,
    own: str | None = None,
    debts: tuple[Debt, ...] = (),
) -> RecoveryPlan:
    seen = {n.name: probe(n.name) for n in nodes} if probes is None else probes
    return plan_recovery(lease, nodes, seen, NOW, own, debts)


def test_a_dead_runs_debts_are_repaid_and_the_lease_comes_last() -> None:
    plan = recover(DEAD, [CORDONED, node("w1")])
    assert plan.may_act
    assert plan.uncordon == ("cp1",)
    assert plan.drop_annotations == ("cp1",)
    assert plan.clear_in_flight
    assert plan.empty_lease
    assert plan.fence == ("cp1", "w1")
    assert "cp1" in plan.reason


@pytest.mark.parametrize("own", [None, "mine"])
def test_somebody_alive_is_left_alone(own: str | None) -> None:
    plan = recover(LIVE, [CORDONED], own=own)
    assert not plan.may_act
    assert "other is alive: it renewed the Lease 5 s ago" in plan.reason
    assert plan == RecoveryPlan(False, plan.reason)


def test_a_run_may_always_clean_up_after_itself() -> None:
    plan = recover(replace(LIVE, holder="mine"), [CORDONED], own="mine")
    assert plan.uncordon == ("cp1",)
    assert plan.empty_lease


def test_a_run_may_take_over_the_recovery_of_itself_even_while_it_lives() -> None:
    lease = replace(LIVE, holder="mine (recovery)")
    plan = recover(lease, [CORDONED], own="mine")
    assert (plan.uncordon, plan.empty_lease) == (("cp1",), True)


@pytest.mark.parametrize("own", [None, "other"])
def test_a_recovery_at_work_is_left_alone(own: str | None) -> None:
    plan = recover(replace(LIVE, holder="mine (recovery)"), [CORDONED], own=own)
    assert plan == RecoveryPlan(False, "mine (recovery) is at work: it renewed the Lease 5 s ago.")


@pytest.mark.parametrize("renewed", [NOW - 121, None])
def test_a_recovery_that_ended_half_way_is_taken_over(renewed: float | None) -> None:
    plan = recover(replace(DEAD, holder="dead (recovery)", renewed=renewed), [CORDONED])
    assert (plan.uncordon, plan.empty_lease) == (("cp1",), True)
    assert "run dead left" in recover(replace(DEAD, holder="dead (recovery)"), [node("cp1")]).reason


def test_what_somebody_else_cordoned_is_never_uncordoned() -> None:
    plan = recover(DEAD, [node("w1", is_unschedulable=True)])
    assert plan.uncordon == ()
    assert plan.drop_annotations == ()
    assert plan.empty_lease


@pytest.mark.parametrize(
    ("node_facts", "uncordon"),
    [
        (node("w1", annotations=MARKS), ()),  # marked, not (or no longer) cordoned
        (
            node("w1", is_unschedulable=True, annotations={TOKEN_ANNOTATION: "7"}),
            (),
        ),  # owner mark lost: not ours
    ],
)
def test_marks_without_our_cordon_are_dropped_only(node_facts: NodeFacts, uncordon: tuple[str, ...]) -> None:
    plan = recover(FREE, [node_facts])
    assert plan.uncordon == uncordon
    assert plan.drop_annotations == ("w1",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jobs": (RUNNING,)}, "cp1: kubeadm-upgrade (run dead)"),
        ({"kubeadm_pids": (4711,)}, "cp1: kubeadm (pid 4711)"),
        ({"jobs": (RUNNING,), "kubeadm_pids": (4711,)}, "cp1: kubeadm-upgrade (run dead)"),
    ],
)
def test_running_work_is_waited_for_and_others_are_freed(changes: dict[str, Any], said: str) -> None:
    other = node("w1", is_unschedulable=True, annotations=MARKS)
    plan = recover(DEAD, [CORDONED, other], {"cp1": probe("cp1", **changes), "w1": probe("w1")})
    assert plan.wait_for == (said,)
    assert plan.uncordon == ("w1",)
    assert plan.drop_annotations == ("w1",)
    assert not plan.clear_in_flight
    assert not plan.empty_lease
    assert said in plan.reason
    assert "cp1" in plan.fence  # so that nothing new is started while the old work ends


@pytest.mark.parametrize("name", ["w1", "cp2"])
def test_a_persons_kubeadm_on_a_node_that_is_not_ours_keeps_nothing_back(name: str) -> None:
    theirs = {"cp1": probe("cp1"), name: probe(name, kubeadm_pids=(4711,))}
    plan = recover(DEAD, [CORDONED, node(name, is_control_plane=name != "w1")], theirs)
    assert (plan.wait_for, plan.uncordon, plan.empty_lease) == ((), ("cp1",), True)


def test_a_persons_kubeadm_on_a_control_plane_keeps_quiet_what_is() -> None:
    theirs = {"cp1": probe("cp1"), "cp2": probe("cp2", kubeadm_pids=(4711,))}
    plan = recover(DEAD, [CORDONED, node("cp2", is_control_plane=True)], theirs, debts=(QUIET,))
    assert plan.wait_for == ("cp2: kubeadm (pid 4711)",)
    assert (plan.uncordon, plan.repay, plan.empty_lease) == (("cp1",), (), False)


@pytest.mark.parametrize("mark", ["{}", Quarantine("DRAIN_BLOCKED", "earlier", "2026-11-23").to_text()])
def test_an_unseen_worker_that_an_earlier_night_set_aside_may_be_at_work(mark: str) -> None:
    """The mark stays while a later night tries it again."""
    tried = node("w1", is_unschedulable=True, annotations={**MARKS, QUARANTINE_ANNOTATION: mark})
    plan = recover(DEAD, [CORDONED, tried], {"cp1": probe("cp1")})
    assert (plan.aside, plan.empty_lease, plan.clear_in_flight) == ((), False, False)
    assert "w1 could not be reached" in plan.unknown[0]


def test_an_unseen_worker_that_was_set_aside_keeps_its_marks_and_nobody_waiting() -> None:
    set_aside = Quarantine("NODE_UNREACHABLE", "dead", "2026-11-24").to_text()
    aside = node("w1", is_unschedulable=True, annotations={**MARKS, QUARANTINE_ANNOTATION: set_aside})
    plan = recover(DEAD, [CORDONED, aside], {"cp1": probe("cp1")})
    assert plan.aside == ("w1",)
    assert (plan.unknown, plan.uncordon, plan.drop_annotations) == ((), ("cp1",), ("cp1",))
    assert (plan.clear_in_flight, plan.empty_lease) == (True, True)
    seen = recover(DEAD, [CORDONED, aside])
    assert (seen.aside, seen.uncordon) == ((), ("cp1", "w1"))


@pytest.mark.parametrize("state", ["succeeded", "failed", "lost", "absent"])
def test_ended_jobs_hold_nothing_up(state: str) -> None:
    ended = replace(RUNNING, state=state)
    assert recover(DEAD, [CORDONED], {"cp1": probe("cp1", jobs=(ended,))}).uncordon == ("cp1",)


@pytest.mark.parametrize("probes", [{"cp1": None}, {}])
def test_unreachable_is_unknown_not_dead(probes: dict[str, NodeProbe | None]) -> None:
    plan = recover(DEAD, [CORDONED], probes)
    assert plan.may_act
    assert plan.uncordon == ()
    assert plan.drop_annotations == ()
    assert not plan.empty_lease
    assert not plan.clear_in_flight
    assert "cp1 could not be reached" in plan.unknown[0]
    assert plan.fence == ()


def test_an_unreachable_node_without_debt_holds_nothing_up() -> None:
    plan = recover(DEAD, [CORDONED, node("w1")], {"cp1": probe("cp1"), "w1": None})
    assert plan.empty_lease
    assert plan.uncordon == ("cp1",)
    assert plan.fence == ("cp1",)


def test_a_lease_left_alone_is_emptied() -> None:
    plan = recover(DEAD, [node("cp1")])
    assert plan.empty_lease
    assert "run dead" in plan.reason


@pytest.mark.parametrize("lease", [None, FREE])
def test_nothing_left_behind_is_nothing_to_do(lease: LeaseFacts | None) -> None:
    plan = recover(lease, [node("cp1"), node("w1")])
    assert plan.reason == "Nothing was left behind."
    assert (plan.fence, plan.uncordon, plan.drop_annotations, plan.empty_lease) == ((), (), (), False)


def test_carrying_it_out_and_planning_again_finds_nothing() -> None:
    first = recover(DEAD, [CORDONED])
    assert first.uncordon == first.drop_annotations == ("cp1",)
    second = recover(FREE, [node("cp1")])
    assert (second.uncordon, second.drop_annotations, second.empty_lease) == ((), (), False)


def test_dying_half_way_is_found_again() -> None:
    """Uncordoned, but the marks, the gauge and the Lease not yet: all of the rest is planned again."""
    plan = recover(DEAD, [replace(CORDONED, is_unschedulable=False)])
    assert plan.uncordon == ()
    assert plan.drop_annotations == ("cp1",)
    assert plan.clear_in_flight
    assert plan.empty_lease


def test_recorded_debts_are_repaid_in_order_and_named() -> None:
    cron = replace(QUIET, kind=DebtKind.SUSPEND, subject="CronJob/shop/backup")
    late = replace(QUIET, subject="Deployment/shop/api", recorded=2.0)
    plan = recover(DEAD, [CORDONED], debts=(cron, QUIET, late))
    assert plan.repay == (late, QUIET, cron)
    assert (plan.uncordon, plan.empty_lease, plan.clear_in_flight) == (("cp1",), True, True)
    assert "cp1, Deployment shop/api, Deployment shop/web, CronJob shop/backup" in plan.reason


def test_a_recorded_debt_alone_is_enough_to_fence_and_repay() -> None:
    plan = recover(FREE, [node("cp1")], debts=(QUIET,))
    assert (plan.fence, plan.repay) == (("cp1",), (QUIET,))


def test_nothing_is_started_again_while_a_control_plane_is_at_work() -> None:
    nodes = [CORDONED, node("w1")]
    at_work = {"cp1": probe("cp1", jobs=(RUNNING,)), "w1": probe("w1")}
    plan = recover(DEAD, nodes, at_work, debts=(QUIET,))
    assert (plan.repay, plan.empty_lease) == ((), False)
    unseen = recover(DEAD, nodes, {"cp1": None, "w1": probe("w1")}, debts=(QUIET,))
    assert (unseen.repay, unseen.empty_lease) == ((), False)


@pytest.mark.parametrize("on_worker", [probe("w1", jobs=(RUNNING,)), None])
def test_a_worker_at_work_or_away_keeps_no_workload_quiet(on_worker: NodeProbe | None) -> None:
    worker = node("w1", is_control_plane=False, is_unschedulable=True, annotations=MARKS)
    plan = recover(DEAD, [node("cp1"), worker], {"cp1": probe("cp1"), "w1": on_worker}, debts=(QUIET,))
    assert plan.repay == (QUIET,)
    assert not plan.empty_lease


def test_an_unseen_control_plane_that_somebody_else_cordoned_may_be_at_work_too() -> None:
    """It was upgraded all the same, and carries no mark of ours."""
    foreign = node("cp1", is_unschedulable=True)
    assert recover(DEAD, [foreign], {"cp1": None}).empty_lease
    plan = recover(DEAD, [foreign], {"cp1": None}, debts=(QUIET,))
    assert (plan.repay, plan.empty_lease) == ((), False)
    assert "cp1 could not be reached" in plan.unknown[0]


def test_a_record_that_nobody_understands_stays_and_is_said() -> None:
    plan = recover(DEAD, [CORDONED], debts=(Debt(DebtKind.UNREADABLE, "Deployment.shop.web"), QUIET))
    assert plan.repay == (QUIET,)
    assert not plan.empty_lease
    assert "Entry Deployment.shop.web" in plan.unknown[0]


def test_every_part_of_a_plan_is_foreseen() -> None:
    """A part that is added to the plan and not told would make the dry run a lie."""
    silent = {"may_act", "reason"}
    for part in (f for f in fields(RecoveryPlan) if f.name not in silent):
        value = True if part.type == "bool" else ("cp1",)
        assert len(foresee(replace(RecoveryPlan(True, ""), **{part.name: value}))) == 1, part.name
    assert foresee(RecoveryPlan(True, "")) == ()


@pytest.mark.parametrize(
    ("changes", "resumed"),
    [
        ({}, False),
        ({"acquired": 5_001.0}, True),
        ({"acquired": 5_001.0, "renewed": 5_002.0}, True),  # expired by now: the sweeper watches it
        ({"renewed": 5_030.0}, False),  # what a process that is killed after the end may have written
        ({"renewed": 5_031.0}, True),
        ({"acquired": 5_001.0, "holder": "mine (recovery)"}, False),
        ({"acquired": 5_001.0, "holder": "other"}, False),
        ({"acquired": None, "renewed": None, "holder": ""}, False),
    ],
)
def test_a_run_is_at_work_again_when_it_holds_the_lease_after_its_end(
    changes: dict[str, Any], resumed: bool
) -> None:
    lease = LeaseFacts("mine", 7, acquired=1_000.0, renewed=4_990.0, duration_seconds=120)
    assert is_resumed(replace(lease, **changes), "mine", ended=5_000.0) is resumed


def test_a_cordon_that_a_person_made_since_is_not_lifted() -> None:
    plan = recover(DEAD, [replace(CORDONED, cordoned_by="kubectl")])
    assert (plan.uncordon, plan.drop_annotations) == ((), ("cp1",))
