"""Following a job: the real client over a real SSH connection, and the fake that the steps' tests rely on, alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import paramiko
import pytest
from tests.fakes.cluster import FakeCluster
from tests.unit.clients.fake_sshd import FakeSshd

from nightshift.clients.node_ssh import NodeSsh
from nightshift.clients.script_bundle import ScriptBundle
from nightshift.clients.ssh_connect import connector, generate_key_pair
from nightshift.domain.errors import UnreachableError
from nightshift.domain.facts import JobFacts
from nightshift.steps.session import NodePort


@dataclass
class Course:
    """What a node's job is at each look, the last one for ever: state and start; "away" is no answer."""

    looks: list[tuple[str, float]]

    def take(self) -> tuple[str, float]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def facts(self, state: str, started: float) -> JobFacts:
        code = None if state == "running" else 0
        return JobFacts("stage", state, code, "run-1", 5, ("1.35",), started, None if code is None else 200.0)

    def answer(self, command: str, _stdin: bytes) -> tuple[int, bytes, bytes]:
        """As `nightshift-node job-poll`; any other verb is a failure of the test."""
        assert "nightshift-node job-poll stage " in command
        state, started = self.take()
        if state == "away":
            return -1, b"", b""
        end = "-\trun-1\t5" if state == "running" else "0\trun-1\t5"
        finished = "-" if state == "running" else "200.0"
        words = base64.b64encode(b"1.35\0").decode()
        line = f"JOB\tstage\t{state}\t{end}\tid-{started}\t{started}\t{finished}\t0\t{words}"
        return 0, f"{line}\nCURSOR\tc\nsaid\n".encode(), b""


Follow = Callable[[Course], NodePort]


@pytest.fixture(params=["real", "fake"])
def node(request: pytest.FixtureRequest) -> Iterator[Follow]:
    if request.param == "fake":
        yield _fake
        return
    key = generate_key_pair()
    servers: list[FakeSshd] = []

    def real(course: Course) -> NodePort:
        accepted = paramiko.Ed25519Key.from_private_key(io.StringIO(key.private))
        server = FakeSshd(accepted, course.answer)
        servers.append(server)
        connect = connector("127.0.0.1", "nightshift", key.private, server.pinned, server.port)
        return NodeSsh("w1", connect, ScriptBundle.shipped(), sleep=lambda _: None)

    yield real
    for server in servers:
        server.close()


def _fake(course: Course) -> NodePort:
    fake = FakeCluster().fakes["w1"]

    def step_on(_step: str = "") -> None:
        state, started = course.take()
        fake.is_away = state == "away"
        fake.jobs = {} if state == "absent" else {"stage": course.facts(state, started)}

    fake.on_follow = step_on
    step_on()
    return fake


def follow(
    port: NodePort, is_enough: Callable[[JobFacts], bool] = lambda _: False
) -> tuple[JobFacts | None, int]:
    """The answer, and how often something was told."""
    told: list[str] = []
    return port.follow_job("stage", told.append, is_enough), len(told)


@pytest.mark.parametrize("state", ["absent", "succeeded", "failed", "lost"])
def test_a_job_that_does_not_run_is_not_followed(node: Follow, state: str) -> None:
    asked: list[JobFacts] = []
    assert follow(node(Course([(state, 1.0)])), lambda seen: bool(asked.append(seen))) == (None, 0)
    assert asked == []


def test_a_job_is_followed_to_its_end(node: Follow) -> None:
    course = Course([("running", 1.0), ("running", 1.0), ("succeeded", 1.0)])
    last, told = follow(node(course))
    assert last is not None
    assert (last.state, last.exit_code, last.run_id, last.arguments, told) == (
        "succeeded",
        0,
        "run-1",
        ("1.35",),
        3,
    )


def test_enough_is_asked_before_a_look_is_told(node: Follow) -> None:
    looks = iter([False, True])
    last, told = follow(node(Course([("running", 1.0)])), lambda _: next(looks))
    assert last is not None
    assert (last.state, told) == ("running", 1)
    assert follow(node(Course([("running", 1.0)])), lambda _: True)[1] == 0


def test_another_start_of_the_job_is_not_followed(node: Follow) -> None:
    last, told = follow(node(Course([("running", 1.0), ("running", 9.0)])))
    assert last is not None
    assert (last.started, told) == (9.0, 1)


@pytest.mark.parametrize("looks", [[("away", 0.0)], [("running", 1.0), ("away", 0.0)]])
def test_a_node_that_does_not_answer_is_said(node: Follow, looks: list[tuple[str, float]]) -> None:
    with pytest.raises(UnreachableError, match="NODE_UNREACHABLE"):
        follow(node(Course(looks)))
