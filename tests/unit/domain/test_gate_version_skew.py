from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import components, judged, node

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.versions import KubeProxy
from nightshift.domain.round import Moment
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome, Verdict

HOP = TargetChoice(TargetKind.MINOR, "hop", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4")
NONE = TargetChoice(TargetKind.NONE, "nothing")


def judged_skew(**facts: Any) -> Verdict:
    """The gate's word; unless it is said otherwise, the cluster has no kube-proxy."""
    return judged("version_skew", **{"kube_proxy": KubeProxy(None), **facts})


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
    verdict = judged_skew(nodes=tuple(nodes), components=running, target=target)
    assert verdict.outcome is outcome, verdict.message
    assert said in verdict.message


def test_pass_says_the_one_version() -> None:
    verdict = judged_skew(nodes=(node("cp1"),), components={"cp1": components()}, target=NONE)
    assert verdict.value == "1.34.4"
    assert verdict.evidence["cp1"]["kube-apiserver"] == "1.34.4"


@pytest.mark.parametrize(
    ("kubelet", "outcome"), [("1.34.4", Outcome.PASS), ("1.35.4", Outcome.PASS), ("1.31.9", Outcome.BLOCK)]
)
def test_between_two_nodes_mixed_versions_are_what_is_expected_and_skew_still_blocks(
    kubelet: str, outcome: Outcome
) -> None:
    verdict = judged_skew(
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
    verdict = judged_skew(nodes=(node("cp1"),), components={"cp1": components()}, target=lost)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "TARGET_NOT_CHOSEN")


@pytest.mark.parametrize(
    ("proxy", "target", "outcome", "said"),
    [
        pytest.param(KubeProxy(None), HOP, Outcome.PASS, "Everything runs 1.34.4", id="none, as with Cilium"),
        pytest.param(
            KubeProxy("1.34.4", {"cp1": "1.34.4", "w1": "1.34.4"}), HOP, Outcome.PASS, "1.34.4", id="even"
        ),
        pytest.param(
            KubeProxy("1.34.9"), HOP, Outcome.PASS, "1.34.4 to 1.34.9", id="a newer patch is no skew"
        ),
        pytest.param(KubeProxy("1.31.0"), NONE, Outcome.PASS, "1.31.0 to 1.34.4", id="three older"),
        pytest.param(
            KubeProxy("1.31.0", {"cp1": "1.31.0", "w1": "1.31.0"}),
            HOP,
            Outcome.BLOCK,
            "In DaemonSet kube-system/kube-proxy, after tonight's hop kube-proxy 1.31.0 is 4 minors older",
            id="four older after the hop",
        ),
        pytest.param(
            KubeProxy("1.30.0"), NONE, Outcome.BLOCK, "kube-proxy 1.30.0 is 4 minors older", id="four older"
        ),
        pytest.param(
            KubeProxy("1.35.0"),
            HOP,
            Outcome.BLOCK,
            "kube-proxy 1.35.0 is newer than API server 1.34.4",
            id="newer than the API server, although not than the target",
        ),
        pytest.param(
            KubeProxy("1.34.4", {"cp1": "1.34.4", "w1": "1.30.2"}),
            HOP,
            Outcome.BLOCK,
            "On w1, kube-proxy 1.30.2 is 4 minors older",
            id="a pod that did not follow its DaemonSet",
        ),
        pytest.param(
            KubeProxy(None, {"w1": "1.35.1"}),
            HOP,
            Outcome.BLOCK,
            "On w1, kube-proxy 1.35.1 is newer",
            id="pods only",
        ),
        pytest.param(KubeProxy(""), HOP, Outcome.BLIND, "kube-proxy in DaemonSet", id="pinned by digest"),
        pytest.param(
            KubeProxy("1.34.4", {"w1": "1.34.4-vendor"}),
            HOP,
            Outcome.BLIND,
            "kube-proxy on w1",
            id="one unreadable",
        ),
    ],
)
def test_kube_proxy(proxy: KubeProxy, target: TargetChoice, outcome: Outcome, said: str) -> None:
    nodes = (node("cp1"), node("w1"))
    verdict = judged_skew(nodes=nodes, components={"cp1": components()}, target=target, kube_proxy=proxy)
    assert (verdict.outcome, said in verdict.message) == (outcome, True), verdict.message
    if outcome is Outcome.BLOCK:
        assert verdict.code == "VERSION_SKEW"
        assert "daemonset/kube-proxy" in verdict.resolution


def test_what_all_pods_share_is_said_once() -> None:
    names = ("cp1", *(f"w{n}" for n in range(1, 30)))
    for version in ("1.30.0", ""):
        verdict = judged_skew(
            nodes=tuple(node(name) for name in names),
            components={"cp1": components()},
            target=NONE,
            kube_proxy=KubeProxy(version, dict.fromkeys(names, version)),
        )
        assert len(verdict.evidence["findings"]) == 1


@pytest.mark.parametrize(
    ("kubelet", "proxy", "outcome"),
    [
        ("1.32.0", "1.35.0", Outcome.PASS),
        ("1.32.0", "1.36.0", Outcome.BLOCK),
        ("1.36.0", "1.33.0", Outcome.PASS),
    ],
)
def test_kube_proxy_stands_beside_its_own_nodes_kubelet(kubelet: str, proxy: str, outcome: Outcome) -> None:
    verdict = judged_skew(
        nodes=(node("cp1", "1.36.0"), node("w1", kubelet)),
        components={"cp1": components("1.36.0")},
        target=NONE,
        kube_proxy=KubeProxy(proxy, {"w1": proxy}),
        moment=Moment.PLACE,
        nodes_ahead=("w1",),
    )
    skew = [f["message"] for f in verdict.evidence.get("findings", ()) if f["code"] == "VERSION_SKEW"]
    expected = f"On w1, kube-proxy {proxy} and kubelet {kubelet} are 4 minors apart"
    assert any(expected in message for message in skew) is (outcome is Outcome.BLOCK)


def test_in_an_unfinished_hop_a_kube_proxy_that_is_already_new_closes_nothing() -> None:
    verdict = judged_skew(
        nodes=(node("cp1", "1.35.4"), node("cp2")),
        components={"cp1": components("1.35.4"), "cp2": components()},
        target=HOP,
        kube_proxy=KubeProxy("1.35.4", {"cp1": "1.35.4", "cp2": "1.34.4"}),
    )
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "VERSIONS_MIXED")


def test_an_old_kube_proxy_of_the_owners_own_is_not_called_mixed() -> None:
    verdict = judged_skew(
        nodes=(node("cp1"),), components={"cp1": components()}, target=NONE, kube_proxy=KubeProxy("1.33.1")
    )
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["kube-proxy"] == ["1.33.1"]


def test_kube_proxys_that_could_not_be_read_are_blind() -> None:
    facts = {"nodes": (node("cp1"),), "components": {"cp1": components()}, "target": HOP}
    verdict = judged("version_skew", **facts)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "FACT_NOT_ASKED")
    assert "kube-proxy" in verdict.message
