import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster

from nightshift.domain.errors import NightshiftError
from nightshift.domain.ledger import Failure
from nightshift.domain.policy import Override, SnapshotPolicy, WindowPolicy
from nightshift.steps.brake import MEASURED_FILE
from nightshift.steps.report import report
from nightshift.steps.session import Session
from nightshift.steps.snapshot import forget_old_snapshots
from nightshift.steps.upgrade_kubelet import upgrade_kubelet

_GO = {"answer": "go", "sentence": "ok"}
_FAILURE = Failure("upgrade_node", "w1 stopped.", "JOB_FAILED", "Disk full.", "Free it.")


def _decision(answer: str, **verdict: str) -> dict[str, Any]:
    base = {"gate": "etcd_latency", "outcome": "pass", "code": "OK", "message": "m", "resolution": ""}
    return {
        "answer": answer,
        "sentence": "cp1 fsync p99 in 128-256 ms.",
        "verdicts": [{**base, **verdict}],
        "plan": {
            "control_plane": [{"node": "cp1", "command": "apply"}],
            "waves": [["w1"]],
            "leftover": ["w2"],
        },
    }


def _gate() -> dict[str, Any]:
    words = {"gate": "etcd_latency", "outcome": "pass", "code": "OK"}
    return {**words, "value": "4-8 ms", "threshold": "128 ms"}


def test_nothing_to_do_is_written_too(session: Session) -> None:
    said = report(session, {"open_night": _GO, "choice": {"answer": "nothing", "sentence": "All on 1.34.4."}})
    assert said["answer"] == "nothing"
    assert said["note"] == "All on 1.34.4. The next night looks again; next check 2027-01-15 23:00 UTC."
    assert json.loads(Path(said["path"]).read_text())["answer"] == "nothing"
    assert "/lab/ledger/" in said["path"]


def test_a_store_that_takes_no_entry_takes_neither_note_nor_gauges(session: Session, tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("a file where a folder should be")
    said = report(session, {"open_night": _GO, "failure": _FAILURE})
    assert said["unsaved"].code == "STORE_UNAVAILABLE"
    assert "JOB_FAILED" in said["note"]
    assert session.pushgateway.values["k8s_upgrade_failed"] == 1


def test_overrides_in_force_are_in_entry_and_note_used_or_not(session: Session) -> None:
    now = session.clock()
    used = Override("alerts", "ALERT_FIRING", "known for weeks", "ann", now + 60)
    over = Override("clock", "CLOCK_SKEW", "was known once", "ben", now)
    session.policy = replace(session.policy, overrides=(used, over))
    said = report(session, {"open_night": _GO, "choice": {"answer": "nothing", "sentence": "All on 1.34.4."}})
    assert said["entry"]["overrides"] == [used.to_dict()]
    assert "Overrides in force: ALERT_FIRING of alerts until" in said["note"]
    assert "ann (known for weeks)" in said["note"]
    assert "ben" not in said["note"]


@pytest.mark.parametrize(
    ("ending", "given_back"),
    [
        (
            {
                "restore": {"restored": ["Deployment shop/web has 3 replicas again"]},
                "recovery": {"repaid": ["x"]},
            },
            3,
        ),
        ({"recovery": {"repaid": ["Deployment shop/web has 5 replicas: somebody"]}}, 5),
        ({"recovery": {"answer": "live"}}, None),
    ],
)
def test_what_was_quiet_and_what_came_of_it_is_written(
    session: Session, ending: dict[str, Any], given_back: int | None
) -> None:
    said = report(session, {"open_night": _GO, "quiesce": {"quiesced": ["Deployment shop/web"]}, **ending})
    entry = json.loads(Path(said["path"]).read_text())
    assert entry["quiesced"] == ["Deployment shop/web"]
    assert [line.split(" replicas")[0] for line in entry["given_back"]] == (
        [f"Deployment shop/web has {given_back}"] if given_back else []
    )


def test_blocked_raises_the_gauge_and_says_what_would_flip_it(
    session: Session, choice: dict[str, Any]
) -> None:
    decision = _decision("blocked", outcome="block", resolution="Give etcd its own disk.")
    said = report(session, {"open_night": _GO, "choice": choice, "decision": decision})
    assert said["entry"]["what_next"] == "To flip it: Give etcd its own disk."
    assert session.pushgateway.values["k8s_upgrade_blocked"] == 1
    assert session.pushgateway.values["k8s_upgrade_failed"] == 0
    assert session.pushgateway.labelled[0][1] == {"kind": "minor", "running": "1.34.4", "target": "1.35.4"}


@pytest.mark.parametrize(
    ("answer", "outcome", "begins"),
    [
        ("blocked", "block", "To flip it: Give etcd its own disk."),
        ("held", "hold", "Nothing has to be done; the next night asks again."),
    ],
)
def test_the_note_says_when_to_look_again(
    session: Session, choice: dict[str, Any], answer: str, outcome: str, begins: str
) -> None:
    decision = _decision(answer, outcome=outcome, resolution="Give etcd its own disk.")
    del decision["plan"]
    verdict = {**decision["verdicts"][0], "look_again": {"when": "when it is quieter", "at": None}}
    warned = {**verdict, "outcome": "warn", "look_again": {"when": "some day", "at": None}}
    said = report(
        session,
        {"open_night": _GO, "choice": choice, "decision": {**decision, "verdicts": [verdict, warned]}},
    )
    assert said["entry"]["what_next"] == f"{begins} Look again when it is quieter."
    assert said["entry"]["gates"][0]["look_again"] == verdict["look_again"]
    assert "look again when it is quieter" in said["note"].lower()


@pytest.mark.parametrize(
    ("facts", "value"),
    [
        ({"decision": _decision("blind", outcome="blind")}, 1.0),
        ({"decision": _decision("go"), "failure": _FAILURE}, 1.0),
        ({"decision": _decision("nothing")}, 0.0),
    ],
    ids=["blind", "failed", "nothing"],
)
def test_a_night_that_ends_red_raises_its_gauge(
    session: Session, choice: dict[str, Any], facts: dict[str, Any], value: float
) -> None:
    report(session, {"open_night": _GO, "choice": choice, **facts})
    assert session.pushgateway.values["k8s_upgrade_failed"] == value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": "30 1 * * *"}, "2027-01-16 01:30 UTC"),
        ({"window": WindowPolicy(frozen_dates=("2027-01-15",))}, "2027-01-16 23:00 UTC"),
        ({"schedule": None}, ""),
    ],
    ids=["another hour", "a frozen date", "by hand only"],
)
def test_the_next_check_is_that_of_the_schedule(session: Session, changes: dict[str, Any], said: str) -> None:
    session.policy = replace(session.policy, **changes)
    entry = report(session, {"open_night": _GO, "choice": {"answer": "nothing", "sentence": "All."}})["entry"]
    assert entry["next_check"] == said


def test_an_upgrade_lists_its_nodes(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> None:
    cluster.upgrade_control_plane("1.35.4")
    for name in ("cp1", "w1"):
        upgrade_kubelet(session, name, choice)
    facts = {
        "open_night": _GO,
        "choice": choice,
        "decision": _decision("go"),
        "postflight": {"sentence": "2 of 3 nodes run 1.35.4."},
        "node_steps": {
            "cp1": {"drain": {"began": 10.0, "ended": 15.0}, "uncordon": {"began": 108.0, "ended": 110.0}},
            "w1": {"drain": {"began": 120.0, "ended": 125.0}},
        },
        "node_gates": [{**_gate(), "task": "check_etcd_01", "nodes": ["w1"], "began": 111.0, "ended": 119.0}],
        "snapshot": {"path": "/s.tar.gz"},
    }
    said = report(session, facts)
    assert said["answer"] == "upgraded"
    assert [n["outcome"] for n in said["entry"]["nodes"]] == ["upgraded", "upgraded", "tomorrow"]
    cp1, w1, w2 = said["entry"]["nodes"]
    assert (cp1["seconds"], cp1["steps"]) == (100.0, {"drain": 5.0, "uncordon": 2.0})
    assert (w1["seconds"], w1["steps"]) == (None, {"drain": 5.0}), "its uncordon did not come to its end"
    assert (w2["began"], w2["steps"]) == (None, {})
    assert [(g["nodes"], g["seconds"]) for g in said["entry"]["node_gates"]] == [(["w1"], 8.0)]
    assert said["entry"]["what_next"] == "w2 continue on the next night."
    assert said["entry"]["snapshot"] == "/s.tar.gz"


def test_the_disks_of_upgraded_nodes_are_compared_with_their_forecast(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    for name in ("cp1", "w1"):
        upgrade_kubelet(session, name, choice)
    before = session.on(session.node("w1")).probe().mounts[0]
    used = before.size_bytes - before.available_bytes
    said = {mount: {"after_bytes": used * 2} for mount in (before.mount_point, "/gone")}
    decision = _decision("go", gate="disk_usage")
    decision["verdicts"][0]["evidence"] = {"forecast": dict.fromkeys(("cp1", "w1", "w2"), said)}
    facts = {"open_night": _GO, "choice": choice, "decision": decision, "postflight": {"sentence": "Done."}}
    cluster.fakes["cp1"].is_away = True
    entry = report(session, facts)["entry"]
    right = {"forecast_bytes": used * 2, "used_bytes": used, "error_percent": 100.0}
    assert entry["disk_forecast"] == {"w1": {before.mount_point: right}}
    assert report(session, {**facts, "decision": _decision("go")})["entry"]["disk_forecast"] == {}


@pytest.mark.parametrize(("is_upgraded", "answer"), [(True, "partial"), (False, "failed")])
def test_a_failure_is_told_with_what_is_done_already(
    cluster: FakeCluster, session: Session, choice: dict[str, Any], is_upgraded: bool, answer: str
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    if is_upgraded:
        upgrade_kubelet(session, "cp1", choice)
    facts = {"open_night": _GO, "choice": choice, "decision": _decision("go"), "failure": _FAILURE}
    said = report(session, facts)
    assert said["answer"] == answer
    assert "upgrade_node failed (JOB_FAILED): w1 stopped. Cause: Disk full." in said["entry"]["sentence"]
    assert said["entry"]["what_next"] == "Free it."
    assert ("Already upgraded: cp1" in said["entry"]["sentence"]) is is_upgraded


def test_a_run_that_stopped_without_a_word_is_no_success(session: Session, choice: dict[str, Any]) -> None:
    assert report(session, {})["answer"] == "failed"
    facts = {"open_night": _GO, "choice": choice, "decision": _decision("go")}
    assert report(session, facts)["answer"] == "failed"


def test_an_api_that_is_away_does_not_stop_the_report(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.api_away_until = cluster.now + 10_000
    said = report(
        session, {"open_night": _GO, "choice": choice, "decision": _decision("go"), "failure": _FAILURE}
    )
    assert {n["to_version"] for n in said["entry"]["nodes"]} == {"unknown"}


def test_a_night_that_ended_early_says_what_continues(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    plan = {"control_plane": [{"node": "cp1", "command": "apply"}], "waves": [], "leftover": ["w1", "w2"]}
    facts = {
        "open_night": _GO,
        "choice": choice,
        "decision": _decision("go"),
        "plan": plan,
        "ended": {"answer": "held", "code": "WINDOW_CLOSED", "sentence": "It is 05:01 UTC."},
        "postflight": {"sentence": "1 of 3 nodes run 1.35.4."},
    }
    said = report(session, facts)
    assert (said["answer"], said["entry"]["sentence"]) == ("held", "It is 05:01 UTC.")
    upgrade_kubelet(session, "cp1", choice)
    said = report(session, facts)
    assert (said["answer"], said["entry"]["what_next"]) == ("upgraded", "w1, w2 continue on the next night.")
    assert "It is 05:01 UTC." in said["note"]
    assert [n["outcome"] for n in said["entry"]["nodes"]] == ["upgraded", "tomorrow", "tomorrow"]


@pytest.mark.parametrize(
    ("target", "pushed"),
    [
        ({"kind": "none", "running": "1.35.4", "version": None}, ("none", "none", 0.0)),
        ({"kind": "minor", "running": "1.34.4", "version": "1.35.4"}, ("minor", "1.35.4", 1.0)),
        ({"kind": "blind", "running": None, "version": None}, None),
        ({}, None),
    ],
)
def test_an_offer_that_is_gone_is_taken_back_and_an_unknown_one_left_alone(
    session: Session, target: dict[str, Any], pushed: tuple[str, str, float] | None
) -> None:
    choice = {"answer": "nothing", "sentence": "It is so.", "target": target} if target else None
    report(session, {"open_night": _GO, "choice": choice})
    seen = [(labels["kind"], labels["target"], value) for _, labels, value in session.pushgateway.labelled]
    assert seen == ([pushed] if pushed else [])


def test_an_offer_stays_while_nodes_are_left_behind(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    facts = {
        "open_night": _GO,
        "choice": choice,
        "decision": _decision("go"),
        "postflight": {"sentence": "s"},
    }
    report(session, facts)
    assert session.pushgateway.labelled[0][2] == 1.0, "w2 continues tomorrow"
    facts["decision"]["plan"]["leftover"] = []
    report(session, facts)
    assert session.pushgateway.labelled[0][2] == 0.0


def test_the_entry_has_every_gate_with_value_and_threshold_and_all_evidence(
    session: Session, choice: dict[str, Any]
) -> None:
    incident = {"name": "cp9-snapshot-etcd-1", "node": "cp9", "step": "snapshot-etcd"}
    session.store.write_json("evidence/run-1/cp9.json", {"incidents": [incident]})
    decision = _decision("blocked", outcome="block", code="ETCD_SLOW", value="128-256 ms", threshold="128 ms")
    said = report(session, {"open_night": _GO, "choice": choice, "decision": decision})
    entry = json.loads(Path(said["path"]).read_text())
    (gate,) = entry["gates"]
    assert (gate["code"], gate["value"], gate["threshold"]) == ("ETCD_SLOW", "128-256 ms", "128 ms")
    assert entry["evidence"] == [session.store.place("evidence/run-1/cp9-snapshot-etcd-1")]


def test_a_blind_night_says_code_cause_and_next_step(session: Session, choice: dict[str, Any]) -> None:
    blind = {"answer": "blind", "sentence": "w9 keeps its cordon.", "code": "LEFTOVERS_UNKNOWN"}
    said = report(session, {"open_night": blind})
    assert said["note"].startswith(
        "Blind (LEFTOVERS_UNKNOWN): w9 keeps its cordon; Cause: Something that must be"
    )
    assert "Make it readable again" in said["note"]
    verdict = {"outcome": "blind", "code": "DISK_UNKNOWN", "resolution": "Look at w1."}
    decision = {**_decision("blind", **verdict), "code": "DISK_UNKNOWN", "cause": "w1 is away."}
    said = report(session, {"open_night": _GO, "choice": choice, "decision": decision})
    assert "Blind (DISK_UNKNOWN)" in said["note"]
    assert "Cause: w1 is away" in said["note"]
    assert said["entry"]["what_next"] == "To flip it: Look at w1."


def test_a_look_that_failed_is_blind_and_touched_nothing(session: Session) -> None:
    failure = Failure("open_night", "w2 is away.", "NODE_UNREACHABLE", "x.", "y.", True, before_claim=True)
    assert report(session, {"failure": failure})["answer"] == "blind"


def test_a_node_that_was_set_aside_has_its_own_word_and_the_night_stays_partial(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    upgrade_kubelet(session, "w1", choice)
    decision = _decision("go")
    decision["plan"].update(waves=[["w1"], ["w2"]], leftover=[])
    facts = {"open_night": _GO, "choice": choice, "decision": decision, "quarantined": ["w2"]}
    said = report(session, {**facts, "failure": _FAILURE, "postflight": {"sentence": "Fine."}})
    assert said["answer"] == "partial"
    assert "Set aside, the other workers went on: w2; Already upgraded: w1" in said["note"]
    assert {n["name"]: n["outcome"] for n in said["entry"]["nodes"]}["w2"] == "quarantined"


def test_a_node_that_the_policy_leaves_out_still_waits(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.upgrade_control_plane("1.35.4")
    for name in ("cp1", "w1"):
        upgrade_kubelet(session, name, choice)
    decision = _decision("go")
    decision["plan"].update(leftover=[], quarantined=["w2"])
    facts = {"open_night": _GO, "choice": choice, "decision": decision, "postflight": {"sentence": "Fine."}}
    said = report(session, facts)
    assert said["answer"] == "upgraded"
    assert {n["name"]: n["outcome"] for n in said["entry"]["nodes"]}["w2"] == "quarantined"
    assert session.pushgateway.labelled[0][2] == 1.0, "an upgrade is still available"


def test_a_night_that_ended_before_it_took_a_node_is_held_and_names_who_continues(
    session: Session, choice: dict[str, Any]
) -> None:
    plan = {"control_plane": [], "waves": [], "leftover": ["cp1", "w1", "w2"]}
    facts = {"open_night": _GO, "choice": choice, "decision": _decision("go"), "plan": plan}
    said = report(session, {**facts, "ended": {"code": "BRAKE_ON", "sentence": "The brake is on: anna."}})
    assert (said["answer"], said["entry"]["sentence"]) == ("held", "The brake is on: anna.")
    assert said["entry"]["what_next"] == "cp1, w1, w2 continue on the next night."
    assert session.pushgateway.values["k8s_upgrade_held"] == 1


def test_a_node_that_was_stopped_half_way_makes_the_night_partial(
    session: Session, choice: dict[str, Any]
) -> None:
    failure = Failure("upgrade_kubelet", "w1 was stopped half way.", "STOPPED_HALF_WAY", "c.", "n.")
    facts = {"open_night": _GO, "choice": choice, "decision": _decision("go"), "failure": failure}
    assert report(session, facts)["answer"] == "partial"


def _timed(**attached: bool) -> dict[str, Any]:
    names = ("drain", "kubeadm", "kubelet", "verify", "uncordon")
    return {
        name: {"began": 1000.0 * at, "ended": 1000.0 * at + 10, "attached": attached.get(name, False)}
        for at, name in enumerate(names)
    }


def test_how_long_nodes_took_is_kept_for_later_nights(session: Session, choice: dict[str, Any]) -> None:
    """Not the time between the steps, not what a task that attached saw, and never instead of what is known of others."""
    session.store.write_json(MEASURED_FILE, {"w1": 77.0, "w2": 88.0, "w3": 99.0})
    unfinished = {"drain": _timed()["drain"]}
    steps = {"cp1": _timed(), "w1": _timed(kubeadm=True), "w2": unfinished}
    report(session, {"open_night": _GO, "choice": choice, "node_steps": steps})
    assert session.store.read_json(MEASURED_FILE) == {"cp1": 50.0, "w1": 77.0, "w2": 88.0, "w3": 99.0}


def test_old_snapshots_go_and_those_of_the_newest_runs_stay(session: Session, tmp_path: Path) -> None:
    day = 86_400.0
    for run, age in (("a", 400), ("b", 300), ("c", 200), ("d", 5)):
        session.store.write_json(f"snapshots/{run}.json", {"taken": session.clock() - age * day})
        session.store.write_text(f"snapshots/{run}/etcd.tar.gz", "bundle")
    session.store.write_json("snapshots/strange.json", {"taken": "?"})
    session.policy = replace(session.policy, snapshots=SnapshotPolicy(keep_days=90, keep_runs=2))
    report(session, {"open_night": _GO, "choice": {"answer": "nothing", "sentence": "All on 1.34.4."}})
    assert session.store.names("snapshots") == ("c", "c.json", "d", "d.json", "strange.json")
    session.policy = replace(session.policy, snapshots=SnapshotPolicy(keep_days=250, keep_runs=1))
    assert forget_old_snapshots(session) == ()


def test_a_snapshot_that_was_half_removed_is_removed_by_the_next_night(session: Session) -> None:
    session.policy = replace(session.policy, snapshots=SnapshotPolicy(keep_days=1, keep_runs=1))
    for run, age in (("old", 9e5), ("new", 0)):
        session.store.write_json(f"snapshots/{run}.json", {"taken": session.clock() - age})
    assert forget_old_snapshots(session) == ("old",)
    assert session.store.names("snapshots") == ("new.json",)


def test_one_snapshot_that_cannot_go_keeps_no_other(session: Session, tmp_path: Path) -> None:
    session.policy = replace(session.policy, snapshots=SnapshotPolicy(keep_days=1, keep_runs=1))
    for run, age in (("a", 9e5), ("b", 9e5), ("new", 0)):
        session.store.write_json(f"snapshots/{run}.json", {"taken": session.clock() - age})
        session.store.write_text(f"snapshots/{run}/etcd.tar.gz", "bundle")
    remove = session.store.remove

    def stubborn(relative: str) -> None:
        if relative == "snapshots/a":
            raise NightshiftError("STORE_UNAVAILABLE", "no", cause="c", next_step="n")
        remove(relative)

    session.store.remove = stubborn
    (tmp_path / "lab/snapshots/odd.json").mkdir()
    assert forget_old_snapshots(session) == ("b",)
    assert session.store.exists("snapshots/a.json"), "what names a bundle goes after it"
    assert session.store.names("snapshots") == ("a", "a.json", "new", "new.json", "odd.json")


def test_a_bundle_without_an_entry_goes_by_its_name_and_keeps_nothing_else(session: Session) -> None:
    day = 86_400.0
    session.policy = replace(session.policy, snapshots=SnapshotPolicy(keep_days=90, keep_runs=1))
    session.store.write_text("snapshots/orphan/etcd-20200101T230000Z.tar.gz", "bundle")
    session.store.write_json("snapshots/bare.json", {"taken": session.clock() - 91 * day})
    session.store.write_json("snapshots/real.json", {"taken": session.clock() - 200 * day})
    session.store.write_text("snapshots/real/etcd-20200601T230000Z.tar.gz", "bundle")
    session.store.write_text("snapshots/half/.etcd-20200101T230000Z.tar.gz.x81k", "a copy that died half way")
    assert forget_old_snapshots(session) == ("half", "orphan", "bare")
    assert session.store.names("snapshots") == ("real", "real.json")


def test_a_dry_run_removes_nothing(session: Session) -> None:
    session.policy = replace(session.policy, snapshots=SnapshotPolicy(keep_days=1, keep_runs=1))
    for run, age in (("a", 9e5), ("b", 8e5)):
        session.store.write_json(f"snapshots/{run}.json", {"taken": session.clock() - age})
    said = report(session, {"open_night": _GO, "decision": _decision("dry_run")})
    assert said["answer"] == "dry_run"
    assert session.store.names("snapshots") == ("a.json", "b.json")
    report(session, {"open_night": _GO, "choice": {"answer": "nothing", "sentence": "s"}})
    assert session.store.names("snapshots") == ()
