"""Where the demo keeps things and which ports it uses; secrets are made once and stay private."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightshift.clients.private_files import write_private

PROJECT = Path(__file__).resolve().parents[2]
CLUSTERS = PROJECT / "lab" / "clusters"  # the lab's own, whatever the caller works with
HOST = "127.0.0.1"
ADMIN = "admin"
SERVICE_USER = "nightshift"  # writes run notes; may edit runs, nothing more


class DemoError(Exception):
    """Something a person must see; `next_step` is what to do."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True)
class Home:
    """The installation's directory."""

    path: Path

    @staticmethod
    def default() -> Home:
        """NIGHTSHIFT_HOME, made private when missing.

        Raises:
            DemoError: it cannot be made.
        """
        path = Path(os.environ.get("NIGHTSHIFT_HOME", "/var/lib/nightshift"))
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DemoError(
                f"{path} cannot be created: {error}",
                "run as root, or set NIGHTSHIFT_HOME to a directory of yours",
            ) from error
        return Home(path)

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.path / "airflow"

    @property
    def connections(self) -> Path:
        """What enrol writes: AIRFLOW_CONN_… lines, 0600."""
        return self.path / "connections.env"

    @property
    def store(self) -> Path:
        """Ledger, snapshots, evidence."""
        return self.path / "store"

    @property
    def logs(self) -> Path:
        """Output of Airflow's processes."""
        return self.path / "logs"

    @property
    def pids(self) -> Path:
        """One file per running process."""
        return self.path / "run"

    def secrets(self) -> dict[str, str]:
        """Passwords and keys of this installation; made at first use."""
        file = self.path / "secrets.json"
        if not file.exists():
            sizes = {
                "admin_password": 18,
                "service_password": 18,
                "jwt_secret": 64,
                "api_secret": 32,
            }  # bytes
            made = {name: secrets.token_urlsafe(size) for name, size in sizes.items()}
            write_private(file, json.dumps(made, indent=2))
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def installation(self) -> str:
        """Name that tells this Airflow from every other one at the same cluster; made at first use."""
        file = self.path / "installation"
        if not file.exists():
            write_private(file, f"nightshift-{secrets.token_hex(3)}")
        return file.read_text(encoding="utf-8").strip()


def ui_port() -> int:
    """Port of the Airflow UI: NIGHTSHIFT_PORT, default 8080."""
    return int(os.environ.get("NIGHTSHIFT_PORT", "8080"))


def ui_url() -> str:
    """Address of the Airflow UI."""
    return f"http://{HOST}:{ui_port()}"


def tunnel() -> str:
    """The command that brings the UI, which listens here only, to the machine somebody sits at."""
    return f"ssh -N -L {ui_port()}:{HOST}:{ui_port()} {getpass.getuser()}@{socket.gethostname()}"


def read_env_file(path: Path) -> dict[str, str]:
    """Read NAME='value' lines."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    return {name: value.removeprefix("'").removesuffix("'") for name, _, value in pairs}


def airflow_environment(home: Home, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of every Airflow process: this machine's, our settings, the connections."""
    # Without byte code (make's tests forbid it) every task would compile the whole package anew.
    foreign = ("AIRFLOW", "SSH_AUTH", "KUBECONFIG", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**kept, **_settings(home), **read_env_file(home.connections), **extra}


def _settings(home: Home) -> dict[str, str]:
    keys = home.secrets()
    passwords = home.airflow / "passwords.json"
    note = {
        "conn_type": "http",
        "host": HOST,
        "port": ui_port(),
        "login": SERVICE_USER,
        "password": keys["service_password"],
    }
    sections = {
        "CORE": {
            "DAGS_FOLDER": str(PROJECT / "dags"),
            "PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "LOAD_EXAMPLES": "False",
            "EXECUTOR": "LocalExecutor",
            "PARALLELISM": "6",
            "EXECUTION_API_SERVER_URL": f"{ui_url()}/execution/",
            "SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{SERVICE_USER}:op",
            "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "TASK_SUCCESS_OVERTIME": "100",  # below the heartbeat timeout, else callbacks come twice
            "MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        },
        "DATABASE": {"SQL_ALCHEMY_CONN": f"sqlite:///{home.airflow}/airflow.db"},
        "API": {"HOST": HOST, "PORT": str(ui_port()), "BASE_URL": ui_url(), "SECRET_KEY": keys["api_secret"]},
        "API_AUTH": {"JWT_SECRET": keys["jwt_secret"]},
        "SCHEDULER": {
            "SCHEDULER_IDLE_SLEEP_TIME": "0.1",  # the pause between two tasks
            "TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",
            "TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
        },
        "WORKERS": {"MIN_HEARTBEAT_INTERVAL": "1"},
        "DAG_PROCESSOR": {
            "REFRESH_INTERVAL": "10",
            "MIN_FILE_PROCESS_INTERVAL": "10",
            "DAG_FILE_PROCESSOR_TIMEOUT": "120",  # room for the recovery in a DAG-level callback
            "STALE_DAG_THRESHOLD": "180",
        },
        "USAGE_DATA_COLLECTION": {"ENABLED": "False"},
    }
    flat = {f"AIRFLOW__{s}__{k}": v for s, values in sections.items() for k, v in values.items()}
    return {
        **flat,
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONN_NIGHTSHIFT_AIRFLOW_API": json.dumps(note),
        "NIGHTSHIFT_INSTALLATION": home.installation(),
        "NIGHTSHIFT_STORE": home.store.as_uri(),
        "NIGHTSHIFT_CLUSTERS": str(CLUSTERS),
        "PYTHONPATH": str(PROJECT / "plugins"),
        # Airflow's own reading of plugins/.airflowignore; it would be the first line of every task's log.
        "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
    }


def write_passwords(home: Home) -> None:
    """Give Airflow's simple login the users and passwords of this installation."""
    keys = home.secrets()
    users = {ADMIN: keys["admin_password"], SERVICE_USER: keys["service_password"]}
    write_private(home.airflow / "passwords.json", json.dumps(users))
