"""Whole nights in one process: real DAG, real steps, a cluster in memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import DAG
from tests.airflow.conftest import Night
from tests.fakes.cluster import FakeKube, job_failed

from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.domain.errors import VerificationError
from nightshift.domain.facts import PackageFacts, WorkloadName
from nightshift.domain.gates import GATES
from nightshift.domain.policy import WindowPolicy
from nightshift.orchestration import operators, probe, retries
from nightshift.steps import hold


class _Pod:
    """The provider's pod operator, answering as the test says."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def execute_sync(self, context: Any) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def pods(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Probe pods that succeed; the nodes they were asked for."""
    asked: list[str] = []

    def build(task_id: str, policy: Any, node: str) -> _Pod:
        asked.append(node)
        return _Pod()

    monkeypatch.setattr(probe, "_pod_operator", build)
    return asked


def _run(dag: DAG, **conf: Any) -> tuple[str, dict[str, str]]:
    run = dag.test(run_conf=conf or None)
    labels = {}
    for ti in run.get_task_instances():
        index = f"[{ti.map_index}]" if ti.map_index >= 0 else ""
        labels[f"{ti.task_id}{index}"] = str(ti.state)
    return str(run.state), labels


def _debts(night: Night) -> list[str]:
    """Everything a run could leave behind."""
    cluster = night.cluster
    left = [f"{n.name} cordoned" for n in cluster.nodes.values() if n.is_unschedulable]
    left += [f"{n.name} marked" for n in cluster.nodes.values() if n.annotations]
    left += [f"Lease of {cluster.lease.holder}"] if cluster.lease.holder else []
    left += [str(debt) for debt in cluster.debts.values()]
    left += ["in flight"] if night.gauges.values.get("k8s_upgrade_in_flight") else []
    return left + [f"mark {m}" for m in cluster.marks]


def test_a_whole_night(night: Night, upgrade_dag: DAG, pods: list[str]) -> None:
    state, tasks = _run(upgrade_dag)
    assert state == "success"
    assert {n.kubelet_version for n in night.cluster.nodes.values()} == {"1.35.4"}
    assert _debts(night) == []
    assert sorted(pods) == ["cp1", "w1", "w2"]
    assert tasks["control_plane.slot_02.drain_node"] == "skipped"
    assert (tasks["control_plane.quiesce"], tasks["control_plane.restore"]) == ("skipped", "skipped")
    assert tasks["workers.wave_02.uncordon_node[0]"] == "success"
    assert tasks["watcher"] == "skipped"
    assert "1.35.4" in night.notes[0]
    entry = night.ledger()
    assert entry["answer"] == "upgraded"
    assert [gate["nodes"] for gate in entry["node_gates"]] == [["cp1"], ["w1"], ["w2"]]
    assert {gate["asked"]["node_health"] for gate in entry["node_gates"]} == {"pass"}
    assert len({*(said["gate"] for said in entry["gates"])}) == len(GATES) + 1  # and the plan
    for node in entry["nodes"]:
        assert set(node["steps"]) >= {"drain", "kubeadm", "kubelet", "verify", "uncordon"}
        assert node["seconds"] >= sum(node["steps"].values()) - 1


@pytest.mark.parametrize("name", ["upgrade_small", "readiness_small"])
def test_a_store_that_takes_nothing_ends_the_night_before_its_claim_and_the_note_says_it(
    night: Night, dag_bag: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries.RETRY_POLICY, "rules", [])  # else each of the two waits for three more tries
    night.store.mkdir()
    (night.store / "lab").write_text("a file where a folder should be")
    state, tasks = _run(dag_bag.dags[name])
    assert (state, tasks["open_night"], tasks["report"]) == ("failed", "failed", "failed")
    assert tasks.get("claim", "upstream_failed") == "upstream_failed"
    assert not night.cluster.lease.token
    assert "STORE_UNAVAILABLE" in night.notes[0]


@pytest.fixture
def shop(night: Night) -> list[WorkloadName]:
    """What fleet.yaml quiesces."""
    return [
        night.cluster.add_workload("Deployment", "importer", 3),
        night.cluster.add_workload("CronJob", "backup", False),
    ]


def _settings(night: Night, shop: list[WorkloadName]) -> list[int | bool]:
    return [night.cluster.workloads[name].setting for name in shop]


def test_quiet_from_the_first_control_planes_drain_to_the_workers(
    night: Night, dag_bag: Any, shop: list[WorkloadName]
) -> None:
    seen: dict[str, list[int | bool]] = {}
    for name, node in night.cluster.fakes.items():
        node.before_job = lambda step, name=name: seen.update({f"{name} {step}": _settings(night, shop)})
    state, tasks = _run(dag_bag.dags["upgrade_fleet"])
    assert (state, tasks["control_plane.quiesce"], tasks["control_plane.restore"]) == ("success",) * 3
    assert seen["cp1 stage"] == seen["w1 kubeadm-upgrade"] == _settings(night, shop) == [3, False]
    assert seen["cp1 kubeadm-upgrade"] == seen["cp1 kubelet-upgrade"] == [0, True]
    calls = night.cluster.api_calls
    assert calls.index("set_workload Deployment shop/importer 0") < calls.index("cordon")
    assert night.cluster.debts == {}
    entry = night.ledger()
    assert entry["quiesced"] == ["Deployment shop/importer", "CronJob shop/backup"]
    assert entry["given_back"] == [
        "Deployment shop/importer has 3 replicas again",
        "CronJob shop/backup is not suspended again",
    ]


def test_a_night_that_fails_in_the_window_gives_back_what_was_quiet(
    night: Night, dag_bag: Any, shop: list[WorkloadName]
) -> None:
    night.cluster.fakes["cp1"].failures["kubeadm-upgrade"] = job_failed()
    state, tasks = _run(dag_bag.dags["upgrade_fleet"])
    assert (state, tasks["control_plane.restore"]) == ("failed", "upstream_failed")
    assert (_settings(night, shop), night.cluster.debts) == ([3, False], {})
    assert "Deployment shop/importer has 3 replicas again" in night.ledger()["given_back"]


def test_a_brake_before_the_control_plane_makes_nothing_quiet(
    night: Night, dag_bag: Any, shop: list[WorkloadName]
) -> None:
    def brake(step: str) -> None:
        night.cluster.paused = "anna"

    night.cluster.fakes["w2"].before_job = brake
    state, tasks = _run(dag_bag.dags["upgrade_fleet"])
    assert (state, tasks["control_plane.quiesce"]) == ("success", "skipped")
    assert not [call for call in night.cluster.api_calls if call.startswith("set_workload")]


@pytest.mark.parametrize("is_lifted", [False, True], ids=["it stays on", "it is lifted at once"])
def test_a_brake_behind_the_first_gate_makes_nothing_quiet_and_ends_the_night_as_in_the_drain(
    night: Night,
    dag_bag: Any,
    shop: list[WorkloadName],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_lifted: bool,
) -> None:
    """Once a night has ended it stays so: no drain of a control plane whose importers still write."""
    read, find = FakeKube.brake, operators.import_step

    def pull(path: str) -> Any:
        night.cluster.paused = "anna" if path == "quiesce" else night.cluster.paused
        return find(path)

    def look(kube: FakeKube) -> Any:
        found = read(kube)
        night.cluster.paused = None if found and is_lifted else night.cluster.paused
        return found

    monkeypatch.setattr(operators, "import_step", pull)
    monkeypatch.setattr(FakeKube, "brake", look)
    state, tasks = _run(dag_bag.dags["upgrade_fleet"])
    slot = "control_plane.slot_01"
    assert (state, tasks[f"{slot}.check_etcd"], tasks["control_plane.quiesce"]) == (
        "success",
        "success",
        "skipped",
    )
    assert (tasks[f"{slot}.drain_node"], tasks["workers.check_etcd_01"]) == ("skipped", "skipped")
    assert not [call for call in night.cluster.api_calls if call.startswith(("set_workload", "cordon"))]
    assert (night.ledger()["answer"], set(_words(night).values())) == ("held", {"tomorrow"})
    assert (tasks["postflight.verify_cluster"], _debts(night)) == ("success", [])


def test_nothing_to_do_is_green_and_touches_nothing(night: Night, upgrade_dag: DAG) -> None:
    night.offer("1.35")
    state, tasks = _run(upgrade_dag)
    assert state == "success"
    assert (tasks["decide"], tasks["claim"], tasks["report"]) == ("success", "skipped", "success")
    assert night.cluster.lease.token == 0
    assert len(night.notes) == 1
    entry = next((night.store / "lab" / "ledger").glob("*.json")).read_text()
    assert '"answer": "nothing"' in entry


def test_the_brake_holds_the_night_green(night: Night, upgrade_dag: DAG) -> None:
    night.cluster.paused = "migration of anna"
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["detect_target"], tasks["claim"]) == ("success", "skipped", "skipped")
    assert "migration of anna" in night.notes[0]


def test_a_slow_etcd_blocks_the_night_green(night: Night, upgrade_dag: DAG) -> None:
    night.is_slow = True
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["decide"], tasks["claim"]) == ("success", "success", "skipped")
    assert "cp1" in night.notes[0]
    assert night.gauges.values["k8s_upgrade_blocked"] == 1.0
    assert {n.kubelet_version for n in night.cluster.nodes.values()} == {"1.34.4"}


def test_a_node_that_goes_away_after_the_night_was_opened_makes_it_blind(
    night: Night, upgrade_dag: DAG
) -> None:
    """One that is away from the start is in test_bad_input.py."""
    nodes = night.cluster.fakes
    ask = nodes["cp1"].package_index

    def ask_and_lose(*arguments: str) -> PackageFacts:
        nodes["w2"].is_away = True
        return ask(*arguments)

    nodes["cp1"].package_index = ask_and_lose  # type: ignore[method-assign]
    state, tasks = _run(upgrade_dag)
    assert state == "failed"
    assert tasks["decide"] == "failed"
    assert tasks["claim"] == "upstream_failed"
    shown = {name: tasks[f"gates.{name}"] for name in ("ask", "node_health", "version_skew", "static_pods")}
    assert shown == {
        "ask": "success",
        "node_health": "success",
        "version_skew": "success",
        "static_pods": "skipped",
    }
    assert night.notes[0].startswith("Blind (")
    assert "w2" in night.notes[0]
    assert _debts(night) == []


def test_a_failing_upgrade_stops_all_later_nodes_and_leaves_no_debt(night: Night, upgrade_dag: DAG) -> None:
    night.cluster.fakes["cp1"].failures["kubeadm-upgrade"] = job_failed()
    state, tasks = _run(upgrade_dag)
    assert state == "failed"
    assert tasks["control_plane.slot_01.upgrade_node"] == "failed"
    assert tasks["workers.check_etcd_01"] == "upstream_failed"
    assert tasks["release"] == "success"
    assert _debts(night) == []
    assert "upgrade_node failed (JOB_FAILED)" in night.notes[0]
    state, _ = _run(upgrade_dag)
    assert state == "success", "the next night finishes what the failed one began"
    assert {n.kubelet_version for n in night.cluster.nodes.values()} == {"1.35.4"}


def _upgraded(night: Night) -> set[str]:
    return {n.name for n in night.cluster.nodes.values() if n.kubelet_version == "1.35.4"}


def _set_aside(night: Night) -> set[str]:
    return {n.name for n in night.cluster.nodes.values() if "nightshift.io/quarantined" in n.annotations}


@pytest.mark.parametrize("night", [4], indirect=True)
def test_a_worker_that_fails_is_set_aside_and_the_others_go_on(
    night: Night, dag_bag: Any, pods: list[str], shop: list[WorkloadName]
) -> None:
    night.cluster.fakes["w2"].failures["kubelet-upgrade"] = job_failed()
    dag = dag_bag.dags["upgrade_fleet"]
    state, tasks = _run(dag)
    assert state == "failed", "a night that is half done is red"
    assert tasks["workers.wave_02.upgrade_kubelet[0]"] == tasks["watcher"] == "failed"
    assert (
        tasks["workers.wave_02.quarantine_node[0]"] == tasks["workers.wave_03.uncordon_node[0]"] == "success"
    )
    skipped = ("02.quarantine_node[1]", "03.quarantine_node", "04.quarantine_node")
    assert [tasks[f"workers.wave_{name}"] for name in skipped] == ["skipped"] * 3
    assert (_upgraded(night), _set_aside(night)) == ({"cp1", "w1", "w3", "w4"}, {"w2"})
    assert sorted(pods) == ["cp1", "w1", "w3", "w4"]
    assert not night.cluster.nodes["w2"].is_unschedulable
    assert "upgrade_kubelet failed (JOB_FAILED)" in night.notes[0]
    assert "Set aside, the other workers went on: w2" in night.notes[0]
    entry = night.ledger()
    assert entry["answer"] == "partial"
    assert {n["name"]: n["outcome"] for n in entry["nodes"]}["w2"] == "quarantined"
    state, _ = _run(dag)
    assert (state, _upgraded(night), _set_aside(night)) == ("success", set(night.cluster.nodes), set())
    assert _debts(night) == []


@pytest.mark.parametrize("night", [4], indirect=True)
@pytest.mark.parametrize(
    ("failing", "upgraded", "aside"),
    [(("w1",), {"cp1"}, 0), (("w2", "w3"), {"cp1", "w1"}, 1)],
    ids=["the canary", "one more than the policy allows"],
)
def test_what_concerns_the_others_stops_them(
    night: Night,
    dag_bag: Any,
    shop: list[WorkloadName],
    failing: tuple[str, ...],
    upgraded: set[str],
    aside: int,
) -> None:
    for name in failing:
        night.cluster.fakes[name].failures["kubelet-upgrade"] = job_failed()
    state, tasks = _run(dag_bag.dags["upgrade_fleet"])
    assert (state, tasks["workers.wave_04.drain_node"], tasks["release"]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    assert _upgraded(night) == upgraded
    first = _set_aside(night)  # of two in one wave, whichever asked first
    assert (len(first), first - set(failing)) == (aside, set())
    assert not [n.name for n in night.cluster.nodes.values() if n.is_unschedulable]


def test_a_gate_that_closes_in_the_night_leaves_later_nodes_alone(night: Night, upgrade_dag: DAG) -> None:
    """Only until its tries are used up; see the retry policy's own test."""

    def slow_from_now_on(step: str) -> None:
        night.is_slow = True

    night.cluster.fakes["cp1"].before_job = lambda step: (
        slow_from_now_on(step) if step == "kubelet-upgrade" else None
    )
    for task in upgrade_dag.tasks:
        if task.task_id == "workers.check_etcd_01":
            task.retries = 0
    try:
        state, tasks = _run(upgrade_dag)
    finally:
        upgrade_dag.get_task("workers.check_etcd_01").retries = 3
    assert (state, tasks["workers.check_etcd_01"]) == ("failed", "failed")
    versions = {n.name: n.kubelet_version for n in night.cluster.nodes.values()}
    assert versions == {"cp1": "1.35.4", "w1": "1.34.4", "w2": "1.34.4"}
    assert _debts(night) == []


def test_another_gate_that_closes_in_the_night_leaves_later_nodes_alone_too(
    night: Night, upgrade_dag: DAG
) -> None:
    def lose_w2(step: str) -> None:
        if step == "kubelet-upgrade":
            night.cluster.nodes["w2"] = replace(night.cluster.nodes["w2"], is_ready=False)

    night.cluster.fakes["cp1"].before_job = lose_w2
    gate = upgrade_dag.get_task("workers.check_etcd_01")
    gate.retries = 0
    try:
        state, tasks = _run(upgrade_dag)
    finally:
        gate.retries = 3
    assert (state, tasks["workers.check_etcd_01"]) == ("failed", "failed")
    assert "NODE_NOT_READY" in night.notes[0]
    versions = {n.name: n.kubelet_version for n in night.cluster.nodes.values()}
    assert versions == {"cp1": "1.35.4", "w1": "1.34.4", "w2": "1.34.4"}
    (closed,) = [said for said in night.ledger()["node_gates"] if said["outcome"] != "pass"]
    assert (closed["gate"], closed["code"], closed["asked"]["etcd_latency"]) == (
        "node_health",
        "NODE_NOT_READY",
        "pass",
    )
    assert _debts(night) == []


@pytest.mark.parametrize(
    ("step", "node", "upgraded", "answer"),
    [("kubelet-upgrade", "cp1", {"cp1"}, "upgraded"), ("stage", "w2", set(), "held")],
)
def test_a_brake_in_the_night_lets_the_other_nodes_continue_tomorrow(
    night: Night, upgrade_dag: DAG, pods: list[str], step: str, node: str, upgraded: set[str], answer: str
) -> None:
    def brake(begun: str) -> None:
        night.cluster.paused = "anna" if begun == step else night.cluster.paused

    night.cluster.fakes[node].before_job = brake
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["workers.check_etcd_01"], tasks["release"]) == ("success", "skipped", "success")
    assert {n.name for n in night.cluster.nodes.values() if n.kubelet_version == "1.35.4"} == upgraded
    assert set(pods) == upgraded
    assert _debts(night) == []
    assert night.ledger()["answer"] == answer
    assert "anna" in night.notes[0]


def _words(night: Night) -> dict[str, str]:
    return {node["name"]: node["outcome"] for node in night.ledger()["nodes"]}


def test_a_pause_while_a_drain_waits_gives_the_node_back_and_the_run_ends_green(
    night: Night, upgrade_dag: DAG, pods: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the whole cluster comes before `release`: the node must be tidy by then. And a brake that is lifted
    a moment later does not let a later wave go before an earlier one."""
    for node, name in (("w1", "web-1"), ("w2", "db-1"), ("w2", "db-2")):
        night.cluster.add_pod(node, name)
    waiting = Eviction(EvictionOutcome.BUDGET_BLOCKED, "budget")
    night.cluster.eviction_answers["web-1"] = [waiting] * 10_000
    evict, uncordon, began = FakeKube.evict, FakeKube.uncordon, []

    def pulled(kube: FakeKube, *arguments: Any) -> Any:
        began.append(night.cluster.now)
        night.cluster.paused = "anna" if night.cluster.now > began[0] + 30 else None
        return evict(kube, *arguments)

    def lifted(kube: FakeKube, *arguments: Any) -> Any:
        night.cluster.paused = None
        return uncordon(kube, *arguments)

    monkeypatch.setattr(FakeKube, "evict", pulled)
    monkeypatch.setattr(FakeKube, "uncordon", lifted)
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["workers.wave_01.drain_node[0]"]) == ("success", "skipped")
    assert (tasks["workers.wave_01.upgrade_node[0]"], tasks["workers.check_etcd_02"]) == (
        "skipped",
        "skipped",
    )
    assert _words(night) == {"cp1": "upgraded", "w1": "tomorrow", "w2": "tomorrow"}
    assert (pods, _debts(night), night.cluster.brake) == (["cp1"], [], {})
    assert "w1, w2 continue on the next night" in night.notes[0]


@pytest.mark.parametrize("step", ["snapshot-etcd", "stage"])
def test_stop_now_in_the_preparation_ends_the_night_before_its_next_step(
    night: Night, upgrade_dag: DAG, step: str
) -> None:
    def stop(begun: str) -> None:
        if begun == step:
            night.cluster.brake = {"paused": "true", "mode": "stop now", "reason": "anna"}

    night.cluster.fakes["cp1"].before_job = stop
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["release"], tasks["control_plane.slot_01.drain_node"]) == (
        "success",
        "success",
        "skipped",
    )
    assert tasks["stage"] == "skipped"
    staged = {name for name, fake in night.cluster.fakes.items() if "stage" in {c[0] for c in fake.calls}}
    assert staged == (set() if step == "snapshot-etcd" else {"cp1"})
    assert (night.ledger()["answer"], set(_words(night).values())) == ("held", {"tomorrow"})
    assert "cp1, w1, w2 continue on the next night" in night.notes[0]
    assert _debts(night) == []


def test_stop_now_while_kubeadm_works_ends_red_with_the_node_given_back(
    night: Night, upgrade_dag: DAG
) -> None:
    def stop(begun: str) -> None:
        if begun == "kubeadm-upgrade":
            night.cluster.brake = {"paused": "true", "mode": "stop now", "reason": "anna"}

    night.cluster.fakes["w1"].before_job = stop
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["workers.wave_01.upgrade_kubelet[0]"]) == ("failed", "failed")
    assert night.ledger()["answer"] == "partial"
    assert "w1 was stopped half way" in night.notes[0]
    assert _debts(night) == []
    night.cluster.brake, night.cluster.fakes["w1"].before_job = {}, lambda step: None
    assert _run(upgrade_dag)[0] == "success"
    assert {n.kubelet_version for n in night.cluster.nodes.values()} == {"1.35.4"}


def test_what_does_not_fit_into_the_window_continues_tomorrow(
    night: Night, upgrade_dag: DAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane was measured on an earlier night and fits; the workers never were, and may take 90 minutes."""
    window = WindowPolicy("02:00", "08:40")  # it is 08:00
    monkeypatch.setattr(night, "change_policy", lambda policy: replace(policy, window=window))
    (night.store / "lab").mkdir(parents=True)
    (night.store / "lab" / "node_seconds.json").write_text('{"cp1": 600}')
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["workers.check_etcd_01"]) == ("success", "skipped")
    assert _words(night) == {"cp1": "upgraded", "w1": "tomorrow", "w2": "tomorrow"}
    assert "w1 may take 90 min (it was never measured here)" in night.notes[0]
    measured = json.loads((night.store / "lab" / "node_seconds.json").read_text())
    assert set(measured) == {"cp1"}
    assert measured["cp1"] < 60, "measured anew"


def test_a_probe_keeps_the_runs_lease_alive(
    night: Night, upgrade_dag: DAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[str, bool]] = []
    renewing = hold.renewing_if_ours

    @contextmanager
    def watched(session: Any) -> Iterator[None]:
        held.append((night.cluster.lease.holder, session.owner == night.cluster.lease.holder))
        with renewing(session):
            yield

    def build(task_id: str, policy: Any, node: str) -> _Pod:
        monkeypatch.setattr(hold, "renewing_if_ours", watched)
        return _Pod()

    monkeypatch.setattr(probe, "_pod_operator", build)
    _run(upgrade_dag)
    assert len(held) == 3  # nodes
    assert all(is_ours for _, is_ours in held), held


def test_a_probe_that_fails_makes_the_run_red(
    night: Night, upgrade_dag: DAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = VerificationError("PROBE_FAILED", "no", cause="c", next_step="n")
    monkeypatch.setattr(probe, "_pod_operator", lambda *_: _Pod(error))
    state, tasks = _run(upgrade_dag)
    assert (state, tasks["release"]) == ("failed", "success")
    assert "PROBE_FAILED" in night.notes[0]
    assert _debts(night) == []


def test_an_unreadable_cluster_file_says_so_in_its_own_run(night: Night, dag_bag: Any) -> None:
    state, tasks = _run(dag_bag.dags["upgrade_broken"])
    assert (state, tasks["open_night"], tasks["claim"]) == ("failed", "failed", "upstream_failed")
    assert night.ledger()["answer"] == "failed"
    assert "time_out_seconds" in night.notes[0]
    assert "time_out_seconds" in dag_bag.dags["upgrade_broken"].doc_md
    assert (night.cluster.lease.token, night.cluster.api_calls.count("patch_node")) == (0, 0)


def test_a_file_whose_name_is_no_clusters_has_a_run_of_its_own(dag_bag: Any, database: None) -> None:
    state, tasks = _run(dag_bag.dags["invalid_No_Name"])
    assert (state, tasks["read_policy"]) == ("failed", "failed")
    assert "no cluster name" in dag_bag.dags["invalid_No_Name"].doc_md
