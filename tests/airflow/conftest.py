import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from tests.fakes.cluster import FakeCluster, FakeGauges, etcd_text, make_session

from nightshift.domain.facts import PackageFacts
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration import callbacks, operators, probe, reporting, sensors
from nightshift.steps.session import Session

os.environ["NIGHTSHIFT_CLUSTERS"] = str(Path(__file__).parent / "clusters")  # read when DAG files are parsed
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with its golden file; the diff is what a reviewer reads."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), (
            f"see `git diff` after pytest --update-golden ({name})"
        )

    return compare


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    return DagBag(dag_folder=os.environ["AIRFLOW__CORE__DAGS_FOLDER"])


@pytest.fixture(autouse=True)
def _params_of_no_other_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the DAGs their defaults back: Airflow writes a run's `conf` into the `Param`s of the DAG's tasks themselves.

    In production each task has a process of its own; here the next test would be a dry night.
    """
    if "dag_bag" not in request.fixturenames:
        yield
        return
    dags = request.getfixturevalue("dag_bag").dags.values()
    holders = [holder for dag in dags for holder in (dag, *dag.tasks)]
    defaults = [(param, param.value) for holder in holders for _, param in holder.params.items()]
    yield
    for param, value in defaults:
        param.value = value


@pytest.fixture(scope="session")
def upgrade_dag(dag_bag: DagBag) -> DAG:
    return dag_bag.dags["upgrade_small"]


@pytest.fixture(scope="session")
def database() -> None:
    """Airflow's database, for runs inside this process."""
    from airflow.utils.db import initdb

    initdb()


class Night:
    """One cluster in memory, and everything a run of its DAG left behind."""

    def __init__(self, store: Path, workers: int) -> None:
        self.cluster = FakeCluster(workers=workers)
        self.store = store
        self.gauges = FakeGauges()
        self.notes: list[str] = []
        self.renewals = 0
        self.offer("1.34", "1.34.4-1.1")
        self.offer("1.35", "1.35.4-1.1")
        for name, node in self.cluster.fakes.items():
            node.etcd_metrics = self._metrics(name)  # type: ignore[method-assign]
        self.is_slow = False
        self._observations = 0.0

    def ledger(self) -> dict[str, Any]:
        """The newest entry."""
        newest = max((self.store / "lab" / "ledger").glob("*.json"))
        found: dict[str, Any] = json.loads(newest.read_text())
        return found

    def offer(self, minor: str, *versions: str) -> None:
        for node in self.cluster.fakes.values():
            node.offers[minor] = PackageFacts(minor, versions)

    def _metrics(self, name: str) -> Callable[[], str | None]:
        """etcd that works on between two samples."""

        def read() -> str | None:
            if not self.cluster.nodes[name].is_control_plane:
                return None
            self._observations += 500
            return etcd_text(slow=self.is_slow, observations=self._observations)

        return read

    def change_policy(self, policy: ClusterPolicy) -> ClusterPolicy:
        """What a test puts in place of the cluster's file."""
        return policy

    @contextmanager
    def open_session(
        self,
        policy: ClusterPolicy,
        run_id: str,
        log: Any = None,
        began: float | None = None,
        *,
        needs_api: bool = True,
    ) -> Iterator[Session]:
        local = replace(self.change_policy(policy), store=str(self.store))
        session = make_session(self.cluster, self.store, run_id, local)
        session.pushgateway = self.gauges
        yield session


@pytest.fixture
def night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: None, request: pytest.FixtureRequest
) -> Night:
    """Steps and DAG are real; only the cluster, the pods and Airflow's REST API are not. Parameter: its workers."""
    night = Night(tmp_path / "store", getattr(request, "param", 2))
    for module in (operators, sensors, callbacks, probe):
        monkeypatch.setattr(module, "open_session", night.open_session)
    monkeypatch.setattr(reporting, "show_note", lambda task, context, note: night.notes.append(note))
    no_waiting(monkeypatch)
    return night


def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gates look again at once."""
    wait = sensors.GateSensor.wait
    monkeypatch.setattr(
        sensors.GateSensor, "wait", lambda self, context, seconds, kept: wait(self, context, 0.0, kept)
    )
