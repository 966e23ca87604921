"""Whatever did not pass says when to look again: always something, and a moment where one is known."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.builders import NOW, POLICY, judged, node
from tests.unit.domain.missing_facts import NODE_NAMES, healthy_round
from tests.unit.domain.test_judging import removals, removed

from nightshift.domain.gates import GATES
from nightshift.domain.gates.findings import Finding, conclude, findings_of
from nightshift.domain.gates.judging import judge
from nightshift.domain.ledger import NodeGate
from nightshift.domain.look_again import BY_CODE, BY_OUTCOME, LookAgain, at_moment, sentences, together
from nightshift.domain.overrides import apply_overrides
from nightshift.domain.policy import NodePolicy, Override, WindowPolicy
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Outcome, Verdict, fold_verdicts
from nightshift.domain.window import check_fit, check_window

BEGAN = datetime(2026, 11, 23, 23, 40, 20, tzinfo=UTC).timestamp()


def found(outcome: Outcome, code: str = "X", look_again: LookAgain | None = None) -> Finding:
    return Finding(outcome, code, f"{code}.", "why", "cure", look_again=look_again)


@pytest.mark.no_cover  # many examples of what other tests cover
@pytest.mark.parametrize("moment", list(Moment))
@settings(max_examples=100, deadline=None, derandomize=True)
@given(missing=st.lists(removals(), min_size=1, max_size=3), name=st.sampled_from(NODE_NAMES))
def test_no_gate_says_no_without_saying_when_to_look_again(
    moment: Moment, missing: list[tuple[Any, Any]], name: str
) -> None:
    round_ = healthy_round(moment, name if moment is Moment.PLACE else "")
    for removal in missing:
        round_, _ = removed(round_, removal, name)
    for gate in GATES.values():
        verdict = judge(gate, round_, POLICY)
        assert (verdict.look_again is None) is (verdict.outcome is Outcome.PASS), gate.name
        assert verdict.look_again is None or verdict.look_again.when.strip()
        assert all(f["look_again"]["when"] for f in verdict.evidence.get("findings", ()))
        assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))).look_again == verdict.look_again


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_but_pass_has_its_usual_words_and_a_code_may_have_its_own(outcome: Outcome) -> None:
    plain, coded = (Verdict("g", outcome, code, "m").look_again for code in ("X", "DPKG_BUSY"))
    if outcome is Outcome.PASS:
        assert (plain, coded) == (None, None)
    else:
        assert plain == LookAgain(BY_OUTCOME[outcome])
        assert coded == LookAgain(BY_CODE["DPKG_BUSY"])


def test_an_entry_of_an_older_version_is_still_read() -> None:
    old = Verdict("g", Outcome.BLOCK, "X", "m").to_dict()
    del old["look_again"]
    assert Verdict.from_dict(old).look_again == LookAgain(BY_OUTCOME["block"])
    written = conclude("g", [found(Outcome.BLOCK)], passed="")
    findings = [{k: v for k, v in f.items() if k != "look_again"} for f in written.evidence["findings"]]
    (one,) = findings_of(replace(written, evidence={"findings": findings}))
    assert one == found(Outcome.BLOCK)
    assert sentences([old]) == ""


def test_a_moment_is_never_said_too_early() -> None:
    look = at_moment(BEGAN, "when it is so")
    assert look.sentence == "Look again at 2026-11-23 23:41 UTC, when it is so."
    assert look.at == BEGAN + 40
    assert at_moment(look.at, "").at == look.at


def test_of_several_the_last_moment_counts_and_only_when_all_have_one() -> None:
    early, late, event = LookAgain("early", 60.0), LookAgain("late", 120.0), LookAgain("some day")
    assert together([]) is None
    assert together([None, early]) == early
    assert together([early, late, early]) == LookAgain("early; late", 120.0)
    assert together([early, event]) == LookAgain("early; some day")


def test_what_leads_says_when_and_a_warning_beside_it_does_not() -> None:
    shut = found(Outcome.BLOCK, "A", LookAgain("at noon", 60.0))
    verdict = conclude("g", [found(Outcome.WARN, "B"), shut, found(Outcome.BLOCK, "C")], passed="")
    assert verdict.look_again == LookAgain(f"at noon; {BY_OUTCOME['block']}")
    decision = fold_verdicts([verdict, Verdict("h", Outcome.WARN, "B", "m")], [])
    assert decision.look_again == verdict.look_again.sentence
    assert decision.to_dict()["look_again"] == decision.look_again
    assert fold_verdicts([Verdict("h", Outcome.WARN, "B", "m")], []).look_again == ""


def test_an_overridden_finding_is_looked_at_again_when_the_override_is_over() -> None:
    verdict = conclude("alerts", [found(Outcome.BLOCK, "ALERT_FIRING")], passed="")
    said = apply_overrides(verdict, [Override("alerts", "ALERT_FIRING", "known", "ann", BEGAN)], BEGAN - 1)
    assert said.look_again == at_moment(BEGAN, "when this override is over")


def test_a_node_that_settles_says_the_minute() -> None:
    policy = replace(POLICY, nodes=NodePolicy(settle_seconds=300))
    nodes = (node("cp1"), node("w1", ready_since=NOW - 10))
    look = judged("node_health", policy, nodes=nodes).look_again
    assert look is not None
    assert NOW + 290 <= (look.at or 0) < NOW + 350
    assert "when w1 has been Ready for 300 s" in look.when


def test_the_ledger_has_it_of_a_gate_in_front_of_a_node() -> None:
    said = {
        **Verdict("clock", Outcome.BLOCK, "X", "m").to_dict(),
        "nodes": ["w1"],
        "began": 1.0,
        "ended": 2.0,
    }
    assert NodeGate.from_verdict("t", said).to_dict()["look_again"] == f"Look again {BY_OUTCOME['block']}."


NIGHT = WindowPolicy("22:00", "04:00", ("2026-11-24", "2026-11-25"))


@pytest.mark.parametrize(
    ("policy", "moment", "said"),
    [
        (NIGHT, "2026-11-23T12:00", "2026-11-23 22:00"),
        (NIGHT, "2026-11-26T04:00", "2026-11-26 22:00"),
        (NIGHT, "2026-11-24T01:00", "2026-11-26 00:00"),  # its window is open past midnight
        (WindowPolicy("01:00", "05:00", NIGHT.frozen_dates), "2026-11-24T02:00", "2026-11-26 01:00"),
        (WindowPolicy(frozen_dates=("2026-11-24",)), "2026-11-24T02:00", "2026-11-25 00:00"),
    ],
)
def test_a_closed_window_says_when_it_opens(policy: WindowPolicy, moment: str, said: str) -> None:
    verdict = check_window(policy, datetime.fromisoformat(f"{moment}:00+00:00"))
    assert verdict.outcome is Outcome.HOLD
    assert verdict.look_again is not None
    assert verdict.look_again.when == f"at {said} UTC, when the window opens"


def test_a_calendar_that_never_opens_names_no_moment() -> None:
    first = datetime(2026, 11, 24, tzinfo=UTC)
    dates = tuple(datetime.fromtimestamp(first.timestamp() + n * 86_400, UTC) for n in range(400))
    frozen = WindowPolicy(frozen_dates=tuple(date.date().isoformat() for date in dates))
    assert check_window(frozen, first).look_again == LookAgain(BY_CODE["DATE_FROZEN"])


def test_what_does_not_fit_any_more_is_looked_at_in_the_next_window() -> None:
    late = datetime(2026, 11, 26, 3, 50, tzinfo=UTC)
    verdict = check_fit(NIGHT, late, ["w1"], {}, 1800.0)
    assert verdict.code == "NODE_DOES_NOT_FIT"
    assert verdict.look_again is not None
    assert verdict.look_again.when.startswith("at 2026-11-26 22:00 UTC")
