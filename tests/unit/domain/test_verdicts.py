from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.domain.builders import mount

from nightshift.domain.errors import (
    ConfigError,
    NightshiftError,
    RemoteJobError,
    TransientError,
    TrustError,
    UnreachableError,
    merge,
)
from nightshift.domain.facts import LeaseFacts
from nightshift.domain.verdicts import Answer, Outcome, Verdict, fold_verdicts


def said(outcome: Outcome, gate: str = "g") -> Verdict:
    return Verdict(gate, outcome, outcome.name, f"{gate} says {outcome.value}.")


@pytest.mark.parametrize(
    ("outcomes", "answer"),
    [
        ((Outcome.PASS,), Answer.GO),
        ((Outcome.PASS, Outcome.WARN), Answer.GO),
        ((Outcome.WARN, Outcome.HOLD), Answer.HELD),
        ((Outcome.HOLD, Outcome.BLOCK), Answer.BLOCKED),
        ((Outcome.BLOCK, Outcome.BLIND), Answer.BLIND),
    ],
)
def test_the_worst_outcome_decides(outcomes: tuple[Outcome, ...], answer: Answer) -> None:
    verdicts = [said(outcome, f"g{i}") for i, outcome in enumerate(outcomes)]
    decision = fold_verdicts(verdicts, [v.gate for v in verdicts])
    assert decision.answer is answer
    if outcomes[-1] is not Outcome.PASS:
        assert verdicts[-1].message in decision.sentence
    assert json.loads(json.dumps(decision.to_dict()))["answer"] == answer


def test_a_silent_gate_is_blind_by_name() -> None:
    decision = fold_verdicts([said(Outcome.PASS, "a")], ["a", "b"])
    assert decision.answer is Answer.BLIND
    assert "Gate b gave no verdict" in decision.sentence


def test_errors_carry_code_cause_and_next_step() -> None:
    error = RemoteJobError("JOB_FAILED", "It failed.", cause="Disk.", next_step="Look.", exit_code=3)
    assert (error.code, error.exit_code) == ("JOB_FAILED", 3)
    assert str(error) == "[JOB_FAILED] It failed. Cause: Disk. Next step: Look."
    assert issubclass(UnreachableError, TransientError)
    assert issubclass(ConfigError, NightshiftError)


def test_what_gates_say_alike_is_said_once() -> None:
    away = Verdict(
        "a", Outcome.BLIND, "API_UNREACHABLE", "No answer.", cause="refused", resolution="Start it."
    )
    decision = fold_verdicts([away, replace(away, gate="b"), said(Outcome.BLOCK, "c")], ["a", "b", "c"])
    assert (decision.code, decision.sentence) == ("API_UNREACHABLE", "No answer.")
    assert (decision.cause, decision.next_step) == ("refused", "Start it.")
    mixed = fold_verdicts([away, replace(away, code="DISK_UNKNOWN", message="w1?")], ["a"])
    assert (mixed.code, mixed.sentence) == ("", "No answer. w1?")


def error(message: str, kind: type[NightshiftError] = RemoteJobError, code: str = "C") -> NightshiftError:
    return kind(code, message, cause="Because.", next_step="Do it.")


def test_errors_of_nodes_become_one() -> None:
    assert merge({"w1": error("Job stage on node w1 failed.")}).message == "Job stage on node w1 failed."
    assert merge({"w1": error("w10 failed.")}).message == "w1: w10 failed."
    several = {f"w{i}": error(f"w{i} failed.") for i in range(14)}
    assert merge(several).message.startswith("w0 failed. The same on w1, w2, w3,")
    assert merge(several).message.endswith(" and 3 more.")
    assert merge({"a": error("No connection."), "b": error("No connection.")}).message == "No connection."
    away = error("away.", UnreachableError, "AWAY")
    grave = merge({"a": away, "b": error("changed.", TrustError, "KEY")})
    assert (type(grave), grave.message) == (TrustError, "b: changed. Also: a (AWAY).")
    job = RemoteJobError("C", "w1 failed.", cause="c", next_step="n", exit_code=20)
    merged = merge({"w1": job})
    assert isinstance(merged, RemoteJobError)
    assert merged.exit_code == 20


@pytest.mark.parametrize(
    ("holder", "renewed", "now", "is_live"),
    [
        ("run", 100.0, 219.9, True),
        ("run", 100.0, 220.0, False),
        ("", 100.0, 101.0, False),
        ("run", None, 1.0, False),
    ],
)
def test_a_lease_lives_as_long_as_it_is_renewed(
    holder: str, renewed: float | None, now: float, is_live: bool
) -> None:
    assert LeaseFacts(holder, 1, 0.0, renewed, 120).is_live(now) is is_live


def test_used_percent_of_an_unmeasured_mount_is_full() -> None:
    assert replace(mount("/"), size_bytes=0).used_percent == 100.0
    assert mount("/", 40.0).used_percent == pytest.approx(40.0)
