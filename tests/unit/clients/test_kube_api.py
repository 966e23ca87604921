from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration
from tests.fakes.api_server import CUT, ApiState, serve
from tests.fakes.cluster import FakeCluster, FakeKube

from nightshift.clients.kube_api import (
    Eviction,
    EvictionOutcome,
    KubeApi,
    workload_permissions,
)
from nightshift.clients.kube_objects import image_version, micro_time, parse_time
from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.domain.debts import Debt, DebtKind, quiesce_debt
from nightshift.domain.errors import BlindError, ConfigError, FencedError, UnreachableError
from nightshift.domain.facts import LeaseFacts, WorkloadName
from nightshift.domain.takeover import fence
from nightshift.steps.session import KubePort

NOW = 1_800_000_000.0
NODE = "/api/v1/nodes/n1"
NAMESPACE = "/api/v1/namespaces/nightshift"
WEB, QUEUE, BACKUP = (
    WorkloadName(kind, "shop", name)
    for kind, name in (("Deployment", "web"), ("StatefulSet", "queue"), ("CronJob", "backup"))
)
BACKUP_PATH = "/apis/batch/v1/namespaces/shop/cronjobs/backup"
DEBTS = f"{NAMESPACE}/configmaps/nightshift-debts"
EVICTION = ("POST", "/api/v1/namespaces/shop/pods/p1/eviction")


@pytest.fixture
def state() -> ApiState:
    state = ApiState()
    state.put(NAMESPACE, {"metadata": {"name": "nightshift"}})
    state.add_node("n1")
    state.add_scale("deployments", "web", 3)
    state.add_scale("statefulsets", "queue", 0)
    state.put(
        BACKUP_PATH, {"metadata": {"name": "backup", "uid": "uid-backup"}, "spec": {"schedule": "@daily"}}
    )
    return state


@pytest.fixture
def api(state: ApiState) -> Iterator[KubeApi]:
    with serve(state) as address:
        yield KubeApi(ApiClient(Configuration(host=address)))


@pytest.fixture(params=["real", "fake"])
def kube(request: pytest.FixtureRequest) -> KubePort:
    """The same behaviour of the client (over the small API server) and of the fake all step tests lean on."""
    if request.param == "real":
        real: KubePort = request.getfixturevalue("api")
        return real
    cluster = FakeCluster(0, 0)
    cluster.nodes["n1"] = FakeCluster(1, 0).nodes["cp1"]
    cluster.add_workload("Deployment", "web", 3)
    cluster.add_workload("StatefulSet", "queue", 0)
    cluster.add_workload("CronJob", "backup", False)
    return FakeKube(cluster)


@pytest.fixture
def by_hand(request: pytest.FixtureRequest, kube: KubePort) -> Callable[[bool], None]:
    """A person cordons n1, or uncordons it, with kubectl."""
    if isinstance(kube, FakeKube):
        nodes = kube._c.nodes

        def write(is_cordoned: bool) -> None:
            by = "kubectl" if is_cordoned else ""
            nodes["n1"] = replace(nodes["n1"], is_unschedulable=is_cordoned, cordoned_by=by)

        return write
    state: ApiState = request.getfixturevalue("state")
    return lambda is_cordoned: state.patch_as("kubectl", NODE, {"unschedulable": is_cordoned or None})


# -- questions -------------------------------------------------------------------------------------------

THINGS = "/apis/example.org/v1/things"


def names(reader: ApiReader) -> tuple[str, ...]:
    return tuple(item["metadata"]["name"] for item in reader.list(THINGS))


def page(*found: str, rest: str = "") -> dict[str, Any]:
    return {"metadata": {"continue": rest}, "items": [{"metadata": {"name": name}} for name in found]}


def test_a_list_is_read_page_by_page_and_only_as_far_as_it_is_wanted(state: ApiState, api: KubeApi) -> None:
    state.answers["GET", THINGS] = [(200, page("a", "b", rest="more")), (200, page("c"))]
    assert api.ask(ApiQuestion(names)) == ("a", "b", "c")
    first, second = (query for query in state.queries if query)
    assert first == {"limit": ["500"]}
    assert second == {"limit": ["500"], "continue": ["more"]}
    state.answers["GET", THINGS] = [(200, page("a", "b", rest="more"))]
    assert api.ask(ApiQuestion(lambda reader: next(reader.list(THINGS))["metadata"]["name"])) == "a"


def test_a_selector_travels_with_every_page(state: ApiState, api: KubeApi) -> None:
    state.answers["GET", THINGS] = [(200, page("a", rest="more")), (200, page("b"))]
    selected = f"{THINGS}?labelSelector=tier%3Dcontrol-plane"
    assert len(api.ask(ApiQuestion(lambda reader: list(reader.list(selected))))) == 2
    first, second = (query for query in state.queries if query)
    assert first == {"labelSelector": ["tier=control-plane"], "limit": ["500"]}
    assert second == {**first, "continue": ["more"]}


def test_a_resource_the_server_does_not_know_has_no_items(state: ApiState, api: KubeApi) -> None:
    state.answers["GET", THINGS] = [(404, "page not found")]
    assert api.ask(ApiQuestion(names)) == ()


def test_a_list_whose_rest_is_gone_is_not_taken_for_the_whole(state: ApiState, api: KubeApi) -> None:
    state.answers["GET", THINGS] = [(200, page("a", rest="more")), (404, "gone")]
    with pytest.raises(ConfigError, match="API_REFUSED"):
        api.ask(ApiQuestion(names))


def test_an_object_that_does_not_exist_is_none(state: ApiState, api: KubeApi) -> None:
    assert api.ask(ApiQuestion(lambda reader: reader.get("/api/v1/nodes/none"))) is None
    found = api.ask(ApiQuestion(lambda reader: reader.get(NODE)))
    assert found is not None
    assert found["metadata"]["name"] == "n1"


@pytest.mark.parametrize("answer", [{"items": [{}]}, {"items": ["odd"]}, {"items": [{"metadata": None}]}])
def test_an_answer_of_another_shape_is_blind(state: ApiState, api: KubeApi, answer: dict[str, Any]) -> None:
    state.answers["GET", THINGS] = [(200, answer)]
    with pytest.raises(BlindError, match="API_ANSWER_UNKNOWN"):
        api.ask(ApiQuestion(names))


def test_an_api_that_does_not_answer_a_question_is_unreachable(state: ApiState, api: KubeApi) -> None:
    state.answers["GET", THINGS] = [(503, "starting")]
    with pytest.raises(UnreachableError, match="API_UNREACHABLE"):
        api.ask(ApiQuestion(names))


# -- the same for both -----------------------------------------------------------------------------------


def test_the_brake_is_written_as_a_whole_and_taken_away(kube: KubePort) -> None:
    assert kube.brake() == {}
    kube.set_brake(None)
    kube.set_brake({"paused": "true", "reason": "anna", "until": "2027-01-15T06:00:00+00:00"})
    kube.set_brake({"paused": "true", "reason": "bert"})
    assert kube.brake() == {"paused": "true", "reason": "bert"}
    kube.set_brake(None)
    assert kube.brake() == {}


def test_the_lease_is_claimed_by_one_and_its_token_only_grows(kube: KubePort) -> None:
    free = kube.lease()
    assert (free.holder, free.token) == ("", 0)
    claimed = kube.claim_lease("a", NOW, 120, free)
    assert claimed == LeaseFacts("a", 1, NOW, NOW, 120) == kube.lease()
    assert kube.claim_lease("b", NOW, 120, free) is None
    assert kube.renew_lease("a", 1, NOW + 5)
    assert kube.lease().renewed == NOW + 5
    assert not kube.renew_lease("a", 2, NOW)
    assert not kube.renew_lease("b", 1, NOW)


def test_a_bump_keeps_the_holder_and_fences_its_token(kube: KubePort) -> None:
    seen = kube.claim_lease("a", NOW, 120, kube.lease())
    assert seen is not None
    bumped = kube.bump_token(seen)
    assert bumped is not None
    assert (bumped.holder, bumped.token) == ("a", 2)
    assert kube.bump_token(seen) is None
    assert not kube.renew_lease("a", 1, NOW)
    assert not kube.release_lease("a", 1)


def test_a_bump_goes_as_far_as_wanted_and_never_back(kube: KubePort) -> None:
    seen = kube.claim_lease("a", NOW, 120, kube.lease())
    assert seen is not None
    far = kube.bump_token(seen, 18)
    assert far is not None
    assert far.token == 18
    again = kube.bump_token(far, 3)
    assert again is not None
    assert again.token == 19


@pytest.fixture
def fenced(kube: KubePort) -> LeaseFacts:
    """The Lease after a recovery took it from "a"."""
    seen = kube.claim_lease("a", NOW, 120, kube.lease())
    assert seen is not None
    taken = kube.fence_lease(seen, fence(seen, None, "b", NOW + 5.25, 60))
    assert taken is not None
    return taken


def test_a_fence_takes_the_lease_from_its_holder_and_is_remembered(
    kube: KubePort, fenced: LeaseFacts
) -> None:
    assert (
        fenced == LeaseFacts("a (recovery)", 2, NOW + 5.25, NOW + 5.25, 60, "a", NOW + 5.25) == kube.lease()
    )
    assert not kube.renew_lease("a", 1, NOW + 6)
    assert not kube.renew_lease("a", 2, NOW + 6)
    assert not kube.release_lease("a", 2)
    assert kube.renew_lease("a (recovery)", 2, NOW + 6)


def test_of_two_fences_one_is_first(kube: KubePort, fenced: LeaseFacts) -> None:
    again = fence(fenced, None, "b", NOW + 7, 60)
    assert kube.fence_lease(fenced, again) == again
    assert kube.fence_lease(fenced, again) is None
    assert not kube.renew_lease("a (recovery)", 2, NOW + 8)


def test_a_lease_that_does_not_exist_yet_is_fenced_too(kube: KubePort) -> None:
    seen = kube.lease()
    wanted = fence(seen, "a", "b", NOW, 60)
    assert kube.fence_lease(seen, wanted) == wanted == kube.lease()


def test_whom_a_fence_hit_outlives_release_and_the_next_claim(kube: KubePort, fenced: LeaseFacts) -> None:
    assert kube.release_lease("a (recovery)", 2)
    free = kube.lease()
    assert (free.holder, free.fenced_owner, free.fenced_at) == ("", "a", NOW + 5.25)
    claimed = kube.claim_lease("c", NOW + 9, 120, free)
    assert claimed == LeaseFacts("c", 3, NOW + 9, NOW + 9, 120, "a", NOW + 5.25) == kube.lease()


def test_an_abandoned_lease_is_nobodys_and_keeps_its_holder_and_token(
    kube: KubePort, fenced: LeaseFacts
) -> None:
    assert not kube.abandon_lease("a", 2)
    assert not kube.abandon_lease("a (recovery)", 1)
    assert kube.abandon_lease("a (recovery)", 2)
    after = kube.lease()
    assert (after.holder, after.token, after.fenced_owner) == ("a (recovery)", 2, "a")
    assert not after.is_live(NOW + 5.25)
    assert kube.claim_lease("c", NOW, 120, after) is not None


def test_release_empties_the_holder_and_keeps_the_token(kube: KubePort) -> None:
    kube.claim_lease("a", NOW, 120, kube.lease())
    assert kube.release_lease("a", 1)
    after = kube.lease()
    assert (after.holder, after.token, after.renewed) == ("", 1, None)
    again = kube.claim_lease("b", NOW, 120, after)
    assert again is not None
    assert again.token == 2


def test_cordon_marks_and_uncordon_forgets(kube: KubePort) -> None:
    assert kube.cordon("n1", "a", 3)
    node = kube.node("n1")
    assert node is not None
    assert node.is_unschedulable
    assert node.annotations == {"nightshift.io/owner": "a", "nightshift.io/token": "3"}
    assert kube.cordon("n1", "b", 4), "a mark of an earlier run is taken over"
    assert not kube.uncordon("n1", "a")
    assert not kube.uncordon("n1", "b", "3"), "the mark of an earlier claim"
    assert kube.uncordon("n1", "b", "4")
    after = kube.node("n1")
    assert after is not None
    assert not after.is_unschedulable
    assert after.annotations == {}
    assert not kube.uncordon("n1")


def test_a_lease_that_is_ours_and_always_changed_is_not_lost(state: ApiState, api: KubeApi) -> None:
    """Many tasks of a wave renew it at once: none of them may take the Lease for another's."""
    assert api.claim_lease("a", NOW, 120, api.lease()) is not None
    path = "/apis/coordination.k8s.io/v1/namespaces/nightshift/leases/nightshift"
    state.answers["PUT", path] = [(409, {"message": "modified"})] * 7
    assert api.renew_lease("a", 1, NOW + 5)
    state.answers["PUT", path] = [(409, {"message": "modified"})] * 50
    with pytest.raises(UnreachableError, match="The Lease changed under each of 8 attempts"):
        api.renew_lease("a", 1, NOW + 6)


def test_the_mark_of_a_newer_run_is_not_taken_over(kube: KubePort) -> None:
    """A run that stood still between its claim and its cordon, and was fenced meanwhile."""
    kube.cordon("n1", "b", 6)
    with pytest.raises(FencedError, match=r"RUN_FENCED.* mark of b with token 6"):
        kube.cordon("n1", "a", 5)
    after = kube.node("n1")
    assert after is not None
    assert (after.annotations["nightshift.io/owner"], after.is_unschedulable) == ("b", True)


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_a_cordon_a_person_made_since_ours_stays_and_only_the_mark_goes(
    kube: KubePort, by_hand: Callable[[bool], None], is_taken_over: bool
) -> None:
    """Uncordoned by hand the node keeps our mark; then it is cordoned for work that is not ours."""
    kube.cordon("n1", "a", 3)
    by_hand(False)
    by_hand(True)
    if is_taken_over:  # a mark that is written anew does not make the cordon ours
        assert kube.cordon("n1", "a", 4) is False
    assert not kube.uncordon("n1", "a")
    after = kube.node("n1")
    assert after is not None
    assert (after.is_unschedulable, after.cordoned_by, after.annotations) == (True, "kubectl", {})


def test_a_node_that_lost_our_cordon_and_was_cordoned_by_us_again_is_given_back(
    kube: KubePort, by_hand: Callable[[bool], None]
) -> None:
    kube.cordon("n1", "a", 3)
    by_hand(False)
    kube.cordon("n1", "a", 3)
    assert kube.uncordon("n1", "a")
    after = kube.node("n1")
    assert after is not None
    assert (after.is_unschedulable, after.cordoned_by) == (False, "")


def test_only_the_marks_that_were_seen_are_dropped(kube: KubePort) -> None:
    kube.cordon("n1", "a", 3)
    kube.cordon("n1", "b", 4)
    for owner, token in (("a", "3"), ("b", "3"), ("a", "4"), ("b", None), (None, "4"), (None, None)):
        assert not kube.drop_node_annotations("n1", owner, token)
    node = kube.node("n1")
    assert node is not None
    assert node.annotations == {"nightshift.io/owner": "b", "nightshift.io/token": "4"}
    assert kube.drop_node_annotations("n1", "b", "4")
    after = kube.node("n1")
    assert after is not None
    assert (after.annotations, after.is_unschedulable) == ({}, True)
    assert not kube.drop_node_annotations("n1", None, None)


@pytest.mark.parametrize(("owner", "token"), [("", None), (None, ""), ("", "")])
def test_a_mark_without_a_name_in_it_is_dropped_all_the_same(
    kube: KubePort, owner: str | None, token: str | None
) -> None:
    """An empty one is a mark: nothing else would ever take it away."""
    kube.annotate_node("n1", {"nightshift.io/owner": owner, "nightshift.io/token": token})
    assert kube.drop_node_annotations("n1", owner, token)
    node = kube.node("n1")
    assert node is not None
    assert node.annotations == {}


def test_annotations_of_a_node_come_and_go_and_leave_others(kube: KubePort) -> None:
    kube.cordon("n1", "a", 3)
    kube.annotate_node("n1", {"nightshift.io/quarantined": "x"})
    node = kube.node("n1")
    assert node is not None
    assert node.annotations["nightshift.io/quarantined"] == "x"
    assert kube.uncordon("n1", "a")
    after = kube.node("n1")
    assert after is not None
    assert after.annotations == {"nightshift.io/quarantined": "x"}
    kube.annotate_node("n1", {"nightshift.io/quarantined": None})
    last = kube.node("n1")
    assert last is not None
    assert last.annotations == {}


def test_namespace_marks(kube: KubePort) -> None:
    kube.set_namespace_annotations({"nightshift.io/run-id": "a"})
    assert kube.namespace_annotations() == {"nightshift.io/run-id": "a"}
    kube.set_namespace_annotations({"nightshift.io/run-id": None})
    assert kube.namespace_annotations() == {}


@pytest.mark.parametrize(("name", "before", "quiet"), [(WEB, 3, 0), (QUEUE, 0, 2), (BACKUP, False, True)])
def test_a_workload_is_set_once_and_not_over_somebody_elses_change(
    kube: KubePort, name: WorkloadName, before: int | bool, quiet: int | bool
) -> None:
    found = kube.workload(name)
    assert found is not None
    assert (found.name, found.setting, found.uid) == (name, before, f"uid-{name.name}")
    assert kube.set_workload(found, quiet)
    now = kube.workload(name)
    assert now is not None
    assert now.setting == quiet
    assert not kube.set_workload(found, before), "it changed since it was found"
    assert kube.set_workload(now, before)
    again = kube.workload(name)
    assert again is not None
    assert (again.setting, again.uid) == (before, found.uid)


def test_a_workload_that_does_not_exist(kube: KubePort) -> None:
    found = kube.workload(WEB)
    assert found is not None
    nowhere = WorkloadName("Deployment", "shop", "nowhere")
    assert kube.workload(nowhere) is None
    assert not kube.set_workload(replace(found, name=nowhere), 0)


def _debt(kube: KubePort, name: WorkloadName) -> Debt:
    found = kube.workload(name)
    assert found is not None
    return quiesce_debt(found, "a/b/c", 3, NOW + 0.25)


def test_debts_are_recorded_and_forgotten_by_compare_and_swap(kube: KubePort) -> None:
    assert kube.debts() == ()
    web, backup = _debt(kube, WEB), _debt(kube, BACKUP)
    assert kube.record_debt(web)
    assert kube.record_debt(backup)
    assert kube.debts() == (backup, web)
    assert not kube.record_debt(replace(web, owner="x")), "somebody else's record is not written over"
    taken = replace(web, owner="x", token=4)
    assert kube.record_debt(taken, instead_of=web)
    assert not kube.forget_debt(web), "it is another's by now"
    assert kube.debts() == (backup, taken)
    assert kube.forget_debt(taken)
    assert not kube.forget_debt(taken)
    assert kube.debts() == (backup,)
    assert not kube.record_debt(taken, instead_of=web), "there is nothing to replace any more"


# -- the client only -------------------------------------------------------------------------------------


def test_nodes_are_read_with_what_an_upgrade_cares_about(api: KubeApi) -> None:
    (node,) = api.nodes()
    assert (node.name, node.address, node.kubelet_version) == ("n1", "10.0.0.1", "1.34.4")
    assert (node.is_control_plane, node.is_ready, node.pressures) == (True, True, ("DiskPressure",))
    assert api.node("n2") is None


def test_a_foreign_cordon_is_left_alone(state: ApiState, api: KubeApi) -> None:
    state.add_node("n1", unschedulable=True)
    assert api.cordon("n1", "a", 1) is False
    assert state.objects[NODE]["metadata"].get("annotations") is None
    assert api.uncordon("n1") is False


def test_cordon_and_its_mark_are_one_write(state: ApiState, api: KubeApi) -> None:
    """Killed in between, a cordon without a mark would be nobody's debt and stay for ever."""
    api.cordon("n1", "a", 3)
    (patch,) = [body for method, _, body in state.requests if method == "PATCH"]
    assert patch["spec"] == {"unschedulable": True}
    assert patch["metadata"]["annotations"] == {"nightshift.io/owner": "a", "nightshift.io/token": "3"}


def test_nodes_are_written_under_our_own_name(state: ApiState, api: KubeApi) -> None:
    """Under the client library's anybody's script would pass for us."""
    api.cordon("n1", "a", 3)
    node = api.node("n1")
    assert node is not None
    assert node.cordoned_by == "nightshift"


def test_a_cordon_survives_others_writing_the_same_node(state: ApiState, api: KubeApi) -> None:
    state.answers["PATCH", NODE] = [(409, {"message": "modified"})] * 2
    assert api.cordon("n1", "a", 1)
    assert state.objects[NODE]["spec"]["unschedulable"] is True


def test_a_node_that_never_stands_still_is_an_error(state: ApiState, api: KubeApi) -> None:
    state.answers["PATCH", NODE] = [(409, {"message": "modified"})] * 50
    with pytest.raises(UnreachableError, match="changed under each of 8"):
        api.cordon("n1", "a", 1)


def test_a_controller_is_written_through_its_scale_and_keeps_the_rest(state: ApiState, api: KubeApi) -> None:
    """The right to write a Scale is none to change what runs in the pods."""
    found = api.workload(WEB)
    assert found is not None
    api.set_workload(found, 0)
    method, path, body = state.requests[-1]
    assert (method, path) == ("PUT", "/apis/apps/v1/namespaces/shop/deployments/web/scale")
    assert (body["spec"], body["metadata"]["resourceVersion"]) == ({"replicas": 0}, found.version)
    cron = api.workload(BACKUP)
    assert cron is not None
    api.set_workload(cron, True)
    assert state.objects[BACKUP_PATH]["spec"] == {"schedule": "@daily", "suspend": True}


@pytest.mark.parametrize("name", [WEB, BACKUP])
def test_a_workload_that_changes_between_look_and_write_is_left_alone(
    state: ApiState, api: KubeApi, name: WorkloadName
) -> None:
    found = api.workload(name)
    assert found is not None
    path = state.requests[-1][1]
    state.answers["PUT", path] = state.answers["PATCH", path] = [(409, {"message": "modified"})]
    assert not api.set_workload(found, 0)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (WEB, "get deployments/scale.apps web -n shop, update deployments/scale.apps web -n shop"),
        (BACKUP, "get cronjobs.batch backup -n shop, patch cronjobs.batch backup -n shop"),
    ],
)
def test_what_making_quiet_takes(name: WorkloadName, wanted: str) -> None:
    assert ", ".join(map(str, workload_permissions(name))) == wanted


def test_a_debt_is_recorded_although_others_write_the_ledger_too(state: ApiState, api: KubeApi) -> None:
    state.put(DEBTS, {"metadata": {}, "data": {"Job.of.tomorrow": "{}"}})
    state.answers["PUT", DEBTS] = [(409, {"message": "modified"})] * 2
    debt = _debt(api, WEB)
    assert api.record_debt(debt)
    unreadable, recorded = sorted(api.debts(), key=lambda d: d.kind == DebtKind.REPLICAS)
    assert (unreadable.kind, recorded) == (DebtKind.UNREADABLE, debt)
    assert api.forget_debt(debt)
    assert state.objects[DEBTS]["data"] == {"Job.of.tomorrow": "{}"}, "what nobody understands stays"


def test_a_ledger_that_never_stands_still_is_an_error(state: ApiState, api: KubeApi) -> None:
    state.put(DEBTS, {"metadata": {}})
    state.answers["PUT", DEBTS] = [(409, {"message": "modified"})] * 50
    with pytest.raises(UnreachableError, match="changed under each of 8"):
        api.record_debt(_debt(api, WEB))


def test_pods_are_asked_for_by_node(state: ApiState, api: KubeApi) -> None:
    owner = [{"kind": "ReplicaSet", "name": "web", "controller": True}]
    state.add_pod("p1", ownerReferences=owner, labels={"app": "web"})
    state.add_pod("p2", node="n2")
    state.add_pod(
        "p3", annotations={"kubernetes.io/config.mirror": "x"}, deletionTimestamp="2026-11-22T00:00:00Z"
    )
    web, mirror = api.pods_on("n1")
    assert (web.controller, web.controller_kind, web.has_emptydir) == ("ReplicaSet/web", "ReplicaSet", True)
    assert (mirror.is_mirror, mirror.is_terminating) == (True, True)
    assert api.evictable_pod_counts() == {"n1": 1, "n2": 1}


def test_budgets(state: ApiState, api: KubeApi) -> None:
    status = {"disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}
    spec = {"selector": {"matchLabels": {"app": "web"}}}
    item = {"metadata": {"namespace": "shop", "name": "web"}, "spec": spec, "status": status}
    state.put("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web", item)
    (budget,) = api.budgets()
    assert (budget.name, budget.disruptions_allowed, budget.expected_pods) == ("web", 1, 3)
    assert budget.selector == {"matchLabels": {"app": "web"}}


def _status(code: int, text: str, **cause: str) -> tuple[int, Any]:
    return code, {"message": text, "details": {"causes": [cause] if cause else []}}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            _status(429, "no", reason="DisruptionBudget", message="web needs 2"),
            EvictionOutcome.BUDGET_BLOCKED,
        ),
        (_status(429, "busy"), EvictionOutcome.THROTTLED),
        (_status(404, "gone"), EvictionOutcome.GONE),
        (_status(409, "the UID in the precondition does not match"), EvictionOutcome.GONE),
        (_status(403, "no", reason="NamespaceTerminating"), EvictionOutcome.NAMESPACE_TERMINATING),
        (_status(403, "forbidden"), EvictionOutcome.REFUSED),
        (
            _status(500, "This pod has more than one PodDisruptionBudget, which is not supported."),
            EvictionOutcome.REFUSED,
        ),
        (_status(500, "etcdserver: request timed out"), EvictionOutcome.THROTTLED),
    ],
)
def test_each_answer_to_an_eviction_means_something_else(
    state: ApiState, api: KubeApi, answer: tuple[int, Any], outcome: EvictionOutcome
) -> None:
    state.answers[EVICTION] = [answer, answer]
    assert api.evict("shop", "p1", "uid-p1").outcome is outcome


def test_an_eviction_names_the_uid_it_means(state: ApiState, api: KubeApi) -> None:
    state.add_pod("p1")
    assert api.evict("shop", "p1", "uid-p1") == Eviction(EvictionOutcome.EVICTED)
    method, path, body = state.requests[-1]
    assert (method, path) == EVICTION
    assert body["deleteOptions"] == {"preconditions": {"uid": "uid-p1"}}


def test_what_runs(state: ApiState, api: KubeApi) -> None:
    labels = {"component": "kube-apiserver", "tier": "control-plane"}
    state.add_pod("kube-apiserver-n1", labels=labels)
    assert api.component_versions() == {"n1": {"kube-apiserver": "1.2.3"}}
    assert api.ready()
    state.answers["GET", "/readyz"] = [(500, "etcd failed")]
    assert not api.ready()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "kubernetesVersion: v1.34.4\nimageRepository: registry.k8s.io\n",
            {"kubernetesVersion": "1.34.4", "imageRepository": "registry.k8s.io"},
        ),
        ("a: [", {}),
        ("", {}),
    ],
)
def test_kubeadm_config(state: ApiState, api: KubeApi, text: str, expected: dict[str, str]) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
    state.put(path, {"data": {"ClusterConfiguration": text}})
    assert api.kubeadm_config() == expected


def test_kubeadm_config_may_be_absent(api: KubeApi) -> None:
    assert api.kubeadm_config() == {}


def test_denied_permissions_are_readable(state: ApiState, api: KubeApi) -> None:
    state.denied = {"pods", "leases"}
    wanted = [
        Permission("create", "", "pods/eviction"),
        Permission("list", "", "nodes"),
        Permission("get", "coordination.k8s.io", "leases", "nightshift", "nightshift"),
    ]
    assert api.can_i(wanted) == (
        "create pods/eviction",
        "get leases.coordination.k8s.io nightshift -n nightshift",
    )


def test_a_cluster_that_is_not_enrolled_says_so(state: ApiState, api: KubeApi) -> None:
    del state.objects[NAMESPACE]
    for call in (
        lambda: api.set_brake({"paused": "true"}),
        api.namespace_annotations,
        lambda: api.set_namespace_annotations({"nightshift.io/x": "1"}),
        lambda: api.claim_lease("a", NOW, 120, api.lease()),
        lambda: api.record_debt(_debt(api, WEB)),
    ):
        with pytest.raises(ConfigError, match=r"NAMESPACE_MISSING.*enrol"):
            call()
    state.answers["POST", f"{NAMESPACE}/serviceaccounts/kubelet-reader/token"] = [(404, {})]
    with pytest.raises(ConfigError, match="kubelet-reader"):
        api.kubelet_token()


def test_a_short_lived_token(api: KubeApi) -> None:
    assert api.kubelet_token() == "short-lived"


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, ConfigError, "API_FORBIDDEN"),
        (403, ConfigError, "API_FORBIDDEN"),
        (422, ConfigError, "API_REFUSED"),
        (429, UnreachableError, "API_UNREACHABLE"),
        (500, UnreachableError, "API_UNREACHABLE"),
        (503, UnreachableError, "API_UNREACHABLE"),
    ],
)
def test_each_refusal_is_one_error_with_cause_and_next_step(
    state: ApiState, api: KubeApi, status: int, error: type[Exception], code: str
) -> None:
    state.answers[NODES] = [(status, {"message": "because"})] * 2
    with pytest.raises(error, match=rf"\[{code}\].*GET /api/v1/nodes.*Cause: [0-9 ]*because Next step: ."):
        api.nodes()


def test_a_proxys_html_is_no_surprise(state: ApiState, api: KubeApi) -> None:
    state.answers["GET", "/api/v1/nodes"] = [(502, "<html>bad gateway</html>")]
    with pytest.raises(UnreachableError, match="bad gateway"):
        api.nodes()


def test_nobody_listening_is_said_at_once() -> None:
    with serve(ApiState()) as address:
        pass
    with pytest.raises(UnreachableError, match=r"API_UNREACHABLE.*refused"):
        KubeApi(ApiClient(Configuration(host=address))).nodes()


def test_times_have_six_digits_and_survive() -> None:
    assert micro_time(NOW) == "2027-01-15T08:00:00.000000Z"
    assert parse_time(micro_time(NOW + 0.25)) == NOW + 0.25


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.k8s.io/kube-apiserver:v1.34.4", "1.34.4"),
        ("10.0.0.2:5000/etcd:3.6.5-0", "3.6.5-0"),
        ("10.0.0.2:5000/etcd", ""),
        ("registry.k8s.io/kube-proxy:v1.34.4@sha256:abc", "1.34.4"),
    ],
)
def test_versions_are_read_from_tags(image: str, version: str) -> None:
    assert image_version(image) == version


NODES = ("GET", "/api/v1/nodes")
CUT_OFF = (CUT, None)
READY = ("GET", "/readyz")
STARTING = (500, "[-]poststarthook/rbac/bootstrap-roles failed")


@pytest.mark.parametrize("ready", [STARTING, (403, {"message": "forbidden"})])
def test_a_refusal_of_a_starting_api_server_is_no_answer(
    state: ApiState, api: KubeApi, ready: tuple[int, Any]
) -> None:
    state.answers |= {NODES: [_status(403, "User nightshift cannot list nodes")], READY: [ready]}
    with pytest.raises(UnreachableError, match="has just started"):
        api.nodes()


def test_a_refusal_that_the_api_server_got_over_meanwhile_is_asked_again(
    state: ApiState, api: KubeApi
) -> None:
    state.add_node("n1")
    state.answers[NODES] = [_status(403, "User nightshift cannot list nodes")]
    assert [node.name for node in api.nodes()] == ["n1"]


def test_an_eviction_refused_by_a_starting_api_server_is_not_final(state: ApiState, api: KubeApi) -> None:
    state.answers |= {EVICTION: [_status(403, "forbidden")], READY: [STARTING]}
    with pytest.raises(UnreachableError):
        api.evict("shop", "p1", "uid-p1")


def test_a_look_whose_connection_was_cut_is_asked_once_more(state: ApiState, api: KubeApi) -> None:
    """A balancer ends the connections to an API server that is away; the others answer."""
    state.add_node("n1")
    state.answers[NODES] = [CUT_OFF]
    assert [node.name for node in api.nodes()] == ["n1"]
    assert [request[:2] for request in state.requests] == [NODES, NODES]


def test_an_api_that_cuts_every_connection_is_away(state: ApiState, api: KubeApi) -> None:
    state.answers[NODES] = [CUT_OFF, CUT_OFF]
    with pytest.raises(UnreachableError, match=r"API_UNREACHABLE.*closed connection without response"):
        api.nodes()
    assert len(state.requests) == 2


def test_a_change_whose_connection_was_cut_may_have_been_made(state: ApiState, api: KubeApi) -> None:
    state.answers[EVICTION] = [CUT_OFF]
    with pytest.raises(UnreachableError):
        api.evict("shop", "p1", "uid-p1")
    assert [request[:2] for request in state.requests] == [EVICTION]


def test_permissions_denied_by_a_starting_api_server_mean_nothing(state: ApiState, api: KubeApi) -> None:
    state.denied = {"nodes"}
    state.answers[READY] = [STARTING]
    with pytest.raises(UnreachableError):
        api.can_i([Permission("list", "", "nodes")])
