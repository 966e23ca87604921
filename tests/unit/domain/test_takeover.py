from __future__ import annotations

from dataclasses import replace

import pytest

from nightshift.domain.facts import LeaseFacts
from nightshift.domain.takeover import fence, is_fenced

NOW = 10_000.0
RUN = LeaseFacts("here/lab/run-1", 7, 9_000.0, 9_900.0, 60)
NOBODY = LeaseFacts("", 7, None, None, 0)
ABANDONED = LeaseFacts("here/lab/run-1 (recovery)", 8, 9_000.0, None, 120, "here/lab/run-1", 9_000.0)


def fenced(lease: LeaseFacts, own: str | None = None) -> LeaseFacts:
    return fence(lease, own, by="here/lab/sweeper", now=NOW, seconds=120)


@pytest.mark.parametrize("own", [None, "here/lab/run-1", "here/lab/an-earlier-run"])
def test_the_recovery_takes_the_lease_from_the_run_and_remembers_whom_it_fenced_and_when(
    own: str | None,
) -> None:
    wanted = LeaseFacts("here/lab/run-1 (recovery)", 8, NOW, NOW, 120, "here/lab/run-1", NOW)
    assert fenced(RUN, own) == wanted


def test_a_run_that_ends_itself_without_a_lease_is_fenced_as_well() -> None:
    lease = fenced(NOBODY, "here/lab/run-1")
    assert (lease.holder, lease.token) == ("here/lab/run-1 (recovery)", 8)
    assert (lease.fenced_owner, lease.fenced_at) == ("here/lab/run-1", NOW)


def test_debts_of_nobody_known_are_repaid_under_the_repairers_name_and_fence_nobody_anew() -> None:
    before = replace(NOBODY, fenced_owner="here/lab/run-0", fenced_at=5.0)
    lease = fenced(before)
    assert (lease.holder, lease.token) == ("here/lab/sweeper (recovery)", 8)
    assert (lease.fenced_owner, lease.fenced_at) == ("here/lab/run-0", 5.0)


def test_taking_over_an_abandoned_recovery_keeps_the_moment_of_its_fence() -> None:
    """A task cleared after that moment has done nothing wrong."""
    lease = fenced(ABANDONED)
    assert (lease.holder, lease.token, lease.renewed) == (ABANDONED.holder, 9, NOW)
    assert (lease.fenced_owner, lease.fenced_at) == ("here/lab/run-1", 9_000.0)


def test_a_run_that_ends_itself_again_is_fenced_again() -> None:
    assert fenced(ABANDONED, "here/lab/run-1").fenced_at == NOW


@pytest.mark.parametrize(
    ("owner", "began", "refused"),
    [
        ("here/lab/run-1", NOW - 1, True),  # the zombie
        ("here/lab/run-1", NOW, True),
        ("here/lab/run-1", NOW + 0.1, False),  # a cleared task: a new try
        ("here/lab/run-2", NOW - 1, False),
        ("there/lab/run-1", NOW - 1, False),
    ],
)
@pytest.mark.parametrize("holder", ["here/lab/run-1 (recovery)", "", "here/lab/run-1"])
def test_only_tries_of_the_fenced_run_that_began_before_the_fence_are_refused(
    holder: str, owner: str, began: float, refused: bool
) -> None:
    lease = replace(fenced(RUN), holder=holder)
    assert is_fenced(lease, owner, began) is refused


def test_a_lease_that_never_saw_a_fence_refuses_nobody() -> None:
    assert not is_fenced(RUN, "here/lab/run-1", 0.0)
    assert not is_fenced(NOBODY, "", 0.0)
