"""What the lab's cases read in the log of a dry run, against what the product writes there."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.fakes.cluster import FakeCluster, etcd_text, make_session
from tests.fakes.stock import stock_text
from tests.lab import gate_round
from tests.lab.previews import UPLOAD, read_preview

from nightshift.domain.plan import ControlPlaneStep, Plan
from nightshift.domain.preview import preview
from nightshift.domain.verdicts import Outcome, Verdict, fold_verdicts
from nightshift.steps.decide import decide

PASSED = Verdict("plan", Outcome.PASS, "OK", "Fine.")
PLAN = Plan((ControlPlaneStep("cp1", "apply"),), (("w2",), ("w1",)), (), "the plan", PASSED)
FETCHED = dict.fromkeys(("cp1", "w1", "w2"), 300 * 2**20)


def lines(*, members: int = 1, plan: Plan = PLAN, **known) -> list[str]:
    facts = {"target": "1.35.4", "evicted": {}, "fetched_bytes": FETCHED, "measured_seconds": {}, **known}
    said = preview(plan, fold_verdicts([PASSED], []), members=members, **facts).lines()
    return ["clock: pass (OK). Fine.", *said, "Decision: dry_run."]


def test_all_of_a_night_is_read() -> None:
    pods = {"w1": ("shop/web-1", "shop/cart-0"), "cp1": ("kube-system/coredns-1",)}
    uploads = ("Into kubeadm-config would be written, kube-apiserver: --oidc-client-id=kubernetes.",)
    said = read_preview(lines(evicted=pods, measured_seconds={"w1": 40.0}, uploads=uploads))
    assert (said.order, said.target) == (("cp1", "w2", "w1"), "1.35.4")
    assert [(n.place, n.name, n.command, n.seconds) for n in said.nodes] == [
        ("control plane 1", "cp1", "apply", 180),
        ("canary", "w2", "node", 60),
        ("wave 2", "w1", "node", 40),
    ]
    assert [sorted(n.pods) for n in said.nodes] == [
        ["kube-system/coredns-1"],
        [],
        ["shop/cart-0", "shop/web-1"],
    ]
    assert {n.mebibytes for n in said.nodes} == {300}
    assert (said.seconds, said.outage_seconds, said.uploads) == (300, 240, uploads)


def test_an_api_that_stays_up_has_no_outage() -> None:
    assert read_preview(lines(members=3)).outage_seconds == 0


@pytest.mark.parametrize("known", [{"fetched_bytes": {}}, {"evicted": None}])
def test_a_line_that_says_less_is_no_line_of_a_node(known: dict) -> None:
    assert read_preview(lines(**known)).nodes == ()


def test_a_night_that_would_not_begin_is_no_preview() -> None:
    shut = Verdict("alerts", Outcome.BLOCK, "ALERT_FIRING", "An alert fires.")
    facts = {"target": "1.35.4", "evicted": {}, "fetched_bytes": {}, "measured_seconds": {}}
    said = preview(PLAN, fold_verdicts([PASSED, shut], []), members=1, **facts).lines()
    with pytest.raises(AssertionError, match="no night is foreseen"):
        read_preview(said)


def with_flag(section: str, flag: str) -> str:
    """The section `control-plane-config` of a node whose API server runs with one flag more than kubeadm knows."""
    found = []
    for line in section.splitlines():
        kind, component, encoded = line.split("\t")
        text = base64.b64decode(encoded).decode()
        if (kind, component) == ("live", "kube-apiserver"):
            text = text.replace("- kube-apiserver\n", f"- kube-apiserver\n    - {flag}\n", 1)
            assert flag in text
        found.append(f"{kind}\t{component}\t{base64.b64encode(text.encode()).decode()}")
    return "\n".join(found) + "\n"


def test_a_dry_run_of_the_whole_cluster_can_be_read(tmp_path: Path) -> None:
    cluster = FakeCluster()
    section = stock_text("control-plane-config", is_control_plane=True) or ""
    cluster.fakes["cp1"].texts["control-plane-config"] = with_flag(section, "--oidc-client-id=kubernetes")
    cluster.add_pod("w1", "web-1")
    session = make_session(cluster, tmp_path)

    def busy(seconds: float) -> None:
        cluster.sleep(seconds)
        cluster.fakes["cp1"].etcd = etcd_text(observations=500)

    session.sleep = busy
    target = {"kind": "minor", "sentence": "1.34.4 to 1.35.4.", "version": "1.35.4", "minor": "1.35"}
    target |= {"package_version": "1.35.4-1.1", "running": "1.34.4", "nodes_behind": ["cp1", "w1", "w2"]}
    choice = {"answer": "go", "sentence": "1.34.4 to 1.35.4.", "target": target}
    round_ = gate_round.ask_all(session, is_quick=False, kept=choice)
    decide(session, round_["choice"], round_["verdicts"], dry_run=True)
    said = read_preview(cluster.lines)
    assert (said.order, said.target) == (("cp1", "w2", "w1"), "1.35.4")
    assert [node.place for node in said.nodes] == ["control plane 1", "canary", "wave 2"]
    assert [sorted(node.pods) for node in said.nodes] == [[], [], ["shop/web-1"]]
    assert all(node.mebibytes > 0 for node in said.nodes)
    assert said.uploads == (f"{UPLOAD}kube-apiserver: --oidc-client-id=kubernetes.",)
