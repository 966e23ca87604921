from dataclasses import replace
from typing import Any

import pytest

from nightshift.domain.incident.record import (
    PERSON,
    Incident,
    Relation,
    expired_runs,
    relation,
)
from nightshift.domain.store_paths import is_safe, path_safe

DAY = 86_400.0
EARLIER = Incident(
    "a", "cp1", "kubeadm-upgrade", since=1000.0, made=1300.0, confidence="unknown", cause="", sentence="?"
)
LATER = replace(EARLIER, name="b", since=1005.0, made=1900.0, confidence="likely", cause="disk_full")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, Relation.CORRECTS),
        ({"cause": ""}, Relation.CONFIRMS),
        ({"since": 1400.0}, Relation.LATER),  # another job: it began after the earlier evidence was taken
        ({"since": 800.0}, Relation.LATER),
        ({"step": "verify"}, Relation.LATER),
        ({"confidence": ""}, Relation.LESS_SURE),
    ],
)
def test_only_a_later_look_at_the_same_job_corrects(changes: dict[str, Any], said: Relation) -> None:
    assert relation(EARLIER, replace(LATER, **changes)) is said


@pytest.mark.parametrize("confidence", ["confident", PERSON])
def test_one_that_is_less_sure_corrects_nothing(confidence: str) -> None:
    sure = replace(EARLIER, confidence=confidence, cause="oom_kill")
    assert relation(sure, LATER) is Relation.LESS_SURE


def test_a_record_goes_round_and_a_strange_one_is_none() -> None:
    assert Incident.from_dict(EARLIER.to_dict()) == EARLIER
    assert Incident.from_dict({**EARLIER.to_dict(), "new": 1}) == EARLIER
    for strange in (
        {},
        {"name": 1},
        {**EARLIER.to_dict(), "name": "../x"},
        {**EARLIER.to_dict(), "made": "?"},
        {**EARLIER.to_dict(), "made": float("nan")},
        {**EARLIER.to_dict(), "confidence": ["x"]},
        {**EARLIER.to_dict(), "sentence": 5},
    ):
        assert Incident.from_dict(strange) is None


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a..b", "-a", "a\\b", "a b", "a\0", "ä"])
def test_names_that_lead_out_are_not_safe(name: str) -> None:
    assert not is_safe(name)


def test_a_runs_folder_is_safe() -> None:
    assert path_safe("scheduled__2026-11-28T23:00:00+00:00") == "scheduled__2026-11-28T23-00-00-00-00"
    assert is_safe(path_safe("manual__2026-11-28T23:00:00.123456+00:00"))


def test_a_run_goes_when_it_is_old_and_not_of_the_newest() -> None:
    runs = {f"r{age}": [replace(EARLIER, made=-age * DAY)] for age in (1, 50, 100, 200)}
    assert expired_runs(runs, 0.0, 90, 2) == ("r100", "r200")
    assert expired_runs(runs, 0.0, 90, 3) == ("r200",)
    assert expired_runs(runs, 0.0, 300, 1) == ()
    assert expired_runs({"unreadable": []}, 0.0, 1, 1) == ()
