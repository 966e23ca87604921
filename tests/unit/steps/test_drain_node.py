import pytest
from tests.fakes.cluster import FakeCluster
from tests.unit.domain.diagnosis_bundles import DRIVER, healthy
from tests.unit.domain.test_diagnosis_causes import judge

from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.domain.errors import DrainBlockedError, LeaseHeldError
from nightshift.domain.facts import BudgetFacts, LeaseFacts
from nightshift.steps.drain_node import drain_node
from nightshift.steps.session import Session
from nightshift.steps.uncordon_node import uncordon_node

_BUDGET = Eviction(
    EvictionOutcome.BUDGET_BLOCKED, "The disruption budget web needs 2 healthy pods and has 2 currently"
)


def test_cordons_evicts_and_waits_until_the_pods_are_gone(cluster: FakeCluster, session: Session) -> None:
    cluster.add_pod("w1", "web-1")
    cluster.add_pod("w1", "agent", controller_kind="DaemonSet", controller="DaemonSet/agent")
    done = drain_node(session, "w1")
    assert done["evicted"] == ["shop/web-1"]
    assert done["skipped"] == ["shop/agent"]
    assert done["cordoned_by_us"]
    assert cluster.nodes["w1"].is_unschedulable
    assert cluster.nodes["w1"].annotations["nightshift.io/owner"] == session.owner
    assert [p.name for p in session.kube.pods_on("w1")] == ["agent"]


def test_a_budget_that_frees_up_is_waited_for(cluster: FakeCluster, session: Session) -> None:
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = [_BUDGET, _BUDGET]
    assert drain_node(session, "w1")["evicted"] == ["shop/web-1"]
    assert "shop/web-1 cannot go yet: The disruption budget web needs 2" in cluster.log


def test_a_budget_that_never_frees_up_is_named_and_nothing_is_forced(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = [_BUDGET] * 10_000
    with pytest.raises(DrainBlockedError, match=r"within 600 s: shop/web-1 \(The disruption budget web"):
        drain_node(session, "w1")
    assert cluster.pods["w1"]


@pytest.mark.parametrize(
    ("answers", "cause"), [([_BUDGET] * 10_000, "pdb_deadlock"), ([], "pod_stays")], ids=["budget", "no end"]
)
def test_the_report_names_what_kept_the_drain(
    cluster: FakeCluster, session: Session, answers: list[Eviction], cause: str
) -> None:
    cluster.pod_seconds = 10_000
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = answers
    with pytest.raises(DrainBlockedError) as caught:
        drain_node(session, "w1")
    found = judge({**healthy(), DRIVER: f"{caught.value}\n"})
    assert found.first is not None, found.sentence
    assert found.first.cause.name == cause


def test_a_structural_deadlock_is_refused_before_anything_is_touched(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.add_pod("w1", "web-1", labels={"app": "web"})
    cluster.budgets = [BudgetFacts("shop", "web", {"matchLabels": {"app": "web"}}, 0, 2, 2, 2)]
    with pytest.raises(DrainBlockedError, match="shop/web"):
        drain_node(session, "w1")
    assert not cluster.nodes["w1"].is_unschedulable
    assert not [c for c in cluster.api_calls if c.startswith("evict")]


def test_a_permanent_no_ends_the_drain_at_once(cluster: FakeCluster, session: Session) -> None:
    cluster.add_pod("w1", "web-1")
    cluster.eviction_answers["web-1"] = [
        Eviction(EvictionOutcome.REFUSED, "more than one PodDisruptionBudget")
    ]
    with pytest.raises(DrainBlockedError, match="at all: shop/web-1"):
        drain_node(session, "w1")


def test_survives_an_api_that_goes_away_in_the_middle(cluster: FakeCluster, session: Session) -> None:
    cluster.add_pod("w1", "web-1")
    evict = session.kube.evict

    def away_once(namespace: str, name: str, uid: str) -> Eviction:
        if cluster.api_away_until == 0:
            cluster.api_away_until = cluster.now + 20
        return evict(namespace, name, uid)

    session.kube.evict = away_once  # type: ignore[method-assign]
    assert drain_node(session, "w1")["evicted"] == ["shop/web-1"]


def test_a_foreign_cordon_is_never_taken_and_never_lifted(cluster: FakeCluster, session: Session) -> None:
    from dataclasses import replace

    cluster.nodes["w1"] = replace(cluster.nodes["w1"], is_unschedulable=True)
    assert drain_node(session, "w1")["cordoned_by_us"] is False
    lifted = uncordon_node(session, "w1")
    assert lifted["uncordoned"] is False
    assert cluster.nodes["w1"].is_unschedulable
    assert "stays cordoned" in lifted["sentence"]


def test_a_cordon_that_a_person_made_over_our_mark_is_told_before_the_drain(
    cluster: FakeCluster, session: Session
) -> None:
    from dataclasses import replace

    session.kube.cordon("w1", session.owner, 1)
    cluster.nodes["w1"] = replace(cluster.nodes["w1"], cordoned_by="kubectl")
    assert drain_node(session, "w1")["cordoned_by_us"] is False
    assert "w1 was cordoned by somebody else before; it will be left cordoned" in cluster.log
    assert uncordon_node(session, "w1")["uncordoned"] is False


def test_drain_and_uncordon_again_change_nothing(cluster: FakeCluster, session: Session) -> None:
    cluster.add_pod("w1", "web-1")
    drain_node(session, "w1")
    assert drain_node(session, "w1")["evicted"] == []
    assert uncordon_node(session, "w1")["uncordoned"] is True
    assert uncordon_node(session, "w1")["uncordoned"] is False
    assert cluster.nodes["w1"].annotations == {}
    assert not cluster.nodes["w1"].is_unschedulable


def test_does_nothing_while_somebody_else_holds_the_cluster(cluster: FakeCluster, session: Session) -> None:
    cluster.lease = LeaseFacts("run-9", 9, cluster.now, cluster.now, 120)
    with pytest.raises(LeaseHeldError):
        drain_node(session, "w1")
    assert not cluster.nodes["w1"].is_unschedulable
