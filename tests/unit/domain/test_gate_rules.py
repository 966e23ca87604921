from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.domain.gate_rounds import POLICY, round_of

from nightshift.domain.facts.alerts import RULES, RuleResult, RuleResults
from nightshift.domain.gates import rules
from nightshift.domain.policy import Rule
from nightshift.domain.verdicts import Outcome, Verdict

RULE = Rule(
    "backup", "The last backup is older than a day.", promql="time() - backup > 86400", resolution="Back up."
)


def verdict_of(rule: Rule, result: RuleResult | None) -> Verdict:
    results = RuleResults({rule.name: result} if result else {})
    return rules.check(round_of({RULES: results}), replace(POLICY, rules=(rule,)))


@pytest.mark.parametrize("outcome", ["block", "warn", "hold"])
def test_a_rule_that_fires_has_the_outcome_it_names(outcome: str) -> None:
    rule = replace(RULE, outcome=outcome)  # type: ignore[arg-type]
    verdict = verdict_of(rule, RuleResult(True, ("backup{} 90000",)))
    assert (verdict.outcome.value, verdict.code) == (outcome, "RULE_FIRED")
    assert verdict.message == "Rule backup: The last backup is older than a day (backup{} 90000)."
    assert verdict.resolution == "Back up."


def test_a_rule_that_does_not_fire_passes() -> None:
    assert verdict_of(RULE, RuleResult(False)).outcome is Outcome.PASS


@pytest.mark.parametrize("result", [RuleResult(None, problem="its result is NaN"), None])
def test_a_rule_that_cannot_be_evaluated_is_blind_whatever_its_outcome(result: RuleResult | None) -> None:
    verdict = verdict_of(replace(RULE, outcome="warn"), result)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "RULE_BROKEN")
    assert "backup" in verdict.message


def test_no_rules_pass() -> None:
    assert rules.check(round_of({RULES: RuleResults()}), POLICY).outcome is Outcome.PASS
