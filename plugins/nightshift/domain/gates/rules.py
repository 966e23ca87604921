"""Gate: does a rule of the owner fire?

The rules stand under `rules` in the cluster's file. A rule in PromQL fires as an alerting rule does: when its result
is not empty (a plain number: when it is not 0). A rule in CEL fires when it is true. A rule that fires **blocks**,
**warns** or **holds**, as it says itself, with its own message. A rule that cannot be evaluated is **blind**,
whatever its outcome: what it would have said is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from nightshift.domain.facts.alerts import RULES, RuleResults
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy, Rule
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "rules"
TITLE = "Rules of your own"
NEEDS: tuple[AnyTopic, ...] = (RULES,)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge every rule of the policy by its result."""
    results = round_.get(RULES)
    count = len(policy.rules)
    return conclude(
        NAME,
        [finding for rule in policy.rules for finding in _judge(rule, results)],
        passed=f"None of {count} rules fires." if count else "The policy has no rules.",
        value=f"{count} rules",
        evidence={rule.name: rule.promql or rule.cel for rule in policy.rules},
    )


def _judge(rule: Rule, results: RuleResults) -> Iterator[Finding]:
    result = results.by_name.get(rule.name)
    if result is None or result.fired is None:
        problem = result.problem if result else "it was not asked"
        yield Finding(
            Outcome.BLIND,
            "RULE_BROKEN",
            f"Rule {rule.name} could not be evaluated: {problem.rstrip('.')}.",
            f"Its expression is {rule.promql or rule.cel}",
            "Correct the rule in the cluster's file, or make what it asks reachable.",
        )
    elif result.fired:
        found = f" ({'; '.join(result.details)})" if result.details else ""
        yield Finding(
            Outcome(rule.outcome),
            "RULE_FIRED",
            f"Rule {rule.name}: {rule.message.rstrip('.')}{found}.",
            f"Its expression is {rule.promql or rule.cel}",
            rule.resolution
            or "Make the rule's expression empty or false, or change the rule in the cluster's file.",
            value="; ".join(result.details) or "true",
            threshold="no result" if rule.promql else "false",
        )
