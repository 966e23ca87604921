"""Incident reports in the Airflow UI: through Airflow's own API server, with its own login, out of a real store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.sdk import DAG
from tests.airflow.conftest import Night
from tests.fakes.cluster import job_failed

from nightshift.domain.errors import ConfigError
from nightshift.domain.incident.record import Incident
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration.links import REPORTS, known_reports
from nightshift.orchestration.operators import StepOperator, remembered

CLUSTER = """kubernetes_connection: k
ssh_connection: s
store: {store}
"""
RUN, NAME = "scheduled__2026-11-28T23-00-00-00-00", "cp1-kubeadm-upgrade-1795907820"
AT = f"/nightshift/reports/upgrade_lab/{RUN}"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster `lab` whose store has one incident."""
    clusters = tmp_path / "clusters"
    clusters.mkdir()
    (clusters / "lab.yaml").write_text(CLUSTER.format(store=(tmp_path / "store").as_uri()))
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", str(clusters))
    run = tmp_path / "store" / "lab" / "evidence" / RUN
    (run / NAME / "driver").mkdir(parents=True)
    incident = Incident(NAME, "cp1", "kubeadm-upgrade", made=1.0, sentence="The file <x> is stray.")
    (run / "cp1.json").write_text(json.dumps({"incidents": [incident.to_dict()]}))
    (run / NAME / "report.html").write_text("<h1>The report</h1>")
    (run / NAME / "driver" / "error.txt").write_text("exit code 26")
    (run / NAME / "not-in-it.txt").write_text("x")
    files = [{"path": "report.html"}, {"path": "driver/error.txt"}]
    (run / NAME / "manifest.json").write_text(json.dumps({"files": files}))
    for place in ("lab", "lab/ledger"):
        (tmp_path / "store" / place).mkdir(exist_ok=True)
        (tmp_path / "store" / place / "secret.html").write_text("snapshot")
    return run


@pytest.fixture(scope="module")
def api(database: None) -> Iterator[Any]:
    """Airflow's API server with this project's plugin."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from fastapi.testclient import TestClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "0" * 64)
        with TestClient(create_app("core"), follow_redirects=False) as client:
            yield client
        purge_cached_app()


@pytest.fixture
def login(api: Any) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ann", role="VIEWER"))
    return {"Authorization": f"Bearer {token}"}


def test_without_a_login_nothing_is_shown(api: Any, store: Path) -> None:
    for path in (f"{AT}/", f"{AT}/{NAME}/report.html", f"{AT}/{NAME}/manifest.json"):
        assert api.get(path).status_code == 401, path


def test_a_report_is_shown_and_may_run_nothing(api: Any, store: Path, login: dict[str, str]) -> None:
    answer = api.get(f"{AT}/{NAME}/report.html", headers=login)
    assert (answer.status_code, answer.text) == (200, "<h1>The report</h1>")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_runs_page_lists_its_reports_escaped(api: Any, store: Path, login: dict[str, str]) -> None:
    answer = api.get(f"{AT}/", headers=login)
    assert answer.status_code == 200
    assert f'href="{NAME}/report.html"' in answer.text
    assert "The file &lt;x&gt; is stray." in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_other_files_are_saved_and_never_shown(api: Any, store: Path, login: dict[str, str]) -> None:
    answer = api.get(f"{AT}/{NAME}/driver/error.txt", headers=login)
    assert (answer.status_code, answer.text) == (200, "exit code 26")
    assert answer.headers["content-disposition"] == 'attachment; filename="driver-error.txt"'
    assert api.get(f"{AT}/{NAME}/not-in-it.txt", headers=login).status_code == 404


@pytest.mark.parametrize("dag", ["upgrade_lab", "readiness_lab", "recover_lab", "brake_lab"])
def test_every_dag_of_the_cluster_leads_to_it(api: Any, store: Path, login: dict[str, str], dag: str) -> None:
    path = f"/nightshift/reports/{dag}/{RUN}/{NAME}/report.html"
    assert api.get(path, headers=login).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nightshift/reports/other_lab/{run}/{name}/report.html",
        "/nightshift/reports/upgrade_nosuch/{run}/{name}/report.html",
        "/nightshift/reports/upgrade_../{run}/{name}/report.html",
        "/nightshift/reports/upgrade_lab/{run}/{name}/nothing.html",
        "/nightshift/reports/upgrade_lab/{run}/{name}/..%2f..%2f..%2fsecret.html",
        "/nightshift/reports/upgrade_lab/{run}/..%2f..%2f../secret.html",
        "/nightshift/reports/upgrade_lab/%2e%2e/%2e%2e/secret.html",
        "/nightshift/reports/upgrade_lab/%2e%2e/ledger/secret.html",
        "/nightshift/reports/upgrade_lab/{run}/%2e%2e%2f%2e%2e/secret.html",
        "/nightshift/reports/upgrade_lab/{run}/{name}//etc/passwd",
        "/nightshift/reports/upgrade_lab/{run}/{name}/a%00.html",
    ],
)
def test_no_path_leads_out_of_the_evidence(api: Any, store: Path, login: dict[str, str], path: str) -> None:
    answer = api.get(path.format(run=RUN, name=NAME), headers=login)
    assert answer.status_code == 404, answer.text
    assert "snapshot" not in answer.text


def test_a_user_who_may_not_read_the_dag_is_refused(
    api: Any, store: Path, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    asked: list[Any] = []

    def refuse(self: Any, *, method: str, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        asked.append((method, access_entity, details.id))
        return False

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", refuse)
    for path in (f"{AT}/{NAME}/report.html", f"{AT}/", f"{AT}/{NAME}/driver/error.txt"):
        assert api.get(path, headers=login).status_code == 403, path
    assert asked == [("GET", DagAccessEntity.TASK_LOGS, "upgrade_lab")] * 3


def test_a_mistake_in_the_clusters_file_hides_no_report(
    api: Any, store: Path, login: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "clusters" / "lab.yaml"
    file.write_text(f"{file.read_text()}no such key: [\n")
    assert api.get(f"{AT}/{NAME}/report.html", headers=login).status_code == 200


def test_a_report_that_is_cut_says_so(
    api: Any, store: Path, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightshift.ui.reports._PAGE_BYTES", 6)
    assert api.get(f"{AT}/{NAME}/report.html", headers=login).text.startswith(
        "<h1>Th<p><strong>The report is"
    )


def test_the_failed_task_and_the_runs_note_link_to_the_report(night: Night, upgrade_dag: DAG) -> None:
    night.cluster.fakes["cp1"].failures["kubeadm-upgrade"] = job_failed()
    run = upgrade_dag.test()
    failed = next(ti for ti in run.get_task_instances() if ti.task_id.endswith("slot_01.upgrade_node"))
    assert failed.state == "failed", night.notes
    (folder,) = (night.store / "lab" / "evidence").iterdir()
    (incident,) = folder.glob("cp1-kubeadm-upgrade-*")
    link = f"/nightshift/reports/upgrade_small/{folder.name}/{incident.name}/report.html"
    assert failed.xcom_pull(task_ids=failed.task_id, key="_link_ReportLink") == link
    assert f"]({link})" in night.notes[0]
    assert (incident / "report.html").exists()
    assert len(night.notes[0]) <= 1000


def test_a_try_that_fails_otherwise_still_leads_to_what_the_run_has_of_its_node(
    database: None, store: Path, tmp_path: Path
) -> None:
    policy = ClusterPolicy("lab", "k", "s", (tmp_path / "store").as_uri())
    task = StepOperator(task_id="x", policy=policy, step="y")
    context: Any = {"run_id": RUN, "node_name": "cp1", "ti": Mock()}
    broken = ConfigError("CONFIG_INVALID", "no.", cause="c.", next_step="n.")
    with pytest.raises(ConfigError), remembered(task, context):
        raise broken
    assert getattr(task, REPORTS) == (f"{RUN}/{NAME}",)
    assert known_reports(task, {**context, "node_name": "w1"}) == ()
    assert known_reports(task, {"run_id": RUN}) == (f"{RUN}/{NAME}",)
