"""Where a case is played: the lab, and Airflow installations of its own, apart from the demo's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.world import DAG, SWEEPER, Api, World

from chaos.catalogue import HEARTBEAT_SECONDS, Case
from nsdemo.lab import lab_environment
from nsdemo.processes import start_airflow, stop_airflow
from nsdemo.runs import rest_airflow
from nsdemo.settings import Home, ui_port

HERE = Path(__file__).resolve().parent
# What the bar "a retry attaches within 30 s" needs beyond the demo's settings when a supervisor dies. Its price: an
# Airflow that hangs for longer than the time-out (its api-server starts anew, its machine swaps) loses running tries,
# and each costs one of a task's three retries. The work on the nodes does not notice: the next try attaches to it.
# The time-out itself is the case's (`Case.heartbeat_seconds`).
SETTINGS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "10",  # below the time-out, as everywhere
}
_HEARTBEAT = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"
_HEALTHY_SECONDS = 240
_SECOND_PORT = 1  # above the first one's


class ChaosWorld(World):
    """The lab with an Airflow that may be killed: in a home of its own, with the cluster's policy for chaos."""

    def __init__(self) -> None:
        super().__init__()
        self._others = self.home
        self.home = _home(self._others.path / "chaos")
        self._heartbeat_seconds = HEARTBEAT_SECONDS

    def airflow_settings(self) -> dict[str, str]:
        """What this Airflow's processes are told."""
        return {
            **lab_environment(self.facts),
            **SETTINGS,
            _HEARTBEAT: str(self._heartbeat_seconds),
            "NIGHTSHIFT_CLUSTERS": str(HERE / "clusters"),
        }

    def fresh_for(self, case: Case) -> None:
        """A fresh cluster and an Airflow without a past; nobody else's Airflow looks at the cluster."""
        self._heartbeat_seconds = case.heartbeat_seconds
        rest_airflow(self._others, DAG, print)
        stop_airflow(self.home, print)
        stop_airflow(second_home(self.home), print)  # an interrupted case's; its sweeper would join in
        for directory in (self.home.airflow, self.home.logs, self.home.store):
            shutil.rmtree(directory, ignore_errors=True)
        self.used = True
        self.fresh(case.profile)
        self.used = True
        self.kubectl("apply", "-f", str(HERE / "lingerer.yaml"))
        self.kubectl("rollout", "status", "deployment/lingerer", "--timeout=120s")

    def start_again(self) -> None:
        """What a person does after the database was lost: `./nightshift demo --airflow-only`, and unpause the DAG."""
        start_airflow(self.home, self.airflow_settings(), print)

    def await_airflow(self) -> None:
        """Wait until all components are healthy and both DAGs are known."""
        self.api.wait_until_healthy(_HEALTHY_SECONDS)
        for dag_id in (DAG, SWEEPER):
            self.api.wait_for_dag(dag_id, _HEALTHY_SECONDS)
        self.api.unpause(DAG)

    def keep_logs(self, target: Path, *, wanted: bool) -> None:
        """Keep the logs of tasks, of Airflow's processes and the ledger in `target`; what an earlier round kept goes."""
        shutil.rmtree(target, ignore_errors=True)
        if not wanted:
            return
        for name, source in (
            ("tasks", self.home.airflow / "logs"),
            ("processes", self.home.logs),
            ("ledger", self.home.store / "lab" / "ledger"),
        ):
            if source.exists():
                shutil.copytree(source, target / name, dirs_exist_ok=True)

    def close(self) -> None:
        """Stop this Airflow and undo every fault; the lab stays up."""
        stop_airflow(self.home, print)
        if self.facts:
            self.lab("heal", "all", check=False)


class SecondAirflow(World):
    """Another Airflow on the same cluster: own home, own name, own port, the same ways into the cluster."""

    def __init__(self, first: ChaosWorld) -> None:
        super().__init__()
        self.home = second_home(first.home)
        self.facts = first.facts
        shutil.rmtree(self.home.airflow, ignore_errors=True)
        # Enrolling again would give the nodes other keys; a second team has the first one's, or its own user.
        shutil.copy2(first.home.connections, self.home.connections)
        with _on_port(ui_port() + _SECOND_PORT):
            start_airflow(self.home, first.airflow_settings(), print)
            self.api = Api(self.home)
        self.api.wait_until_healthy(_HEALTHY_SECONDS)
        for dag_id in (DAG, SWEEPER):
            self.api.wait_for_dag(dag_id, _HEALTHY_SECONDS)
        self.api.unpause(DAG)

    def close(self) -> None:
        """Stop it."""
        stop_airflow(self.home, print)


def second_home(first: Home) -> Home:
    """Home of the second Airflow beside the first one's."""
    return _home(first.path.parent / "chaos-second")


def _home(path: Path) -> Home:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Home(path)


@contextmanager
def _on_port(port: int) -> Iterator[None]:
    """The settings of the block are those of an Airflow on this port."""
    before = os.environ.get("NIGHTSHIFT_PORT")
    os.environ["NIGHTSHIFT_PORT"] = str(port)
    try:
        yield
    finally:
        if before is None:
            del os.environ["NIGHTSHIFT_PORT"]
        else:
            os.environ["NIGHTSHIFT_PORT"] = before
