from dataclasses import replace

import pytest
from tests.unit.domain.builders import node

from nightshift.domain.debts import (
    LATE_SECONDS,
    OWNER_ANNOTATION,
    Debt,
    DebtKind,
    end,
    from_text,
    in_order,
    is_foreign_cordon,
    is_same,
    judge_workload_debt,
    node_debt,
    quiesce_debt,
    quiet_setting,
    to_text,
)
from nightshift.domain.facts import WorkloadFacts, WorkloadName

WEB = WorkloadFacts(WorkloadName("Deployment", "shop", "web.v2"), "u1", "7", 3, 3)
BACKUP = WorkloadFacts(WorkloadName("CronJob", "shop", "backup"), "u2", "8", False, 0)


@pytest.mark.parametrize("found", [WEB, BACKUP, replace(WEB, name=WorkloadName("StatefulSet", "db", "pg"))])
def test_a_debt_comes_back_from_the_cluster_as_it_was(found: WorkloadFacts) -> None:
    debt = quiesce_debt(found, "a/b/c", 4, 1234.5)
    assert from_text(debt.key, to_text(debt)) == debt
    assert debt.workload == found.name
    assert debt.undo == {"before": found.setting, "uid": found.uid, "version": found.version}
    ended = end(debt, 2345.5)
    assert from_text(ended.key, to_text(ended)) == ended
    assert (debt.ended, ended.ended, end(ended, 9999.0).ended) == (None, 2345.5, 2345.5)
    assert (debt.owner, debt.token, debt.recorded) == ("a/b/c", 4, 1234.5)


def test_keys_are_those_a_config_map_takes_and_people_can_read() -> None:
    debt = quiesce_debt(WEB, "o", 1, 0.0)
    assert (debt.key, str(debt)) == ("Deployment.shop.web.v2", "Deployment shop/web.v2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not JSON",
        to_text(replace(quiesce_debt(WEB, "o", 1, 0.0), subject="Deployment/shop/other")),  # another's key
        to_text(replace(quiesce_debt(WEB, "o", 1, 0.0), kind=DebtKind.SUSPEND)),
        to_text(replace(quiesce_debt(WEB, "o", 1, 0.0), undo={"uid": "u"})),
        to_text(quiesce_debt(WEB, "o", 1, 0.0)).replace('"replicas"', '"of a later version"'),
    ],
)
def test_what_cannot_be_read_is_a_debt_of_its_own(text: str) -> None:
    found = from_text("Deployment.shop.web.v2", text)
    assert (found.kind, found.key) == (DebtKind.UNREADABLE, "Deployment.shop.web.v2")
    assert found.undo == {"text": text}, "nobody loses what stood there"


@pytest.mark.parametrize(
    ("found", "setting", "why"),
    [
        (replace(WEB, setting=0), 3, "has 3 replicas again"),
        (WEB, None, "has 3 replicas as before"),
        (replace(WEB, setting=5), None, "has 5 replicas: somebody set that meanwhile, and it stays"),
        (replace(WEB, setting=0, uid="u9"), None, "made anew"),
        (None, None, "was deleted"),
    ],
)
def test_only_what_is_still_as_we_left_it_is_undone(
    found: WorkloadFacts | None, setting: int | None, why: str
) -> None:
    due = judge_workload_debt(quiesce_debt(WEB, "o", 1, 0.0), found, 1.0)
    assert due.setting == setting
    assert why in due.why


CHANGED = replace(WEB, version="8")


@pytest.mark.parametrize(
    ("ended", "found", "now", "is_settled"),
    [
        (None, WEB, 1e9, False),  # never ended: it is ended first
        (1000.0, WEB, 1000.0 + LATE_SECONDS - 1, False),
        (1000.0, WEB, 1000.0 + LATE_SECONDS, True),
        (None, CHANGED, 1000.0, True),  # the API refuses our change from now on
        (None, replace(CHANGED, setting=5), 1000.0, True),
        (1000.0, replace(WEB, setting=0), 1e9, False),  # it came; to be given back, however late
        (None, None, 1000.0, True),
        (None, replace(WEB, uid="u9"), 1000.0, True),
    ],
)
def test_a_record_goes_when_its_change_cannot_come_any_more(
    ended: float | None, found: WorkloadFacts | None, now: float, is_settled: bool
) -> None:
    debt = quiesce_debt(WEB, "o", 1, 0.0)
    due = judge_workload_debt(debt if ended is None else end(debt, ended), found, now)
    assert due.is_settled == is_settled
    assert ("watched" in due.why) == (not is_settled and due.setting is None)


def test_a_record_of_an_older_nightshift_goes_as_it_did_then() -> None:
    old = replace(quiesce_debt(WEB, "o", 1, 0.0), undo={"before": 3, "uid": "u1"})
    assert judge_workload_debt(old, WEB, 1.0).is_settled
    assert judge_workload_debt(old, replace(WEB, setting=0), 1.0).setting == 3


def test_ended_or_not_it_is_the_same_debt_and_another_owners_is_not() -> None:
    debt = quiesce_debt(WEB, "o", 1, 0.0)
    assert is_same(debt, end(debt, 5.0))
    assert is_same(end(debt, 5.0), end(debt, 6.0))
    assert not is_same(debt, replace(debt, owner="p"))
    assert not is_same(end(debt, 5.0), quiesce_debt(CHANGED, "o", 1, 0.0))


@pytest.mark.parametrize(
    ("suspended", "setting", "why"), [(True, False, "is not suspended again"), (False, None, "as before")]
)
def test_a_cron_job_is_resumed(suspended: bool, setting: bool | None, why: str) -> None:
    due = judge_workload_debt(quiesce_debt(BACKUP, "o", 1, 0.0), replace(BACKUP, setting=suspended), 1.0)
    assert (due.setting, why in due.why) == (setting, True)


def test_nodes_first_then_controllers_then_what_starts_by_the_clock_latest_first() -> None:
    web, backup = quiesce_debt(WEB, "o", 1, 1.0), quiesce_debt(BACKUP, "o", 1, 9.0)
    later = replace(web, subject="Deployment/shop/later", recorded=2.0)
    cordon = Debt(DebtKind.CORDON, "Node/w1")
    assert in_order([backup, web, cordon, later]) == (cordon, later, web, backup)


@pytest.mark.parametrize(
    ("annotations", "debt"),
    [
        ({}, None),
        ({"other.io/owner": "x"}, None),
        (
            {"nightshift.io/owner": "o", "nightshift.io/token": "7"},
            Debt(DebtKind.CORDON, "Node/w1", {}, "o", 7),
        ),
        ({"nightshift.io/owner": "o"}, Debt(DebtKind.CORDON, "Node/w1", {}, "o", 0)),
        ({"nightshift.io/token": "?"}, Debt(DebtKind.CORDON, "Node/w1", {}, "", 0)),
    ],
)
def test_a_cordons_debt_is_on_its_node(annotations: dict[str, str], debt: Debt | None) -> None:
    assert node_debt(node("w1", annotations=annotations)) == debt


@pytest.mark.parametrize(("kind", "setting"), [("Deployment", 0), ("StatefulSet", 0), ("CronJob", True)])
def test_quiet_means(kind: str, setting: int | bool) -> None:
    assert quiet_setting(kind) == setting


@pytest.mark.parametrize(
    ("manager", "foreign"),
    [
        ("nightshift", False),
        ("kubectl", True),
        ("", False),
        ("ancient-changes", False),
        ("before-first-apply", False),
        ("OpenAPI-Generator", False),  # earlier versions wrote under this name
    ],
)
def test_a_marked_cordon_is_somebody_elses_when_the_api_names_another_who_made_it(
    manager: str, foreign: bool
) -> None:
    marked = node("w1", is_unschedulable=True, cordoned_by=manager, annotations={OWNER_ANNOTATION: "a"})
    assert is_foreign_cordon(marked) is foreign
    assert is_foreign_cordon(replace(marked, annotations={}))
    assert not is_foreign_cordon(replace(marked, is_unschedulable=False))
