"""Faults of drains and inodes, without a cluster: what would be applied, and when it counts as there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nslab.faults import disks, records, workloads
from nslab.faults.model import Fault
from nslab.nodes import machine, state
from nslab.shell import LabError


class FakeCluster:
    """Keeps what was applied, and answers with `items` once they are asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.applied: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []

    def kubectl(
        self, args: Sequence[str], *, stdin: str | None = None, **_: Any
    ) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(args))
        answer = ""
        if args[0] == "apply":
            assert stdin is not None
            self.applied = [*self.applied, *json.loads(stdin)["items"]]
            self.items = [*self._pods(), *(self._computed(o) for o in self.of("PodDisruptionBudget"))]
        elif args[0] == "delete":
            self.applied = []  # with the namespace
        elif "-o" in args and args[args.index("-o") + 1] == "json":
            answer = json.dumps({"items": self.items})
        elif "jsonpath={.status.allocatable.cpu}" in args:
            answer = "2" if args[2] == "w1" else "1900m"
        return subprocess.CompletedProcess(args, 0, answer, "")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [o for o in self.applied if o["kind"] == kind]

    def _pods(self) -> list[dict[str, Any]]:
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        count = sum(o["spec"].get("replicas", 1) for o in [*self.of("Deployment"), *self.of("Pod")])
        return [{"kind": "Pod", "metadata": {"name": str(n)}, "status": ready} for n in range(count)]

    def _computed(self, budget: dict[str, Any]) -> dict[str, Any]:
        count = len(self._pods())
        status = {"observedGeneration": 1, "currentHealthy": count, "expectedPods": count}
        return {**budget, "metadata": {**budget["metadata"], "generation": 1}, "status": status}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(records, "DIRECTORY", tmp_path / "faults")
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    state.Lab("small").save()
    fake = FakeCluster()
    monkeypatch.setattr(workloads.cluster, "kubectl", fake.kubectl)
    return fake


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (workloads.PDB_DEADLOCK, []),
        (workloads.PDB_OVERLAP, []),
        (workloads.POD_PINNED, ["w1"]),
        (workloads.BARE_POD, ["w2"]),
        (workloads.NO_ROOM, []),
    ],
    ids=lambda x: x.name if isinstance(x, Fault) else "",
)
def test_everything_is_in_the_faults_own_namespace_and_goes_with_it(
    cluster: FakeCluster, fault: Fault, words: list[str]
) -> None:
    (case,) = fault.parse(words)
    for _ in range(2):  # may be repeated
        fault.inflict(case)
        names = {o["metadata"].get("namespace", o["metadata"]["name"]) for o in cluster.applied}
        assert names == {f"nslab-{fault.name}"}
    for _ in range(2):
        fault.undo(case)
        assert cluster.calls[-1][:5] == [
            "delete",
            "namespace",
            f"nslab-{fault.name}",
            "--ignore-not-found",
            "--wait",
        ]


def test_what_the_faults_make(cluster: FakeCluster) -> None:
    workloads.PDB_DEADLOCK.inflict(*workloads.PDB_DEADLOCK.parse([]))
    (budget,), (deployment,) = cluster.of("PodDisruptionBudget"), cluster.of("Deployment")
    assert budget["spec"]["minAvailable"] == deployment["spec"]["replicas"]
    workloads.PDB_OVERLAP.inflict(*workloads.PDB_OVERLAP.parse([]))
    labels = cluster.of("Deployment")[0]["spec"]["template"]["metadata"]["labels"]
    assert [b["spec"]["selector"]["matchLabels"] for b in cluster.of("PodDisruptionBudget")] == [
        labels,
        labels,
    ]
    workloads.POD_PINNED.inflict(*workloads.POD_PINNED.parse(["w1"]))
    assert cluster.of("Deployment")[0]["spec"]["template"]["spec"]["nodeSelector"] == {
        "kubernetes.io/hostname": "w1"
    }
    workloads.NO_ROOM.inflict(*workloads.NO_ROOM.parse([]))
    spec = cluster.of("Deployment")[0]["spec"]
    assert spec["replicas"] == 2
    requests = spec["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert requests == {"cpu": "1140m"}  # more than half of the smaller worker's 1900m


def test_a_fault_is_there_when_the_api_says_so(cluster: FakeCluster) -> None:
    workloads.PDB_DEADLOCK.inflict(*workloads.PDB_DEADLOCK.parse([]))
    assert workloads.is_settled("n", 2)
    *pods, budget = cluster.items
    cluster.items = [*pods, {**budget, "status": {**budget["status"], "observedGeneration": 0}}]
    assert not workloads.is_settled("n", 2)  # the disruption controller has not seen it
    cluster.items = [*pods, {**budget, "status": {**budget["status"], "currentHealthy": 1}}]
    assert not workloads.is_settled("n", 2)
    cluster.items = [pods[0], budget]
    assert not workloads.is_settled("n", 2)


def test_pods_are_put_on_workers_only(cluster: FakeCluster) -> None:
    for fault in (workloads.POD_PINNED, workloads.BARE_POD):
        with pytest.raises(LabError, match="no worker node"):
            fault.parse(["cp1"])
    with pytest.raises(LabError, match="usage: lab/lab break no-room"):
        workloads.NO_ROOM.parse(["w1"])


@pytest.mark.parametrize(("total", "free", "percent", "count"), [(1000, 900, 94, 840), (1000, 100, 95, 50)])
def test_inodes_to_take(total: int, free: int, percent: int, count: int) -> None:
    assert disks.inodes_to_take(total, free, percent) == count


def test_inodes_that_are_in_use_already_are_refused(cluster: FakeCluster) -> None:
    with pytest.raises(LabError, match="94 % of the inodes are in use"):
        disks.inodes_to_take(1000, 60, 94)
    with pytest.raises(LabError, match="from 1 to 99"):
        disks.parse_inodes(["w1", "/", "100"])


def test_inodes_are_really_taken_and_given_back(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enter(name: str, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if argv[0] == "stat":
            return subprocess.CompletedProcess(argv, 0, "20000 19000\n", "")
        return subprocess.run(list(argv), check=True, capture_output=True, text=True)

    monkeypatch.setattr(machine, "enter", enter)
    (case,) = disks.parse_inodes(["w1", str(tmp_path), "60%"])
    for _ in range(2):
        disks.take_inodes(case)
        planted = [p for p in (tmp_path / disks.INODES_NAME).rglob("*") if p.is_file()]
        assert len(planted) == 11_000
    for _ in range(2):
        disks.free_inodes(case)
        assert not (tmp_path / disks.INODES_NAME).exists()
