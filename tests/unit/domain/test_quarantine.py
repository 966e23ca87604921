from typing import Any

import pytest
from tests.unit.domain.builders import node

from nightshift.domain.policy import WorkerPolicy
from nightshift.domain.quarantine import (
    QUARANTINE_ANNOTATION,
    Quarantine,
    new_quarantine,
    read_quarantine,
    set_aside_by,
    why_not,
)


def test_a_mark_comes_back_with_reason_run_and_time() -> None:
    mark = new_quarantine("DRAIN_BLOCKED", "a/b/c", 1_800_000_000.5)
    assert mark == Quarantine("DRAIN_BLOCKED", "a/b/c", "2027-01-15T08:00:00+00:00")
    assert read_quarantine(node("w1", annotations={QUARANTINE_ANNOTATION: mark.to_text()})) == mark
    assert str(mark) == "DRAIN_BLOCKED, since 2027-01-15T08:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("disk is dying, anna", "disk is dying, anna"), ("", "no reason given"), ("[]", "[]")],
)
def test_a_mark_by_hand_is_one_too(text: str, reason: str) -> None:
    assert read_quarantine(node("w1", annotations={QUARANTINE_ANNOTATION: text})) == Quarantine(
        reason, "", ""
    )
    assert read_quarantine(node("w1")) is None


def test_whom_a_run_set_aside() -> None:
    marks = {name: new_quarantine("JOB_FAILED", run, 0.0) for name, run in (("w1", "mine"), ("w2", "other"))}
    nodes = [node(n, annotations={QUARANTINE_ANNOTATION: m.to_text()}) for n, m in marks.items()]
    assert set_aside_by("mine", [*nodes, node("w3")]) == ("w1",)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ({"step": "drain", "code": "DRAIN_BLOCKED"}, ""),
        ({"step": "kubeadm", "code": "JOB_LOST"}, ""),
        ({"step": "kubelet", "code": "NODE_UNREACHABLE"}, ""),
        ({"step": "kubeadm", "code": "NODE_LOCKED"}, ""),
        ({"step": "kubelet", "code": "DPKG_BUSY"}, ""),
        ({"step": "verify", "code": "VERIFY_FAILED"}, ""),
        ({"step": "uncordon", "code": "VERIFY_FAILED"}, "not about this node alone"),
        ({"step": "drain", "code": "API_UNREACHABLE"}, "not about this node alone"),
        ({"step": "kubeadm", "code": "RUN_FENCED"}, "not about this node alone"),
        ({"step": "kubeadm", "code": "TASK_TIMED_OUT"}, "not about this node alone"),
        (None, "left no word"),
    ],
)
def test_only_what_is_wrong_with_this_node_sets_it_aside(failure: dict[str, Any] | None, said: str) -> None:
    answer = why_not(failure, WorkerPolicy())
    assert (said in answer, bool(answer)) == (True, bool(said))


def test_the_policy_may_stop_at_every_failure() -> None:
    blocked = {"step": "drain", "code": "DRAIN_BLOCKED"}
    assert "workers.on_failure: stop" in why_not(blocked, WorkerPolicy(on_failure="stop"))
