from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from tests.unit.domain.builders import components, judged, node

from nightshift.domain.facts import NodeFacts
from nightshift.domain.round import Moment
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome

HOP = TargetChoice(TargetKind.MINOR, "hop", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4")
NONE = TargetChoice(TargetKind.NONE, "nothing")


@pytest.mark.parametrize(
    ("nodes", "running", "target", "outcome", "said"),
    [
        pytest.param(
            [node("cp1"), node("w1")], {"cp1": components()}, HOP, Outcome.PASS, "1.34.4", id="even"
        ),
        pytest.param(
            [node("cp1", "1.35.4"), node("cp2")],
            {"cp1": components("1.35.4"), "cp2": components()},
            HOP,
            Outcome.WARN,
            "1.34.4 to 1.35.4",
            id="unfinished hop only warns",
        ),
        pytest.param(
            [node("cp1"), node("w1", "1.35.0")],
            {"cp1": components()},
            HOP,
            Outcome.BLOCK,
            "On w1, kubelet 1.35.0 is newer",
            id="kubelet ahead of every API server",
        ),
        pytest.param(
            [node("cp1"), node("w1", "1.30.9")],
            {"cp1": components()},
            NONE,
            Outcome.BLOCK,
            "On w1, kubelet 1.30.9 is 4 minors older",
            id="kubelet too old now",
        ),
        pytest.param(
            [node("cp1"), node("w1", "1.31.9")],
            {"cp1": components()},
            HOP,
            Outcome.BLOCK,
            "after tonight's hop kubelet 1.31.9 is 4 minors older",
            id="kubelet too old after the hop",
        ),
        pytest.param(
            [node("cp1"), node("w1", "1.31.9")],
            {"cp1": components()},
            NONE,
            Outcome.WARN,
            "mixed",
            id="three minors behind is allowed while nothing moves",
        ),
        pytest.param(
            [node("cp1")],
            {"cp1": {**components(), "kube-scheduler": "1.32.0"}},
            NONE,
            Outcome.BLOCK,
            "On cp1, kube-scheduler 1.32.0 is 2 minors older",
            id="scheduler too old",
        ),
        pytest.param(
            [node("cp1")],
            {"cp1": {**components(), "kube-controller-manager": "1.35.0"}},
            NONE,
            Outcome.BLOCK,
            "kube-controller-manager 1.35.0 is newer",
            id="controller-manager ahead",
        ),
        pytest.param(
            [node("cp1", "1.34.4"), node("cp2", "1.34.4")],
            {"cp1": components("1.36.0"), "cp2": components("1.34.4")},
            NONE,
            Outcome.BLOCK,
            "1.34.4 and 1.36.0: more than one minor apart",
            id="API servers apart",
        ),
        pytest.param(
            [node("cp1"), node("w1", "?")],
            {"cp1": components()},
            HOP,
            Outcome.BLIND,
            "kubelet on w1",
            id="kubelet unreadable",
        ),
        pytest.param(
            [node("cp1"), node("cp2")],
            {"cp1": components(), "cp2": {"kube-scheduler": "1.34.4"}},
            HOP,
            Outcome.BLIND,
            "kube-apiserver on cp2",
            id="one API server unknown",
        ),
        pytest.param([node("w1")], {}, HOP, Outcome.BLIND, "any API server", id="no control plane"),
    ],
)
def test_skew(
    nodes: Sequence[NodeFacts],
    running: Mapping[str, Mapping[str, str]],
    target: TargetChoice,
    outcome: Outcome,
    said: str,
) -> None:
    verdict = judged("version_skew", nodes=tuple(nodes), components=running, target=target)
    assert verdict.outcome is outcome, verdict.message
    assert said in verdict.message


def test_pass_says_the_one_version() -> None:
    verdict = judged("version_skew", nodes=(node("cp1"),), components={"cp1": components()}, target=NONE)
    assert verdict.value == "1.34.4"
    assert verdict.evidence["cp1"]["kube-apiserver"] == "1.34.4"


@pytest.mark.parametrize(
    ("kubelet", "outcome"), [("1.34.4", Outcome.PASS), ("1.35.4", Outcome.PASS), ("1.31.9", Outcome.BLOCK)]
)
def test_between_two_nodes_mixed_versions_are_what_is_expected_and_skew_still_blocks(
    kubelet: str, outcome: Outcome
) -> None:
    verdict = judged(
        "version_skew",
        nodes=(node("cp1", "1.35.4"), node("cp2"), node("w1", kubelet)),
        components={"cp1": components("1.35.4"), "cp2": components()},
        target=HOP,
        moment=Moment.PLACE,
        nodes_ahead=("cp2",),
    )
    assert verdict.outcome is outcome, verdict.message
    assert "1.35.4" in verdict.message or "1.31.9" in verdict.message


def test_a_hop_to_nobody_knows_where_is_blind() -> None:
    lost = replace(HOP, version=None)
    verdict = judged("version_skew", nodes=(node("cp1"),), components={"cp1": components()}, target=lost)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "TARGET_NOT_CHOSEN")
