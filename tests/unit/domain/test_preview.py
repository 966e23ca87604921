"""What a night would do, said beforehand."""

from __future__ import annotations

import json

from nightshift.domain.look_again import BY_CODE
from nightshift.domain.plan import ControlPlaneStep, Plan
from nightshift.domain.preview import preview
from nightshift.domain.verdicts import Outcome, Verdict, fold_verdicts

PASSED = Verdict("plan", Outcome.PASS, "OK", "Fine.")
PLAN = Plan((ControlPlaneStep("cp1", "apply"),), (("w1",), ("w2", "w3")), ("w9",), "the plan", PASSED)


def make(*verdicts: Verdict, members: int = 1, plan: Plan = PLAN, **known):
    facts = {"target": "1.35.4", "evicted": {}, "fetched_bytes": {}, "measured_seconds": {}, **known}
    return preview(plan, fold_verdicts([PASSED, *verdicts], []), members=members, **facts)


def test_the_order_and_the_sum_of_what_each_place_takes() -> None:
    seen = make(measured_seconds={"cp1": 100.0, "w2": 40.0, "w3": 70.0})
    assert [(n.name, n.place, n.command) for n in seen.nodes] == [
        ("cp1", "control plane 1", "apply"),
        ("w1", "canary", "node"),
        ("w2", "wave 2", "node"),
        ("w3", "wave 2", "node"),
    ]
    assert seen.seconds == 100 + 60 + 70  # w2 and w3 go side by side
    assert "would upgrade cp1, w1, w2, w3 to 1.35.4 in about" in seen.sentence
    assert [n.is_measured for n in seen.nodes] == [True, False, True, True]


def test_the_outage_is_said_where_the_api_has_no_other_member() -> None:
    assert "away for up to 4 minutes" in make().sentence
    assert make(members=3).outage_seconds == 0
    assert "The API would stay up." in make(members=3).sentence
    only_workers = Plan((), (("w1",),), (), "", PASSED)
    assert make(plan=only_workers).outage_seconds == 0


def test_what_shuts_leads_and_a_warning_is_only_said() -> None:
    shut = Verdict("alerts", Outcome.BLOCK, "ALERT_FIRING", "An alert fires.")
    warns = Verdict("clock", Outcome.WARN, "CLOCK_SKEW", "A clock is off.")
    seen = make(shut, warns)
    assert seen.sentence.endswith("The night would not begin: alerts: An alert fires.")
    assert "Warns: clock: A clock is off." in seen.lines()
    assert f"Look again {BY_CODE['ALERT_FIRING']}." in seen.lines()
    assert json.loads(json.dumps(seen.to_dict()))["look_again"] == seen.look_again
    assert make(warns).look_again == ""
    assert "not begin" not in make(warns).sentence


def test_unread_pods_are_not_no_pods() -> None:
    assert "evicts 0 pods" in "\n".join(make().lines())
    unread = "\n".join(make(evicted=None).lines())
    assert "evicts" not in unread
    assert "could not be read" in unread


def test_each_node_line_names_pods_and_bytes() -> None:
    pods = [f"shop/web-{n}" for n in range(14)]
    line = make(evicted={"w1": pods}, fetched_bytes={"w1": 300 * 1024 * 1024}).lines()[2]
    assert line.startswith("canary: w1, kubeadm upgrade node, evicts 14 pods: shop/web-0, ")
    assert line.endswith("and 2 more, fetches 300 MiB (unpacked), about 60 s (not measured here yet)")


def test_leftover_uploads_and_nothing_at_all_are_said() -> None:
    seen = make(uploads=["kubeadm-config would get oidc-issuer-url of kube-apiserver."])
    assert "w9 would continue on a later night." in seen.sentence
    assert "would get oidc-issuer-url" in seen.sentence
    assert "No node would be upgraded." in make(plan=Plan((), (), (), "", PASSED)).sentence
    json.dumps(seen.to_dict())
