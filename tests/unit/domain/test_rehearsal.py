"""Whether a night has a rehearsal, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from nightshift.domain.policy import RehearseWhen
from nightshift.domain.rehearsal import Rehearsal, reason_against


@pytest.mark.parametrize(
    ("when", "kind", "has_control_plane", "is_rehearsed"),
    [
        ("minors", "minor", True, True),
        ("minors", "patch", True, False),
        ("always", "patch", True, True),
        ("always", "minor", False, False),
        ("never", "minor", True, False),
    ],
)
def test_the_policy_and_the_hop_decide(
    when: RehearseWhen, kind: str, has_control_plane: bool, is_rehearsed: bool
) -> None:
    reason = reason_against(when, kind, has_control_plane=has_control_plane)
    assert (reason is None) is is_rehearsed
    assert reason is None or when in reason or "no control-plane node" in reason


def test_a_result_is_said_with_what_was_left_out() -> None:
    done = Rehearsal.from_result(
        {"rehearsed": True, "ready_seconds": 4, "seconds": 9, "resources": 61, "left_out": ["m.io/v1: x"]}
    )
    assert done.sentence("1.35.4", "cp1") == (
        "kube-apiserver 1.35.4 was rehearsed on cp1 with tonight's data: ready after 4 s, all 61 resources listed. "
        "Left out: m.io/v1: x."
    )
    assert done.to_dict()["left_out"] == ["m.io/v1: x"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"rehearsed": False, "reason": "no memory"}, "no memory"),
        (None, "did not say"),
        ({"rehearsed": "yes"}, "did not say"),
    ],
)
def test_only_a_clear_yes_is_a_rehearsal(result: dict[str, Any] | None, reason: str) -> None:
    done = Rehearsal.from_result(result)
    assert not done.rehearsed
    assert reason in done.sentence("1.35.4", "cp1")
