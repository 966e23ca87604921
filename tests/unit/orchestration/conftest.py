from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from nightshift.domain.policy import ClusterPolicy


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
