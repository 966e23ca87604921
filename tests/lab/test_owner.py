"""The owner's words on real nights: what is made quiet comes back, brake and window end a night between two nodes, a worker is set aside.

A night takes about ten minutes, so each case plays several on one cluster: the one that stops, and those that go on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.lab.owner_world import (
    AS_BEFORE,
    KEEPER,
    MARK,
    PATIENT_FILE,
    QUIESCE,
    QUIET,
    OwnersWorld,
    ReplicaWatch,
    begin_drain,
    begin_worker,
    closing_window,
    end_of,
    keeper_uid,
    kill_kubeadm,
    kubeadm_jobs,
    loosen,
    loud_pods,
    mark_of,
    owned,
    set_brake,
    settings,
    start_workloads,
    taken_worker,
    tighten,
    words,
)
from tests.lab.test_night import KUBEADM_UNIT, RECOVERY_SECONDS, SLOT, TARGET, assert_clean, assert_on_target
from tests.lab.world import DAG, World, wait_until

BEFORE = "v1.34.4"
DRAIN_SECONDS = 120  # of a drain that its budget will not let go on
GIVEN_BACK_SECONDS = 60  # a drain that waits asks the brake every 5 s
REASON = "by hand, for the lab"


@pytest.fixture
def owners_world(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnersWorld]:
    with owned(world, tmp_path, monkeypatch, PATIENT_FILE) as mine:
        mine.say()
        yield mine


def other_worker(world: World, node: str) -> str:
    """The second one of `small`."""
    (other,) = (name for name in world.nodes() if name.startswith("w") and name != node)
    return other


@pytest.mark.timeout(5400)
def test_what_is_quiet_comes_back_after_a_death_and_before_the_workers_and_a_brake_ends_a_night(
    owners_world: OwnersWorld,
) -> None:
    world = owners_world
    world.say(QUIESCE)
    world.fresh()
    start_workloads(world)

    die_while_all_is_quiet(world)
    canary = brake_on_the_canary(world)
    is_held(world, REASON)
    set_brake(world, "release")
    last = other_worker(world, canary)
    brake_while_a_drain_waits(world, last)

    loosen(world)
    release_brake(world)
    stop_while_kubeadm_works(world, last)
    with ReplicaWatch(world) as replicas:
        run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert words(run)[last] == "upgraded"
    assert set(replicas.seen) == {AS_BEFORE["batch"]}, "no control plane is touched, so nothing is made quiet"
    assert_on_target(world)
    assert_clean(world)
    assert settings(world) == AS_BEFORE


def die_while_all_is_quiet(world: OwnersWorld) -> None:
    """The run is marked as failed while the only control plane's kubeadm works."""
    run_id = world.upgrade_until_job(SLOT, "cp1", KUBEADM_UNIT)
    assert settings(world) == QUIET
    assert loud_pods(world) == []

    world.api.mark_failed(DAG, run_id)

    world.finish(run_id)
    wait_until(
        world.is_clean, "a clean cluster after the run was marked as failed", RECOVERY_SECONDS, pause=5
    )
    assert settings(world) == AS_BEFORE, "the recovery gives back what a dead run owes"


def brake_on_the_canary(world: OwnersWorld) -> str:
    """The next night goes on, until somebody pulls the brake by kubectl; returns the canary."""
    with ReplicaWatch(world) as replicas:
        run_id, canary = begin_worker(world, wave=1)
        assert settings(world) == AS_BEFORE, "given back before the first worker"
        pull_brake(world)
        run = world.finish(run_id)
    last = other_worker(world, canary)
    assert 0 in replicas.seen, "the control plane's second half is quiet, too"
    assert run["state"] == "success", run["note"]
    assert run["ledger"]["answer"] == "upgraded", run["note"]
    assert REASON in run["note"]
    assert words(run) == {"cp1": "upgraded", canary: "upgraded", last: "tomorrow"}, run["note"]
    assert f"{last} continue" in run["note"]
    assert world.kubelet_versions() == {"cp1": TARGET, canary: TARGET, last: BEFORE}
    assert_clean(world)
    assert settings(world) == AS_BEFORE
    return canary


def is_held(world: OwnersWorld, word: str) -> None:
    """A night that the owner keeps from beginning is green, and says why."""
    run = world.night()
    assert (run["state"], run["ledger"]["answer"]) == ("success", "held"), run["note"]
    assert word in run["note"]
    assert_clean(world)


def brake_while_a_drain_waits(world: OwnersWorld, last: str) -> None:
    """Somebody pulls the brake in the UI while the last worker's drain waits for a budget."""
    keeper = tighten(world, last)
    run_id = world.upgrade_until_running("workers.wave_01.drain_node")
    assert taken_worker(world) == last
    wait_until(lambda: is_only_keeper_left(world, last), f"a drain of {last} that waits", 300)

    said = set_brake(world, "pause")

    assert f"{last} is given back as it was" in said, said
    wait_until(lambda: not world.cordoned(), f"{last} takes pods again", GIVEN_BACK_SECONDS)
    run = world.finish(run_id)
    assert (run["state"], run["ledger"]["answer"]) == ("success", "held"), run["note"]
    assert "lab test" in run["note"]
    assert words(run)[last] == "tomorrow"
    assert keeper_uid(world) == keeper, "nothing was forced"
    assert world.kubelet_versions()[last] == BEFORE
    assert_clean(world)


def stop_while_kubeadm_works(world: OwnersWorld, last: str) -> None:
    """Somebody says "stop now" by kubectl under the last worker's kubeadm: it comes to its end, and nothing else is begun."""
    jobs = kubeadm_jobs(world, last)
    run_id, node = begin_worker(world, wave=1)
    assert node == last
    pull_brake(world, "--from-literal=mode=stop now")
    run = world.finish(run_id)
    assert (run["state"], run["ledger"]["answer"]) == ("failed", "failed"), run["note"]
    for word in (f"{last} was stopped half way", REASON):
        assert word in run["note"], run["note"]
    assert kubeadm_jobs(world, last) == jobs + 1
    assert world.kubelet_versions()[last] == BEFORE, "its kubelet's job was begun"
    assert_clean(world)
    release_brake(world)


def pull_brake(world: World, *words: str) -> None:
    """As a person without Airflow does."""
    pause = ("--from-literal=paused=true", f"--from-literal=reason={REASON}", *words)
    world.kubectl("-n", "nightshift", "create", "configmap", "nightshift-brake", *pause)


def release_brake(world: World) -> None:
    """The same."""
    world.kubectl("-n", "nightshift", "delete", "configmap", "nightshift-brake")


def is_only_keeper_left(world: World, node: str) -> bool:
    """Tell whether everything that the budgets let go has left the node."""
    left = world.movable_pods()[node]
    return bool(left) and all(pod.startswith(KEEPER) for pod in left)


@pytest.mark.timeout(5400)
def test_a_window_that_closes_ends_a_night_and_a_worker_that_cannot_be_drained_is_set_aside(
    owners_world: OwnersWorld,
) -> None:
    world = owners_world
    mine = {**QUIESCE, "drain": {"timeout_seconds": DRAIN_SECONDS}}
    world.say(mine)
    world.fresh()
    start_workloads(world)

    window_closes_under_the_control_plane(world, mine)
    is_held(world, "outside the window")
    jobs = kubeadm_jobs(world, "cp1")
    assert jobs > 0, "a journal that names no job proves nothing"
    world.say(mine)
    with world.cordons() as cordons:
        last, mark = set_last_worker_aside(world)
        canary_is_not_set_aside(world, last, mark)
        loosen(world)
        world.kubectl("annotate", "node", last, f"{MARK}-")
        run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert words(run)[last] == "upgraded"
    assert_on_target(world)
    assert_clean(world)
    assert last in cordons.seen, "a watch that saw nothing proves nothing"
    assert "cp1" not in cordons.seen, "what the first night finished is not touched again"
    assert kubeadm_jobs(world, "cp1") == jobs


def window_closes_under_the_control_plane(world: OwnersWorld, policy: Mapping[str, object]) -> None:
    """The window closes within a minute after the control plane's kubeadm began; it is carried to its end, and nothing else
    is begun. A person clears the task that follows it, which clears `claim`: neither is kept out by the closed window.
    """
    run_id = world.upgrade_until_job(SLOT, "cp1", KUBEADM_UNIT)
    jobs = kubeadm_jobs(world, "cp1")
    window, closes = closing_window(datetime.now(UTC))
    world.say(policy, window)
    wait_until(lambda: datetime.now(UTC) > closes, "the window is closed", 60)
    assert world.states(run_id)[SLOT] == "running", "it has to be cleared while kubeadm works"
    world.api.clear(run_id, SLOT)
    run = world.finish(run_id)
    assert kubeadm_jobs(world, "cp1") == jobs, "the next try attached"
    assert len([t for t in world.api.tries(run_id) if t["task_id"] == "claim"]) == 2
    assert run["state"] == "success", run["note"]
    assert run["ledger"]["answer"] == "upgraded", run["note"]
    assert words(run) == {"cp1": "upgraded", "w1": "tomorrow", "w2": "tomorrow"}, run["note"]
    assert end_of(run, "cp1") > closes, "the window closed after the node was done, so nothing was shown"
    assert "outside the window" in run["note"]
    assert "continue on the next night" in run["note"]
    assert world.kubelet_versions() == {"cp1": TARGET, "w1": BEFORE, "w2": BEFORE}
    assert settings(world) == AS_BEFORE
    assert_clean(world)


def set_last_worker_aside(world: OwnersWorld) -> tuple[str, str]:
    """A budget gets tight behind the canary, after the gates; returns the worker that was set aside, and its mark."""
    run_id, canary = begin_worker(world, wave=1)
    last = other_worker(world, canary)
    keeper = tighten(world, last)
    run = world.finish(run_id)
    assert (run["state"], run["ledger"]["answer"]) == ("failed", "partial"), run["note"]
    assert words(run) == {"cp1": "already", canary: "upgraded", last: "quarantined"}, run["note"]
    for word in ("DRAIN_BLOCKED", last, f"within {DRAIN_SECONDS} s", KEEPER):
        assert word in run["note"], run["note"]
    assert keeper_uid(world) == keeper, "nothing was forced"
    mark = mark_of(world, last)
    assert mark, f"{last} is not marked"
    assert json.loads(mark)["reason"] == "DRAIN_BLOCKED"
    assert_given_back(world, last)
    assert cause_of(world, f"{last}-drain") == "pdb_deadlock", (
        "the report names what the API said of the budget"
    )
    return last, mark


def cause_of(world: OwnersWorld, incident: str) -> str:
    """What the newest report of these incidents says is the first cause."""
    store = Path(world.home.store) / "lab" / "evidence"
    found = max(store.glob(f"*/{incident}-*/diagnosis.json"), key=lambda path: path.stat().st_mtime)
    first = json.loads(found.read_text(encoding="utf-8"))["first"]
    return first["cause"] if first else "unknown"


def canary_is_not_set_aside(world: OwnersWorld, last: str, mark: str) -> None:
    """The only worker that is left is its night's canary: that night stops, and no mark of its own is made."""
    run = world.upgrade()  # asks again where the disk is still busy with what the failed night left
    assert (run["state"], run["ledger"]["answer"]) == ("failed", "failed"), run["note"]
    assert words(run)[last] == "failed", run["note"]
    assert "DRAIN_BLOCKED" in run["note"]
    assert mark_of(world, last) == mark, "the mark is the earlier night's"
    assert_given_back(world, last)


def assert_given_back(world: World, aside: str) -> None:
    """Nothing is left but the mark of the worker that was set aside."""
    assert world.cordoned() == []
    assert world.marks() == [f"{aside}: {MARK}"]
    assert world.lease()[0] == ""
    assert world.gauge("k8s_upgrade_in_flight") == 0


@pytest.mark.timeout(7200)
def test_a_worker_whose_upgrade_fails_is_set_aside_and_the_others_go_on(owners_world: OwnersWorld) -> None:
    """Needs a third worker; three control planes come along with it, so this night is a long one."""
    world = owners_world
    world.fresh("ha")
    run_id, node = begin_drain(world, wave=2, seconds=3600)
    kill_kubeadm(world, node)

    run = world.finish(run_id)

    assert (run["state"], run["ledger"]["answer"]) == ("failed", "partial"), run["note"]
    said = words(run)
    assert said.pop(node) == "quarantined", run["note"]
    assert set(said.values()) == {"upgraded"}, "the other workers go on"
    assert node in run["note"]
    assert mark_of(world, node)
    assert_given_back(world, node)

    run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    wait_until(lambda: not world.marks(), "no mark is left", 60)
    assert_clean(world)
