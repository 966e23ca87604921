from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import budget, node, pod, round_of

from nightshift.domain.drain import DrainPlan, plan_drain
from nightshift.domain.facts import BudgetFacts, NodeFacts, PodFacts
from nightshift.domain.facts.placement import (
    HostPort,
    Mates,
    Placement,
    Requirement,
    Room,
    Spread,
    Taint,
    Toleration,
    VolumeFacts,
)
from nightshift.domain.gates import drainability
from nightshift.domain.policy import ClusterPolicy, DrainPolicy
from nightshift.domain.round import Moment
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome, Verdict

HOST = "kubernetes.io/hostname"
CONTROL_PLANE = Taint("node-role.kubernetes.io/control-plane", "", "NoSchedule")


def place(name: str, **changes: Any) -> NodeFacts:
    taints = (CONTROL_PLANE,) if name.startswith("cp") else ()
    return replace(node(name), labels={HOST: name}, taints=taints, room=Room(4000, 8 << 30, 110), **changes)


NODE_LIST = (place("cp1"), place("w1"), place("w2"))
ON_W1 = pod(node="w1")


def check(
    pods: Sequence[PodFacts],
    budgets: Sequence[BudgetFacts] = (),
    nodes: Sequence[NodeFacts] = NODE_LIST,
    volumes: Mapping[str, VolumeFacts] | None = None,
    ahead: tuple[str, ...] = (),
    drain: DrainPolicy | None = None,
) -> Verdict:
    facts: dict[str, Any] = {
        "nodes": tuple(nodes),
        "pods": tuple(pods),
        "budgets": tuple(budgets),
        "volumes": volumes or {},
    }
    moment = Moment.PLACE if ahead else Moment.NIGHT
    policy = ClusterPolicy("lab", "k", "s", "file:///s", drain=drain or DrainPolicy())
    return drainability.check(round_of(moment=moment, nodes_ahead=ahead, **facts), policy)


def findings(verdict: Verdict) -> list[tuple[str, str]]:
    return [(f["outcome"], f["code"]) for f in verdict.evidence.get("findings", ())]


def pinned(name: str = "db-0", **changes: Any) -> PodFacts:
    only_w1 = Placement(selector=((HOST, "w1"),))
    return pod(name, **{"node": "w1", "placement": only_w1, **changes})


def test_what_a_stock_cluster_runs_passes() -> None:
    tolerant = Placement(tolerations=(Toleration("", "Exists", "", ""),))
    pods = [
        pod("web-1", node="w1"),
        pod("web-2", node="w2"),
        pod("web-3", node="w2"),
        pod(
            "proxy",
            controller="DaemonSet/kube-proxy",
            controller_kind="DaemonSet",
            node="w1",
            placement=tolerant,
        ),
        pod("etcd-cp1", controller=None, controller_kind=None, is_mirror=True, node="cp1"),
        pod(
            "lonely",
            controller=None,
            controller_kind=None,
            node="w1",
            annotations={"nightshift.io/evict": "true"},
        ),
        pod("done", controller=None, controller_kind=None, node="w1", phase="Succeeded"),
    ]
    verdict = check(pods, [budget()])
    assert (verdict.outcome, verdict.message.split(":")[0]) == (Outcome.PASS, "All 3 nodes can be drained")
    assert verdict.evidence["evicted"] == {"cp1": 0, "w1": 3, "w2": 2}


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(
            {"current_healthy": 3, "desired_healthy": 3, "expected_pods": 3}, id="minAvailable = replicas"
        ),
        pytest.param(
            {"current_healthy": 1, "desired_healthy": 2, "expected_pods": 1}, id="more than there are"
        ),
    ],
)
def test_a_budget_that_never_allows_a_disruption_blocks(numbers: dict[str, int]) -> None:
    owned = replace(
        ON_W1, controller="ReplicaSet/web-7d9c", labels={"app": "web", "pod-template-hash": "7d9c"}
    )
    verdict = check([owned, pod("web-2", node="w2")], [budget(disruptions_allowed=0, **numbers)])
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "PDB_DEADLOCK")
    assert "w1, w2 cannot be drained: budget default/web can never allow a disruption" in verdict.message
    assert "Deployment default/web" in verdict.message
    assert "default/web-1" in verdict.message
    assert "kubectl -n default edit pdb web" in verdict.resolution
    assert len(findings(verdict)) == 1  # once for the budget, not once for each pod


def test_two_budgets_over_one_pod_block() -> None:
    verdict = check([ON_W1], [budget(), budget("web-again")])
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "PDB_OVERLAP")
    assert "default/web, default/web-again" in verdict.message
    assert check([ON_W1], [budget(), budget("other", namespace="elsewhere")]).outcome is Outcome.PASS


def test_a_budget_that_allows_none_at_this_moment_warns() -> None:
    now = budget(disruptions_allowed=0, current_healthy=2, desired_healthy=2, expected_pods=3)
    verdict = check([ON_W1], [now])
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "PDB_TIGHT")
    assert "2 healthy, 2 required of 3" in verdict.message
    fresh = budget(
        disruptions_allowed=0, current_healthy=0, desired_healthy=0, expected_pods=0, is_computed=False
    )
    assert check([ON_W1], [fresh]).code == "PDB_TIGHT"
    assert check([ON_W1], [replace(fresh, is_computed=True)]).code == "PDB_DEADLOCK"


def test_a_budget_that_nobody_can_count_blocks() -> None:
    """Its observedGeneration never comes, and the eviction API answers 429 for ever."""
    error = "jobs.batch does not implement the scale subresource"
    stuck = budget(disruptions_allowed=0, is_computed=False, sync_error=error)
    verdict = check([ON_W1], [stuck])
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "PDB_DEADLOCK")
    assert error in verdict.message
    assert "kubectl -n default describe pdb web" in verdict.resolution


def test_a_budget_without_a_selector_is_unused() -> None:
    verdict = check([ON_W1], [budget(disruptions_allowed=0, current_healthy=2, selector=None)])
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["unused_budgets"] == ["default/web"]


def test_a_pod_that_is_not_ready_goes_when_the_api_lets_it() -> None:
    sick = replace(ON_W1, is_ready=False)
    never = budget(disruptions_allowed=0, current_healthy=0, desired_healthy=1, expected_pods=1)
    assert check([sick], [never]).code == "PDB_DEADLOCK"
    assert check([sick], [replace(never, always_evicts_unready=True)]).outcome is Outcome.PASS
    enough = replace(never, current_healthy=1)
    assert check([sick], [enough]).outcome is Outcome.PASS  # IfHealthyBudget: the others are enough
    assert check([ON_W1], [enough]).code == "PDB_DEADLOCK"


def test_a_bare_pod_blocks_unless_somebody_gave_it_up() -> None:
    bare = replace(ON_W1, controller=None, controller_kind=None)
    verdict = check([bare])
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "POD_UNREPLICATED")
    assert "w1 cannot be drained: default/web-1 has no controller" in verdict.message
    assert check([replace(bare, annotations={"nightshift.io/evict": "true"})]).outcome is Outcome.PASS
    assert check([bare], drain=DrainPolicy(evict_unreplicated=True)).outcome is Outcome.PASS


def test_local_data_blocks_when_the_policy_protects_it() -> None:
    local = replace(ON_W1, has_emptydir=True)
    assert check([local]).outcome is Outcome.PASS
    protected = check([local], drain=DrainPolicy(delete_emptydir_data=False))
    assert (protected.outcome, protected.code) == (Outcome.BLOCK, "POD_LOCAL_DATA")


@pytest.mark.parametrize(
    ("placement", "volumes", "why"),
    [
        pytest.param(
            Placement(selector=((HOST, "w1"),)), {}, "nodeSelector kubernetes.io/hostname=w1", id="selector"
        ),
        pytest.param(
            Placement(terms=((Requirement(HOST, "In", ("w1",)),),)), {}, "node affinity", id="affinity"
        ),
        pytest.param(
            Placement(terms=((Requirement("metadata.name", "In", ("w1",), is_field=True),),)),
            {},
            "affinity",
            id="field",
        ),
        pytest.param(
            Placement(claims=("default/data",)),
            {"default/data": VolumeFacts("pv1", ((Requirement(HOST, "In", ("w1",)),),))},
            "volume pv1 of claim default/data",
            id="local volume",
        ),
        pytest.param(
            Placement(apart=(Mates(HOST, (Requirement("app", "In", ("web",)),)),)),
            {},
            "anti-affinity",
            id="apart",
        ),
    ],
)
def test_a_pod_that_only_its_node_may_run_warns(
    placement: Placement, volumes: dict[str, VolumeFacts], why: str
) -> None:
    verdict = check([replace(ON_W1, placement=placement), pod("web-2", node="w2")], volumes=volumes)
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "POD_PINNED")
    assert "ReplicaSet default/web will be down while w1 is upgraded: default/web-1" in verdict.message
    assert why in verdict.message


@pytest.mark.parametrize(
    ("placement", "nodes"),
    [
        pytest.param(Placement(selector=((HOST, "w1"),)), ("w2",), id="another node is drained"),
        pytest.param(Placement(terms=((Requirement(HOST, "NotIn", ("w1",)),),)), ("w1",), id="not in"),
        pytest.param(Placement(claims=("default/data",)), ("w1",), id="volume everywhere"),
        pytest.param(
            Placement(apart=(Mates("zone", (Requirement("app", "Exists"),)),)), ("w1",), id="no such domain"
        ),
    ],
)
def test_a_pod_that_may_run_elsewhere_passes(placement: Placement, nodes: tuple[str, ...]) -> None:
    other = {"default/data": VolumeFacts("pv1", ())}
    verdict = check([replace(ON_W1, placement=placement)], volumes=other, ahead=nodes)
    assert verdict.outcome is Outcome.PASS


def test_a_volume_that_is_not_found_is_not_one_that_can_be_reached_from_everywhere() -> None:
    claims = Placement(claims=("default/data", "default/files"))
    uses = replace(ON_W1, placement=claims)
    files = {"default/files": VolumeFacts("pv2", ())}
    verdict = check([uses], volumes=files, ahead=("w1",))
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "VOLUME_UNKNOWN")
    assert "default/web-1 can run elsewhere while w1 is drained is not known" in verdict.message
    assert "found for default/data." in verdict.message
    assert check([uses], volumes=files, ahead=("w2",)).outcome is Outcome.PASS
    for stays in ({"phase": "Succeeded"}, {"is_terminating": True}, {"is_mirror": True}):
        assert check([replace(uses, **stays)], ahead=("w1",)).outcome is Outcome.PASS, stays


WEB = (Requirement("app", "In", ("web",)),)
DB = (Requirement("app", "In", ("db",)),)
EVEN = Spread(HOST, WEB, 1)


@pytest.mark.parametrize(
    ("rules", "theirs", "why"),
    [
        pytest.param(
            Placement(ports=(HostPort(8080, "TCP"),)),
            Placement(ports=(HostPort(8080, "TCP", "10.0.0.9"),)),
            "host port 8080",
            id="port",
        ),
        pytest.param(
            Placement(ports=(HostPort(8080, "TCP"),)),
            Placement(ports=(HostPort(8080, "UDP"),)),
            "",
            id="port of another protocol",
        ),
        pytest.param(
            Placement(ports=(HostPort(53, "UDP", "10.0.0.1"),)),
            Placement(ports=(HostPort(53, "UDP", "10.0.0.2"),)),
            "",
            id="port of another address",
        ),
        # The drained node counts as the emptiest: one more on w2 would be two more than it has.
        pytest.param(Placement(spreads=(EVEN,)), Placement(), f"topology spread over {HOST}", id="spread"),
        pytest.param(Placement(spreads=(replace(EVEN, max_skew=2),)), Placement(), "", id="wide spread"),
        pytest.param(
            Placement(spreads=(replace(EVEN, honors_taints=True),)),
            Placement(),
            "",
            id="spread, cordons left out",
        ),
        pytest.param(
            Placement(spreads=(replace(EVEN, selector=DB),)), Placement(), "", id="spread of others"
        ),
        pytest.param(
            Placement(spreads=(replace(EVEN, honors_taints=True, min_domains=2),)),
            Placement(),
            "topology spread",
            id="too few domains",
        ),
        pytest.param(
            Placement(spreads=(replace(EVEN, topology_key="rack"),)),
            Placement(),
            "topology spread",
            id="no such label",
        ),
        pytest.param(
            Placement(together=(Mates(HOST, WEB),)), Placement(), "", id="together, one is elsewhere"
        ),
        pytest.param(
            Placement(together=(Mates(HOST, DB),)), Placement(), "", id="together, nobody is elsewhere"
        ),
    ],
)
def test_what_other_pods_allow(rules: Placement, theirs: Placement, why: str) -> None:
    pods = [replace(ON_W1, placement=rules), pod("web-2", node="w2", placement=theirs)]
    verdict = check(pods, ahead=("w1",))
    assert verdict.code == ("POD_PINNED" if why else "OK"), verdict.message
    assert why in verdict.message


def test_a_pod_that_must_be_beside_one_where_it_may_not_be_is_pinned() -> None:
    """`db` is on the control plane, which `web` does not tolerate, and on its own node, which is drained."""
    rules = Placement(together=(Mates(HOST, DB),))
    pods = [
        replace(ON_W1, placement=rules),
        pod("db-1", node="w1", labels={"app": "db"}),
        pod("db-2", node="cp1", labels={"app": "db"}),
    ]
    verdict = check(pods, ahead=("w1",))
    assert verdict.code == "POD_PINNED"
    assert "its affinity to other pods" in verdict.message


def test_a_finished_pod_is_in_nobodys_way() -> None:
    rules = Placement(ports=(HostPort(8080, "TCP"),))
    over = pod("web-2", node="w2", placement=rules, phase="Succeeded")
    assert check([replace(ON_W1, placement=rules), over], ahead=("w1",)).outcome is Outcome.PASS


def test_a_spread_does_not_count_a_pod_that_is_going() -> None:
    rules = Placement(spreads=(EVEN,))
    going = pod("web-2", node="w2", is_terminating=True)
    assert check([replace(ON_W1, placement=rules), going], ahead=("w1",)).outcome is Outcome.PASS


def test_a_pod_does_not_keep_itself_out_of_its_own_zone() -> None:
    zones = {"w1": "a", "w2": "b", "w3": "a"}
    nodes = [replace(place(name), labels={HOST: name, "zone": zone}) for name, zone in zones.items()]
    rules = Placement(apart=(Mates("zone", (Requirement("app", "In", ("web",)),)),))
    pods = [replace(ON_W1, placement=rules), pod("web-2", node="w2", placement=rules)]
    assert check(pods, nodes=nodes, ahead=("w1",)).outcome is Outcome.PASS
    assert check(pods, nodes=nodes, ahead=("w2",)).code == "POD_PINNED"  # no other node in zone b


def test_a_taint_that_is_for_others_counts_and_the_state_of_a_node_does_not() -> None:
    """Cordons and not-ready taints pass; that there is no room meanwhile is the gate capacity's."""
    cordoned = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    away = replace(place("w2", is_unschedulable=True), taints=(cordoned,))
    assert check([ON_W1], nodes=[place("cp1"), place("w1"), away]).outcome is Outcome.PASS
    alone = check([ON_W1], nodes=[place("cp1"), place("w1")])
    assert alone.code == "POD_PINNED"
    assert "taint node-role.kubernetes.io/control-plane of cp1" in alone.message
    tolerant = replace(
        ON_W1, placement=Placement(tolerations=(Toleration(CONTROL_PLANE.key, "Exists", "", ""),))
    )
    assert check([tolerant], nodes=[place("cp1"), place("w1")]).outcome is Outcome.PASS


def test_pinned_pods_that_use_up_their_budget_block() -> None:
    """The first goes and stays Pending, the second may not go before it is back: the drain would never end."""
    two = [pinned("db-0"), pinned("db-1")]
    verdict = check(two, [budget(disruptions_allowed=1)])
    assert findings(verdict) == [("block", "PDB_PINNED"), ("warn", "POD_PINNED")]
    assert "w1 cannot be drained: 2 pods of budget default/web may run on no other node" in verdict.message
    assert check(two, [budget(disruptions_allowed=2)]).code == "POD_PINNED"
    assert check(two[:1], [budget(disruptions_allowed=1)]).code == "POD_PINNED"


def test_a_pod_that_nobody_starts_again_needs_no_other_node() -> None:
    gone = {"nightshift.io/evict": "true"}
    assert check([pinned(controller=None, controller_kind=None, annotations=gone)]).outcome is Outcome.PASS
    assert check([pinned(is_terminating=True)]).outcome is Outcome.PASS


def test_a_budget_without_pods_is_only_written_down() -> None:
    verdict = check([ON_W1], [budget(), budget("unused", selector={"matchLabels": {"app": "gone"}})])
    assert (verdict.outcome, verdict.evidence["unused_budgets"]) == (Outcome.PASS, ["default/unused"])


def test_only_the_nodes_ahead_are_drained() -> None:
    bare = replace(ON_W1, controller=None, controller_kind=None)
    assert check([bare], ahead=("w2",)).outcome is Outcome.PASS
    assert check([bare], ahead=("w1",)).outcome is Outcome.BLOCK
    facts: dict[str, Any] = {"nodes": NODE_LIST, "pods": (bare,), "budgets": (), "volumes": {}}
    for behind, outcome in ((("w2",), Outcome.PASS), (("w1",), Outcome.BLOCK)):
        target = TargetChoice(TargetKind.MINOR, "s", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", behind)
        policy = ClusterPolicy("lab", "k", "s", "file:///s")
        assert drainability.check(round_of(**facts, target=target), policy).outcome is outcome


def test_many_pods_are_not_all_named() -> None:
    verdict = check([replace(ON_W1, name=f"p{n}", controller=None, controller_kind=None) for n in range(9)])
    assert "default/p4 and 4 more" in verdict.message


def test_the_gate_blocks_exactly_when_the_drain_would_refuse() -> None:
    """Both ask `plan_drain`; every kind of obstacle that it names must be known to the gate."""
    bare = replace(ON_W1, controller=None, controller_kind=None)
    for pods, budgets in (
        ([bare], []),
        ([ON_W1], [budget(), budget("b")]),
        ([ON_W1], [budget(disruptions_allowed=0, current_healthy=2, desired_healthy=2, expected_pods=2)]),
        ([ON_W1], [budget()]),
    ):
        plan: DrainPlan = plan_drain(pods, budgets, DrainPolicy())
        assert (check(pods, budgets).outcome is Outcome.BLOCK) == bool(plan.blockers)
