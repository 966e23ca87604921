"""An owner's word: what it may turn into a warning, and what it must not."""

from __future__ import annotations

import pytest

from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.overrides import NEVER_BLIND, apply_overrides, in_force
from nightshift.domain.policy import Override
from nightshift.domain.verdicts import Answer, Outcome, Verdict, fold_verdicts

NOW = 1000.0


def override(gate: str = "alerts", code: str = "ALERT_FIRING", until: float = NOW + 1) -> Override:
    return Override(gate, code, "known and harmless", "ann", until)


def finding(outcome: Outcome, code: str = "ALERT_FIRING") -> Finding:
    return Finding(outcome, code, f"{code} is so.", f"Why {code}.", f"Cure {code}.", value="1", threshold="0")


def verdict(*findings: Finding, gate: str = "alerts") -> Verdict:
    return conclude(gate, findings, passed="Fine.")


@pytest.mark.parametrize("outcome", [Outcome.HOLD, Outcome.BLOCK, Outcome.BLIND])
def test_the_named_finding_becomes_a_warning_that_says_who_and_why(outcome: Outcome) -> None:
    said = apply_overrides(verdict(finding(outcome)), [override()], NOW)
    assert (said.outcome, said.code) == (Outcome.WARN, "ALERT_FIRING")
    assert (
        "Overridden by ann until 1970-01-01T00:16Z (known and harmless): ALERT_FIRING is so." in said.message
    )
    assert said.evidence["overrides"] == [override().to_dict()]
    assert fold_verdicts([said], ["alerts"]).answer is Answer.GO


@pytest.mark.parametrize(
    "other",
    [
        override(until=NOW),
        override(until=NOW - 1),
        override(gate="clock"),
        override(code="ALERTS_UNREADABLE"),
    ],
)
def test_an_expired_or_foreign_one_changes_nothing(other: Override) -> None:
    said = verdict(finding(Outcome.BLOCK))
    assert apply_overrides(said, [other], NOW) is said


def test_other_findings_of_the_gate_stay_what_they_are() -> None:
    both = verdict(finding(Outcome.BLOCK), finding(Outcome.HOLD, "OTHER"))
    said = apply_overrides(both, [override()], NOW)
    assert (said.outcome, said.code) == (Outcome.HOLD, "OTHER")
    assert (said.cause, said.resolution) == ("Why OTHER.", "Cure OTHER.")
    assert "ALERT_FIRING is so." in said.message


def test_a_pass_or_warning_is_no_matter_of_an_override() -> None:
    for said in (verdict(), verdict(finding(Outcome.WARN))):
        assert apply_overrides(said, [override()], NOW) is said


@pytest.mark.parametrize("gate", sorted(NEVER_BLIND))
def test_what_is_unknown_about_etcd_quorum_and_target_stays_blind(gate: str) -> None:
    blind = verdict(finding(Outcome.BLIND), gate=gate)
    assert apply_overrides(blind, [override(gate=gate)], NOW).outcome is Outcome.BLIND
    shut = verdict(finding(Outcome.BLOCK), gate=gate)
    assert apply_overrides(shut, [override(gate=gate)], NOW).outcome is Outcome.WARN


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("version_killers", "VERSION_UNKNOWN"),
        ("version_killers", "TARGET_NOT_CHOSEN"),
        ("supply", "TARGET_NOT_CHOSEN"),
        ("disk_usage", "ETCD_UNREADABLE"),
        ("drift", "ETCD_METRICS_UNREADABLE"),
    ],
)
def test_it_stays_blind_whichever_gate_says_so(gate: str, code: str) -> None:
    blind = verdict(finding(Outcome.BLIND, code), finding(Outcome.BLIND, "RUNTIME_UNKNOWN"), gate=gate)
    words = [override(gate=gate, code=code), override(gate=gate, code="RUNTIME_UNKNOWN")]
    said = apply_overrides(blind, words, NOW)
    assert (said.outcome, said.code) == (Outcome.BLIND, code)
    assert [used["code"] for used in said.evidence["overrides"]] == ["RUNTIME_UNKNOWN"]
    shut = verdict(finding(Outcome.BLOCK, code), gate=gate)
    assert apply_overrides(shut, words, NOW).outcome is Outcome.WARN


def test_what_was_found_beside_an_overridden_silence_is_not_lost() -> None:
    found = verdict(finding(Outcome.BLOCK, "OTHER"))
    blinded = Verdict(
        "alerts",
        Outcome.BLIND,
        "ALERT_FIRING",
        "w1 is silent.",
        "Away.",
        "Bring it.",
        evidence=found.evidence,
    )
    said = apply_overrides(blinded, [override()], NOW)
    assert (said.outcome, said.code) == (Outcome.BLOCK, "OTHER")


def test_overrides_are_in_force_until_their_end() -> None:
    kept, gone = override(until=NOW + 1), override(until=NOW)
    assert in_force([kept, gone], NOW) == (kept,)
