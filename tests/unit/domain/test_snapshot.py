from __future__ import annotations

import pytest

from nightshift.domain.errors import VerificationError
from nightshift.domain.snapshot import (
    Bundle,
    SnapshotState,
    compare_snapshot,
    is_recent,
    named_bundle,
    require_intact,
    require_proven,
)
from nightshift.domain.verdicts import Outcome

SAVED = SnapshotState(1234, 567, 89)


def test_equal_is_proven() -> None:
    verdict = require_proven(SAVED, SnapshotState(1234, 567, 89))
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == "revision 1234, 567 keys, hash 89"


@pytest.mark.parametrize(
    ("restored", "said"),
    [
        (SnapshotState(1233, 567, 89), "revision 1234 became 1233"),
        (SnapshotState(1234, 566, 89), "key_count 567 became 566"),
        (SnapshotState(1234, 567, 88), "hash 89 became 88"),
    ],
)
def test_any_difference_is_a_mismatch(restored: SnapshotState, said: str) -> None:
    with pytest.raises(VerificationError) as caught:
        require_proven(SAVED, restored)
    assert caught.value.code == "SNAPSHOT_MISMATCH"
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("saved", "restored", "said"),
    [
        (SAVED, SnapshotState(None, 567, 89), "revision of the restored"),
        (SnapshotState(0, 0, 0), SnapshotState(0, 0, 0), "key_count of the saved"),
        (SnapshotState(1234, 567, ""), SAVED, "hash of the saved"),
    ],
)
def test_unread_or_empty_is_blind_even_when_equal(
    saved: SnapshotState, restored: SnapshotState, said: str
) -> None:
    verdict = compare_snapshot(saved, restored)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "SNAPSHOT_UNREADABLE")
    assert said in verdict.message
    with pytest.raises(VerificationError):
        require_proven(saved, restored)


NAMED = {"bundle": "etcd-20260101T000000Z.tar.gz", "bundle_sha256": "ab" * 32}


def test_what_came_is_what_the_job_proved() -> None:
    bundle = named_bundle(NAMED)
    require_intact(bundle, "ab" * 32)
    with pytest.raises(VerificationError) as caught:
        require_intact(bundle, "cd" * 32)
    assert caught.value.code == "SNAPSHOT_MISMATCH"
    assert bundle == Bundle("etcd-20260101T000000Z.tar.gz", "ab" * 32)
    assert bundle.name in caught.value.message


@pytest.mark.parametrize("missing", NAMED)
@pytest.mark.parametrize("value", [None, "", 7])
def test_a_job_that_names_no_bundle_proves_none(missing: str, value: object) -> None:
    with pytest.raises(VerificationError, match="SNAPSHOT_UNREADABLE"):
        named_bundle({**NAMED, missing: value})


@pytest.mark.parametrize(
    ("taken", "recent"),
    [
        (1000.0, True),
        (1000, True),
        (400.0, True),
        (399.9, False),
        (1000.1, False),
        (None, False),
        ("1000", False),
    ],
    ids=["now", "a whole number", "at the limit", "older", "from the future", "unknown", "no number"],
)
def test_only_a_known_and_recent_time_counts(taken: object, recent: bool) -> None:
    assert is_recent(taken, 1000.0, 600) is recent
