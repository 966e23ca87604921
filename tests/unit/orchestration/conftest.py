import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightshift.domain.policy import ClusterPolicy

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC1UXlRZrHV8N9y5j4Q5rBQpZ0n0nIY1mZrdQ0mB2hQG"
KUBE_CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "a",
    "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "a", "user": {"token": "t"}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
}


class FakeTaskInstance:
    """XComs in a dictionary, by (task id, key)."""

    dag_id = "upgrade_lab"
    try_number = 1
    max_tries = 3
    start_date = datetime(2026, 11, 22, 23, tzinfo=UTC)

    def __init__(self, xcoms: Mapping[tuple[str, str], Any] | None = None) -> None:
        self.xcoms = dict(xcoms or {})
        self.states: dict[str, str] = {}
        self.task_id = "me"

    def xcom_pull(self, task_ids: Any, key: str = "return_value", map_indexes: Any = None) -> Any:
        if isinstance(task_ids, list):
            return [self.xcoms[(t, key)] for t in task_ids if (t, key) in self.xcoms]
        return self.xcoms.get((task_ids, key))

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[(self.task_id, key)] = value

    def get_task_states(
        self, dag_id: str, run_ids: list[str], task_ids: list[str] | None = None
    ) -> dict[str, dict[str, str]]:
        return {run_ids[0]: self.states}


@pytest.fixture
def ti() -> FakeTaskInstance:
    return FakeTaskInstance()


@pytest.fixture
def context(ti: FakeTaskInstance) -> dict[str, Any]:
    return {"ti": ti, "run_id": "run-1", "params": {"target_version": "1.35.4"}}


@pytest.fixture
def policy() -> ClusterPolicy:
    return ClusterPolicy("lab", "kube", "ssh", "file:///tmp/store")


class FakeSteps:
    """Answers for `import_step`, by path; remembers what was called."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "brake:may_go_on": {"answer": "go"},
            "gates:ask_place": {"verdicts": []},
        }
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.sessions: list[dict[str, Any]] = []  # keyword arguments they were opened with

    def find(self, path: str) -> Any:
        def step(session: Any, *arguments: Any, **inputs: Any) -> Any:
            self.calls.append((path, inputs))
            answer = self.answers[path]
            if isinstance(answer, list):
                answer = answer.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return step

    @contextmanager
    def open_session(self, *arguments: Any, **named: Any) -> Iterator[None]:
        self.sessions.append(named)
        yield None


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> FakeSteps:
    from nightshift.orchestration import callbacks, operators, sensors

    steps = FakeSteps()
    for module in (callbacks, operators, sensors):
        monkeypatch.setattr(module, "import_step", steps.find)
        monkeypatch.setattr(module, "open_session", steps.open_session)
    return steps


@pytest.fixture
def private_key() -> str:
    from nightshift.clients.ssh_connect import generate_key_pair

    return generate_key_pair().private


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch, private_key: str) -> Any:
    """Set a connection in the environment, where Airflow finds it."""

    def put(name: str, **value: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(value))

    put("kube", conn_type="kubernetes", extra={"kube_config": json.dumps(KUBE_CONFIG)})
    put(
        "ssh",
        conn_type="ssh",
        login="nightshift",
        port=1,
        extra={"private_key": private_key, "host_keys": {"w1": HOST_KEY}},
    )
    return put


@pytest.fixture
def local(policy: ClusterPolicy, tmp_path: Path) -> ClusterPolicy:
    return replace(policy, store=tmp_path.as_uri())
