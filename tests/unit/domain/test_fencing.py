from __future__ import annotations

import pytest

from nightshift.domain.facts import LeaseFacts
from nightshift.domain.fencing import token_to_catch_up


@pytest.mark.parametrize(
    ("holder", "token", "seen", "wanted"),
    [
        ("r1", 4, (17, 3, 4), 18),
        ("r1", 4, (), 5),
        ("r1", 4, (2,), 5),
        ("r1", 5, (17,), None),
        ("r2", 4, (17,), None),
        ("", 4, (17,), None),
    ],
    ids=["behind", "no node seen", "nodes are older", "recovery raised it", "another run", "given back"],
)
def test_only_an_unchanged_lease_of_ours_catches_up(
    holder: str, token: int, seen: tuple[int, ...], wanted: int | None
) -> None:
    lease = LeaseFacts(holder, token, 1.0, 1.0, 120)
    assert token_to_catch_up(lease, "r1", 4, seen) == wanted
