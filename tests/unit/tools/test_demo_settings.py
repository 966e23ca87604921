import json
import stat
from pathlib import Path

import pytest

from nightshift.cli import _assignment
from nightshift.domain.owner import require_installation
from nsdemo.settings import HOST, Home, airflow_environment, read_env_file, write_passwords


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_secrets_are_made_once_and_are_private(home: Home) -> None:
    first = home.secrets()
    assert home.secrets() == first
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE((home.path / "secrets.json").stat().st_mode) == 0o600


def test_what_enrol_writes_is_read_back(home: Home) -> None:
    value = {
        "conn_type": "ssh",
        "extra": {"private_key": "-----BEGIN-----\nA='b'\n", "host_keys": {"cp1": "k"}},
    }
    home.connections.write_text(_assignment("AIRFLOW_CONN_X", value) + "\n", encoding="utf-8")
    assert json.loads(read_env_file(home.connections)["AIRFLOW_CONN_X"]) == value


def test_airflow_listens_on_the_loopback_only_and_inherits_no_keys(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("KUBECONFIG", "/root/.kube/config")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", "/other/clusters")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environment = airflow_environment(home, {"EXTRA": "1"})
    assert environment["AIRFLOW__API__HOST"] == HOST == "127.0.0.1"
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert environment["EXTRA"] == "1"
    assert environment["NIGHTSHIFT_CLUSTERS"].endswith("/lab/clusters")
    assert not {"SSH_AUTH_SOCK", "KUBECONFIG", "PYTHONDONTWRITEBYTECODE"} & set(environment)


def test_each_home_is_an_installation_of_its_own(home: Home, tmp_path: Path) -> None:
    names = [
        airflow_environment(h, {})["NIGHTSHIFT_INSTALLATION"] for h in (home, home, Home(tmp_path / "b"))
    ]
    assert names[0] == names[1] != names[2]
    assert [require_installation(name) for name in names] == names


def test_callbacks_end_before_the_heartbeat_timeout(home: Home) -> None:
    environment = airflow_environment(home, {})
    overtime = int(environment["AIRFLOW__CORE__TASK_SUCCESS_OVERTIME"])
    assert overtime < int(environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"])


def test_the_note_is_written_by_a_user_with_fewer_rights(home: Home) -> None:
    environment = airflow_environment(home, {})
    connection = json.loads(environment["AIRFLOW_CONN_NIGHTSHIFT_AIRFLOW_API"])
    write_passwords(home)
    passwords = json.loads((home.airflow / "passwords.json").read_text(encoding="utf-8"))
    assert passwords[connection["login"]] == connection["password"]
    assert f"{connection['login']}:op" in environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
