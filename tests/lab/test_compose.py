"""docker-compose.yaml as the README tells to use it, on base images made from Debian: Airflow on PostgreSQL.

No cluster is needed: the connections lead nowhere, and the night has to say so.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.lab.docker_images import (
    BASE_IMAGE,
    POSTGRES_IMAGE,
    docker_with_base_images,
    pip_arguments,
)
from tests.lab.docker_world import Docker, install_docker
from tests.lab.world import ENDED, wait_until

from nsdemo.settings import PROJECT, read_env_file
from nslab.progress import Report
from nslab.shell import run

pytestmark = pytest.mark.timeout(3000)  # nothing cached, on a busy machine; minutes when warm

CLUSTER = "prod"  # whose connections the sample names
DAG, SWEEPER = f"upgrade_{CLUSTER}", f"recover_{CLUSTER}"
SERVICES = {"postgres", "api-server", "scheduler", "dag-processor", "triggerer"}
HEALTHY_SECONDS = 600
READ_SECONDS = 120  # of the DAG files: the processor is healthy before it has read any
RUN_SECONDS = 600
PORT = 8080  # on the loopback of the daemon's own network, where nobody else is
KEPT = "made-before-the-restart"
CANARY = "this-must-not-be-in-an-image"
# Where a person might leave a secret inside what the image copies.
LEFT_BEHIND = (
    "dags/.env",
    "include/clusters/production.env",
    "include/clusters/admin.kubeconfig",
    "plugins/id_ed25519",
    "include/airflow/tls.key",
    "include/airflow/tls.pem",
)
CONNECTIONS = {
    "AIRFLOW_CONN_NIGHTSHIFT_PROD_KUBERNETES": {
        "conn_type": "kubernetes",
        "extra": {
            "kube_config": json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "lab",
                    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
                    "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:1"}}],
                    "users": [{"name": "lab", "user": {"token": "made-up"}}],
                }
            )
        },
    },
    "AIRFLOW_CONN_NIGHTSHIFT_PROD_SSH": {
        "conn_type": "ssh",
        "login": "nightshift",
        "extra": {
            "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nbWFkZSB1cA==\n-----END OPENSSH PRIVATE KEY-----\n",
            "host_keys": {"cp1": "ssh-ed25519 AAAA"},
        },
    },
}


class Deployment:
    """One copy of the project, brought up with Compose."""

    def __init__(self, docker: Docker, compose: list[str], directory: Path) -> None:
        self.docker = docker
        self.directory = directory
        self.env_file = directory / ".env"
        self._compose = [*compose, "--project-name", "nightshift-test", "--project-directory", str(directory)]
        self._compose += ["--file", str(directory / "docker-compose.yaml")]

    def compose(self, *arguments: str) -> str:
        """Run a Compose command as in the project's directory."""
        environment = {**self.docker.environment, **pip_arguments()}
        return run([*self._compose, *arguments], env=environment).stdout

    def prepare(self) -> None:
        """What the README says before the first `up`."""
        run([sys.executable, str(self.directory / "include/airflow/make_env.py"), str(self.env_file)])
        clusters = self.directory / "include/clusters"
        shutil.copy(clusters / "example.yaml.sample", clusters / f"{CLUSTER}.yaml")
        lines = [f"BASE_IMAGE={BASE_IMAGE}", f"POSTGRES_IMAGE={POSTGRES_IMAGE}", f"UNUSED={CANARY}"]
        lines += [f"{name}='{json.dumps(value)}'" for name, value in CONNECTIONS.items()]
        with self.env_file.open("a") as file:
            file.write("\n".join(lines) + "\n")

    def up(self) -> None:
        """Build what changed, start, and wait until every service is healthy."""
        self.compose("up", "--detach", "--build")
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        """Wait until all services are healthy and `init` has ended well."""
        try:
            wait_until(self._is_healthy, "healthy services", HEALTHY_SECONDS, pause=2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.states()}\n{self.compose('logs', '--tail=40')}") from error

    def states(self) -> dict[str, str]:
        """Of each service: its health, or how its container ended."""
        return {name: _state(container) for name, container in self.containers().items()}

    def containers(self) -> dict[str, dict[str, Any]]:
        """What Docker knows of each service's container."""
        label = "com.docker.compose"
        listed = self.docker.docker(
            "ps", "--all", "--quiet", f"--filter=label={label}.project=nightshift-test"
        )
        if not listed:
            return {}
        details = json.loads(self.docker.docker("inspect", *listed.split()))
        return {c["Config"]["Labels"][f"{label}.service"]: c for c in details}

    def processes(self, service: str) -> list[dict[str, str]]:
        """Processes of a service's container, by pid among the daemon's processes."""
        container = self.containers()[service]["Id"]
        lines = self.docker.docker("top", container, "-eo", "pid,ppid,uid,args").splitlines()[1:]
        return [
            dict(zip(("pid", "ppid", "uid", "args"), line.split(maxsplit=3), strict=True)) for line in lines
        ]

    def secrets(self) -> list[str]:
        """Every secret of the environment file."""
        values = read_env_file(self.env_file)
        return [
            v for n, v in values.items() if n.endswith(("PASSWORD", "SECRET", "SECRET_KEY", "FERNET_KEY"))
        ]

    def _is_healthy(self) -> bool:
        states = self.states()
        assert states.get("init", "").removeprefix("exited ") in ("", "created", "running", "0"), states
        return states == {**dict.fromkeys(SERVICES, "healthy"), "init": "exited 0"}


def _state(container: dict[str, Any]) -> str:
    state = container["State"]
    if state["Status"] == "exited":
        return f"exited {state['ExitCode']}"
    return str(
        state["Health"]["Status"] if state["Status"] == "running" and "Health" in state else state["Status"]
    )


class Api:
    """Airflow's REST API through the published port, as the administrator of the environment file."""

    def __init__(self, deployment: Deployment) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{PORT}", transport=deployment.docker.transport, timeout=30
        )
        login = {
            "username": "admin",
            "password": read_env_file(deployment.env_file)["NIGHTSHIFT_ADMIN_PASSWORD"],
        }
        token = self.call("POST", "/auth/token", login)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; its answer."""
        answer = self._client.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def run(self, run_id: str) -> dict[str, Any]:
        """One run of the upgrade DAG."""
        found: dict[str, Any] = self.call("GET", self.path(run_id))
        return found

    def path(self, run_id: str) -> str:
        """Where the API has a run of the upgrade DAG."""
        return f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The project, up and healthy, from a copy in which somebody left secrets."""
    report = Report()
    compose = install_docker(report)
    with (
        docker_with_base_images(report) as docker,
        tempfile.TemporaryDirectory(prefix="nightshift-compose-") as directory,
    ):
        made = Deployment(docker, compose, Path(directory))
        _copy_project(made.directory)
        made.prepare()
        try:
            report("building the Airflow image")
            with docker.outbound():
                made.compose("build")
            report("bringing the services up")
            made.up()
            report("all services are healthy")
            yield made
        finally:
            made.compose("down", "--volumes", "--timeout=20")


def _copy_project(target: Path) -> None:
    """Copy what git knows or would know, then leave secrets about."""
    listing = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target / name)
    for name in LEFT_BEHIND:
        (target / name).write_text(f"{CANARY}\n")


@pytest.fixture(scope="module")
def api(deployment: Deployment) -> Api:
    return Api(deployment)


def test_the_environment_file_is_private_and_compose_accepts_the_configuration(
    deployment: Deployment,
) -> None:
    assert stat.S_IMODE(deployment.env_file.stat().st_mode) == 0o600
    deployment.compose("config", "--quiet")


def test_dags_are_listed_without_import_errors(api: Api) -> None:
    def errors() -> list[Any]:
        return list(api.call("GET", "/api/v2/importErrors")["import_errors"])

    def listed() -> set[str]:
        return {dag["dag_id"] for dag in api.call("GET", "/api/v2/dags")["dags"]}

    wait_until(lambda: errors() or {DAG, SWEEPER} <= listed(), f"{DAG} and {SWEEPER}", READ_SECONDS)
    assert errors() == []


def test_no_process_is_root_or_can_become_it(deployment: Deployment) -> None:
    for service in SERVICES:
        processes = deployment.processes(service)
        assert processes, service
        assert "0" not in {process["uid"] for process in processes}, processes
        status = deployment.docker.inside("cat", f"/proc/{processes[0]['pid']}/status").split()
        facts = dict(pairwise(status))
        assert (facts["CapBnd:"].strip("0"), facts["NoNewPrivs:"]) == ("", "1"), service


def test_only_the_ui_is_published_and_only_on_the_loopback(deployment: Deployment) -> None:
    listening = {line.split()[3] for line in deployment.docker.inside("ss", "-Hltn").splitlines()}
    assert listening == {f"127.0.0.1:{PORT}"}


def test_secrets_are_neither_in_the_image_nor_in_its_history(deployment: Deployment) -> None:
    docker = deployment.docker.docker
    image = deployment.containers()["scheduler"]["Image"]
    patterns = "\n".join([CANARY, *deployment.secrets()])
    search = ["--entrypoint", "grep", image, "-rlF", "-e", patterns, "/opt", "/etc", "/home", "/root", "/tmp"]
    assert docker("run", "--rm", "--user", "0", *search, check=False) == ""
    told = docker("history", "--no-trunc", image) + docker("inspect", image)
    assert not [secret for secret in (CANARY, *deployment.secrets()) if secret in told]


def test_connections_arrive_as_they_were_written(deployment: Deployment) -> None:
    container = deployment.containers()["scheduler"]["Id"]
    for name, value in CONNECTIONS.items():
        assert json.loads(deployment.docker.docker("exec", container, "printenv", name)) == value


def test_a_night_runs_its_tasks_and_says_what_is_wrong(deployment: Deployment, api: Api) -> None:
    api.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": False})
    body = {"logical_date": None, "conf": {"reason": "compose test"}}
    run_id = api.call("POST", f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"]
    ended = wait_until(
        lambda: (r := api.run(run_id))["state"] in ENDED and r, f"end of {run_id}", RUN_SECONDS, pause=2
    )
    assert ended["state"] == "failed"
    assert "API_UNREACHABLE" in ended["note"], ended
    assert "127.0.0.1" in ended["note"], ended
    log = api.call("GET", f"{api.path(run_id)}/taskInstances/open_night/logs/1")
    assert "API_UNREACHABLE" in json.dumps(log), log
    container = deployment.containers()["scheduler"]["Id"]
    # Readiness runs at noon by itself, and a look that could not look writes an entry of its own.
    entries = deployment.docker.docker(
        "exec", container, "ls", f"/opt/airflow/store/{CLUSTER}/ledger"
    ).split()
    assert entries, "the sample's store is the volume"
    assert all(entry.endswith(".json") for entry in entries), entries


def test_a_killed_scheduler_comes_back(deployment: Deployment, api: Api) -> None:
    before = deployment.containers()["scheduler"]
    first = str(before["State"]["Pid"])
    main = next(p["pid"] for p in deployment.processes("scheduler") if p["ppid"] == first)
    deployment.docker.inside("kill", "-KILL", main)
    wait_until(
        lambda: deployment.containers()["scheduler"]["RestartCount"] == before["RestartCount"] + 1,
        "another start of the scheduler",
        60,
    )
    deployment.wait_until_healthy()
    beat = api.call("GET", "/api/v2/monitor/health")["scheduler"]["latest_scheduler_heartbeat"]
    assert time.time() - datetime.fromisoformat(beat).timestamp() < 60


def test_restart_and_new_containers_keep_the_database(deployment: Deployment, api: Api) -> None:
    api.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})
    api.call("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "dag_run_id": KEPT})
    api.call("POST", "/api/v2/variables", {"key": KEPT, "value": "secret"})
    # Not `init`: the old Compose restarts all at once, and it would migrate a database that is away just then.
    deployment.compose("restart", *sorted(SERVICES))
    deployment.wait_until_healthy()
    assert_kept(Api(deployment))
    deployment.compose("stop")
    ended = {n: c["State"]["FinishedAt"] for n, c in deployment.containers().items() if n in SERVICES}
    assert sorted(ended, key=ended.__getitem__)[-2:] == ["api-server", "postgres"], ended
    deployment.compose("down")
    deployment.up()
    assert_kept(Api(deployment))


def assert_kept(api: Api) -> None:
    assert api.run(KEPT)["state"] == "queued"
    assert api.call("GET", f"/api/v2/variables/{KEPT}")["value"] == "secret"  # is encrypted in the database
