import time
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from nightshift.domain.errors import GateClosedError, TransientError, UnreachableError
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration import sensors
from nightshift.orchestration.operators import pull
from nightshift.orchestration.sensors import DiskUsageSensor, EtcdLatencySensor, GateSensor, Place

PLAN = {"control_plane": [{"node": "cp1", "command": "apply"}], "waves": [["w1", "w2"]], "leftover": []}


def verdict(outcome: str = "pass", code: str = "OK", gate: str = "etcd_latency") -> dict[str, Any]:
    words = {"gate": gate, "message": "It is so.", "cause": "why", "resolution": "do this"}
    return {**words, "outcome": outcome, "code": code, "value": "", "threshold": "", "evidence": {}}


@pytest.mark.parametrize(
    ("place", "nodes"),
    [
        (Place("control_plane", 0), ["cp1"]),
        (Place("control_plane", 1), []),
        (Place("waves", 0), ["w1", "w2"]),
        (Place("waves", 1), []),
    ],
)
def test_places_are_filled_from_the_plan(place: Place, nodes: list[str]) -> None:
    assert place.nodes(PLAN) == nodes


def test_a_slot_holds_one_control_plane_node_however_many_are_due() -> None:
    plan = {**PLAN, "control_plane": [{"node": n, "command": "node"} for n in ("cp1", "cp2", "cp3")]}
    assert [Place("control_plane", i).nodes(plan) for i in range(4)] == [["cp1"], ["cp2"], ["cp3"], []]


def etcd(
    policy: ClusterPolicy,
    place: Place | None = None,
    earlier: tuple[str, ...] = (),
    enders: tuple[str, ...] = (),
) -> EtcdLatencySensor:
    plan = pull("decide", "plan") if place else None
    choice = pull("detect_target")
    return EtcdLatencySensor(
        task_id="me", policy=policy, place=place, plan=plan, choice=choice, earlier=earlier, enders=enders
    )


def sample(taken: float) -> dict[str, Any]:
    return {"taken": taken, "members": {}, "problem": None}


def told(sensor: GateSensor, context: Any) -> dict[str, Any]:
    """The verdict a gate leaves for `decide`; one that is shut is skipped."""
    try:
        answer, skipped = dict(sensor.resume(context, {})), ""
    except AirflowSkipException as shut:
        answer, skipped = context["ti"].xcoms["me", "return_value"], str(shut)
    is_shut = answer["outcome"] in ("block", "hold", "blind")
    assert skipped.endswith(answer["message"]) if is_shut else not skipped
    return dict(answer)


def seconds_waited(deferred: pytest.ExceptionInfo[TaskDeferred]) -> float:
    return float(deferred.value.trigger.until - time.time())


def test_etcd_is_sampled_then_its_window_is_waited_for(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    steps.answers["gates:gather_etcd_samples"] = sample(0)
    with pytest.raises(TaskDeferred) as deferred:
        etcd(policy).execute(context)
    assert deferred.value.trigger.cluster == "lab"
    assert deferred.value.method_name == "resume"
    assert deferred.value.timeout.total_seconds() > policy.etcd_latency.window_seconds


def _watch(steps: Any, context: Any, policy: ClusterPolicy, already: float) -> Any:
    """Go on with a window that was opened `already` seconds ago and still has too few observations."""
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": None}
    steps.answers["gates:gather_etcd_samples"] = sample(already)
    steps.answers["gates:check_etcd_latency"] = verdict("blind", "ETCD_TOO_FEW_SAMPLES")
    return told(etcd(policy), context)


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_a_quiet_etcd_is_written_to_only_when_the_policy_says_so(
    steps: Any, context: Any, policy: ClusterPolicy, is_asked_for: bool
) -> None:
    policy = replace(policy, etcd_latency=replace(policy.etcd_latency, active_probe=is_asked_for))
    steps.answers["etcd_probe:write_a_little"] = 75
    with pytest.raises(TaskDeferred):
        _watch(steps, context, policy, already=60)
    assert [path for path, _ in steps.calls].count("etcd_probe:write_a_little") == int(is_asked_for)


def test_a_quiet_etcd_is_watched_on_from_the_same_first_sample(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    with pytest.raises(TaskDeferred):
        _watch(steps, context, policy, already=policy.etcd_latency.window_seconds)
    assert context["ti"].xcoms[("me", "kept")]["before"] == sample(0)


def test_what_is_missing_is_waited_for_at_the_pace_of_the_window_so_far(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    few = verdict("blind", "ETCD_TOO_FEW_SAMPLES")
    few["evidence"] = {"cp1": {"window_seconds": 60.0, "observations": {"wal_fsync": 90.0}}}
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": None}
    steps.answers |= {"gates:gather_etcd_samples": sample(60), "gates:check_etcd_latency": few}
    with pytest.raises(TaskDeferred) as deferred:
        etcd(policy).resume(context, {})
    assert seconds_waited(deferred) == pytest.approx(10 * 60 / 90 * 1.2, abs=1)
    with pytest.raises(TaskDeferred):
        etcd(policy).resume(context, {})
    with pytest.raises(TaskDeferred) as deferred:
        etcd(policy).resume(context, {})
    assert seconds_waited(deferred) == pytest.approx(3 * 3, abs=0.9)  # the third look in vain


FEW = verdict("blind", "ETCD_TOO_FEW_SAMPLES")
FEW_AND_SLOW = {**FEW, "evidence": {"findings": [FEW, verdict("block", "ETCD_SLOW")]}}


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (verdict(), "pass"),
        (verdict("warn", "ETCD_LEADER_CHANGED"), "pass"),
        (FEW, "pass"),  # that is why it was kept open
        (verdict("block", "ETCD_SLOW"), "block"),
        (FEW_AND_SLOW, "block"),  # as a slow histogram beside a quiet one is told
        (verdict("blind", "ETCD_UNREADABLE"), "blind"),
    ],
)
def test_the_last_part_of_a_window_that_was_kept_open_must_not_be_slow_alone(
    steps: Any, context: Any, policy: ClusterPolicy, last: dict[str, Any], said: str
) -> None:
    with pytest.raises(TaskDeferred):
        _watch(steps, context, policy, already=60)
    kept = context["ti"].xcoms[("me", "kept")]
    assert kept["looks"] == [sample(60)]
    steps.answers["gates:gather_etcd_samples"] = sample(75)
    with pytest.raises(TaskDeferred):  # its last part is not a whole window yet
        etcd(policy).resume(context, {})
    steps.answers["gates:gather_etcd_samples"] = sample(121)
    steps.answers["gates:check_etcd_latency"] = [verdict(), last]
    assert told(etcd(policy), context)["outcome"] == said
    asked = [path for path, _ in steps.calls].count("gates:check_etcd_latency")
    assert asked == 4  # at 60 s, at 75 s, and twice in the end
    assert (("me", "sample") in context["ti"].xcoms) is (said == "pass")


def test_an_etcd_that_stays_quiet_is_blind_in_the_end(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    said = _watch(steps, context, policy, already=policy.etcd_latency.longest_window_seconds + 1)
    assert (said["outcome"], said["code"]) == ("blind", "ETCD_TOO_FEW_SAMPLES")


def test_in_the_group_of_gates_a_refusal_is_an_answer(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": None}
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict("block", "ETCD_SLOW")
    assert told(etcd(policy), context)["code"] == "ETCD_SLOW"


@pytest.mark.parametrize("outcome", ["block", "hold", "blind"])
def test_in_front_of_a_node_a_refusal_stops(
    steps: Any, context: Any, policy: ClusterPolicy, outcome: str
) -> None:
    context["ti"].xcoms |= {
        ("me", "kept"): {"before": sample(0), "own": None},
        ("decide", "return_value"): {"plan": PLAN},
    }
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    again = {"when": "when it is quieter", "at": None}
    steps.answers["gates:check_etcd_latency"] = {**verdict(outcome, "ETCD_SLOW"), "look_again": again}
    with pytest.raises(
        GateClosedError, match=r"ETCD_SLOW.*cp1 and all later nodes stay as they are"
    ) as caught:
        etcd(policy, Place("control_plane", 0)).resume(context, {})
    assert caught.value.next_step == "do this Look again when it is quieter."
    assert context["ti"].xcoms[("me", "failure")]["code"] == "ETCD_SLOW"
    assert context["ti"].xcoms[("me", "verdict")]["outcome"] == outcome


@pytest.mark.parametrize(
    ("outcome", "leader"), [("block", "node_health"), ("hold", "static_pods"), ("blind", "node_health")]
)
def test_in_front_of_a_node_all_gates_that_are_shut_are_told_and_the_gravest_gives_its_code(
    steps: Any, context: Any, policy: ClusterPolicy, outcome: str, leader: str
) -> None:
    context["ti"].xcoms |= {
        ("me", "kept"): {"before": sample(0), "own": None},
        ("decide", "return_value"): {"plan": PLAN},
        ("detect_target", "return_value"): {"target": {}},
    }
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict()
    others = [
        {**verdict("warn", "X", "version_skew"), "look_again": {"when": "some day", "at": None}},
        {
            **verdict(outcome, "NODE_NOT_READY", "node_health"),
            "message": "w9 is not Ready.",
            "look_again": {"when": "at noon", "at": 60.0},
        },
        {
            **verdict("block", "STRAY_MANIFEST", "static_pods"),
            "message": "A file is too much.",
            "look_again": {"when": "when it is gone", "at": None},
        },
    ]
    steps.answers["gates:ask_place"] = {"verdicts": others}
    with pytest.raises(GateClosedError, match=r"w1, w2 and all later nodes stay as they are") as caught:
        etcd(policy, Place("waves", 0)).resume(context, {})
    codes = {"node_health": "NODE_NOT_READY", "static_pods": "STRAY_MANIFEST"}
    assert caught.value.code == codes[leader]
    assert "w9 is not Ready." in caught.value.message
    assert "A file is too much." in caught.value.message
    said = context["ti"].xcoms[("me", "verdict")]
    assert said["gate"] == leader
    assert sorted(said["look_again"]["when"].split("; ")) == ["at noon", "when it is gone"]
    assert said["asked"] == {
        "etcd_latency": "pass",
        "version_skew": "warn",
        "node_health": outcome,
        "static_pods": "block",
    }


def test_the_others_are_not_asked_when_etcd_says_no_nor_before_the_night(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms |= {
        ("me", "kept"): {"before": sample(0), "own": None},
        ("decide", "return_value"): {"plan": PLAN},
    }
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict("block", "ETCD_SLOW")
    with pytest.raises(GateClosedError):
        etcd(policy, Place("waves", 0)).resume(context, {})
    steps.answers["gates:check_etcd_latency"] = verdict()
    etcd(policy).resume(context, {})
    assert "gates:ask_place" not in [path for path, _ in steps.calls]


@pytest.mark.parametrize(
    ("place", "answer"), [(Place("control_plane", 0), "cp1"), (Place("waves", 0), ["w1", "w2"])]
)
def test_in_front_of_a_node_an_open_gate_names_the_nodes(
    steps: Any, context: Any, policy: ClusterPolicy, place: Place, answer: Any
) -> None:
    context["ti"].xcoms |= {
        ("me", "kept"): {"before": sample(0), "own": None},
        ("decide", "return_value"): {"plan": PLAN},
    }
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict("warn")
    assert etcd(policy, place).resume(context, {}) == answer


def test_a_gate_says_how_long_it_was_waited_for(
    steps: Any, context: Any, policy: ClusterPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(sensors.time, "time", lambda: clock[0])
    context["ti"].xcoms[("decide", "return_value")] = {"plan": PLAN}
    steps.answers["gates:gather_etcd_samples"] = sample(0)
    with pytest.raises(TaskDeferred):
        etcd(policy, Place("waves", 0)).execute(context)
    clock[0] = 1062.0
    steps.answers |= {"gates:gather_etcd_samples": sample(60), "gates:check_etcd_latency": verdict()}
    # Another process goes on: it knows only what lies in XCom.
    etcd(policy, Place("waves", 0)).resume(context, {})
    said = context["ti"].xcoms[("me", "verdict")]
    assert (said["began"], said["ended"], said["nodes"]) == (1000.0, 1062.0, ["w1", "w2"])


def test_an_empty_place_is_skipped(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    context["ti"].xcoms[("decide", "return_value")] = {"plan": PLAN}
    with pytest.raises(AirflowSkipException):
        etcd(policy, Place("waves", 5)).execute(context)
    assert steps.calls == []


BRAKED = {"answer": "held", "code": "BRAKE_ON", "sentence": "The brake is on: anna."}


def test_a_brake_ends_the_night_in_front_of_a_place(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    context["ti"].xcoms[("decide", "return_value")] = {"plan": PLAN}
    steps.answers["brake:may_go_on"] = BRAKED
    with pytest.raises(
        AirflowSkipException, match=r"w1, w2 continue on the next night: The brake is on: anna"
    ):
        etcd(policy, Place("waves", 0)).execute(context)
    assert context["ti"].xcoms[("me", "ended")] == {**BRAKED, "place": "waves", "index": 0}
    assert [path for path, _ in steps.calls] == ["brake:may_go_on"]


def test_a_window_that_closes_while_etcd_is_watched_ends_the_night(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms |= {
        ("me", "kept"): {"before": sample(0), "own": None},
        ("decide", "return_value"): {"plan": PLAN},
    }
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict()
    steps.answers["brake:may_go_on"] = [{"answer": "go"}, BRAKED]
    with pytest.raises(AirflowSkipException):
        etcd(policy, Place("control_plane", 0)).resume(context, {})


def test_a_wait_that_was_cut_short_judges_no_samples(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    context["ti"].xcoms[("decide", "return_value")] = {"plan": PLAN}
    steps.answers["brake:may_go_on"] = BRAKED
    with pytest.raises(AirflowSkipException):
        etcd(policy, Place("waves", 0)).resume(context, {})
    assert [path for path, _ in steps.calls] == ["brake:may_go_on"]


@pytest.mark.parametrize("place", [None, Place("control_plane", 0)])
def test_only_in_front_of_a_node_the_wait_asks_the_brake(
    steps: Any, context: Any, policy: ClusterPolicy, place: Place | None
) -> None:
    context["ti"].xcoms[("decide", "return_value")] = {"plan": PLAN}
    steps.answers["gates:gather_etcd_samples"] = sample(0)
    with pytest.raises(TaskDeferred) as deferred:
        etcd(policy, place).execute(context)
    assert deferred.value.trigger.asks_brake is (place is not None)


def test_a_night_that_ended_stays_so_for_all_later_places(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms |= {("decide", "return_value"): {"plan": PLAN}, ("first", "ended"): BRAKED}
    with pytest.raises(AirflowSkipException, match="anna"):
        etcd(policy, Place("waves", 0), enders=("first",)).execute(context)
    assert steps.calls == []
    assert ("me", "ended") not in context["ti"].xcoms


def test_a_window_begins_at_the_last_sample_of_the_gate_before(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms |= {("first", "sample"): sample(100), ("second", "sample"): sample(130)}
    steps.answers["gates:gather_etcd_samples"] = sample(170)
    steps.answers["gates:continues_window"] = True
    with pytest.raises(TaskDeferred) as deferred:
        etcd(policy, earlier=("first", "second")).execute(context)
    assert seconds_waited(deferred) == pytest.approx(60 - 40, abs=2)
    assert context["ti"].xcoms[("me", "kept")]["before"] == sample(130)


def test_a_window_that_has_passed_already_is_judged_at_once(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms |= {("first", "sample"): sample(100), ("decide", "return_value"): {"plan": PLAN}}
    steps.answers["gates:gather_etcd_samples"] = sample(160)
    steps.answers["gates:continues_window"] = True
    steps.answers["gates:check_etcd_latency"] = verdict()
    assert etcd(policy, Place("control_plane", 0), ("first",)).execute(context) == "cp1"
    assert context["ti"].xcoms[("me", "sample")] == sample(160)


def test_a_window_that_cannot_be_continued_begins_anew(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms[("first", "sample")] = sample(100)
    steps.answers["gates:gather_etcd_samples"] = sample(170)
    steps.answers["gates:continues_window"] = False
    with pytest.raises(TaskDeferred) as deferred:
        etcd(policy, earlier=("first",)).execute(context)
    assert seconds_waited(deferred) == pytest.approx(60, abs=2)
    assert context["ti"].xcoms[("me", "kept")]["before"] == sample(170)


def test_a_window_with_the_nights_own_work_in_it_refuses_nothing(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms[("first", "sample")] = sample(100)
    steps.answers["gates:gather_etcd_samples"] = [sample(160), sample(220)]
    steps.answers["gates:continues_window"] = True
    steps.answers["gates:check_etcd_latency"] = [verdict("block", "ETCD_SLOW"), verdict("block", "ETCD_SLOW")]
    sensor = etcd(policy, earlier=("first",))
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context)
    assert seconds_waited(deferred) == pytest.approx(60, abs=2)
    assert context["ti"].xcoms[("me", "kept")] == {"before": sample(160), "own": None}
    assert told(sensor, context)["code"] == "ETCD_SLOW"


def test_a_closed_gate_leaves_no_sample_for_the_next(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": None}
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict("block", "ETCD_SLOW")
    told(etcd(policy), context)
    assert ("me", "sample") not in context["ti"].xcoms


def test_a_continued_window_that_is_quiet_is_kept_open_too(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": sample(30)}
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict("blind", "ETCD_TOO_FEW_SAMPLES")
    with pytest.raises(TaskDeferred):
        etcd(policy).resume(context, {})
    assert context["ti"].xcoms[("me", "kept")]["before"] == sample(0)


def test_a_full_disk_is_asked_about_again_before_it_refuses(
    steps: Any, context: Any, policy: ClusterPolicy
) -> None:
    sensor = DiskUsageSensor(task_id="me", policy=policy, rechecks=1)
    steps.answers["gates:check_disk_usage"] = [verdict("block"), verdict("block")]
    with pytest.raises(TaskDeferred):
        sensor.execute(context)
    assert told(sensor, context)["outcome"] == "block"


def test_a_disk_with_room_is_asked_about_once(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    steps.answers["gates:check_disk_usage"] = verdict()
    assert DiskUsageSensor(task_id="me", policy=policy).execute(context)["outcome"] == "pass"


def test_the_disk_gate_is_told_tonights_target(steps: Any, context: Any, policy: ClusterPolicy) -> None:
    steps.answers["gates:check_disk_usage"] = verdict()
    DiskUsageSensor(task_id="me", policy=policy, choice=lambda _: {"target": "t"}).execute(context)
    assert ("gates:check_disk_usage", {"choice": {"target": "t"}}) in steps.calls
    assert len(steps.calls) == 1


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_dry_run_gives_etcd_nothing_to_do(
    steps: Any, context: Any, policy: ClusterPolicy, is_dry: bool
) -> None:
    probing = replace(policy, etcd_latency=replace(policy.etcd_latency, active_probe=True))
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": None}
    steps.answers["gates:gather_etcd_samples"] = sample(60)
    steps.answers["gates:check_etcd_latency"] = verdict("blind", "ETCD_TOO_FEW_SAMPLES")
    steps.answers["etcd_probe:write_a_little"] = 3
    sensor = EtcdLatencySensor(task_id="me", policy=probing, is_dry=lambda context: is_dry)
    with pytest.raises(TaskDeferred):
        sensor.resume(context, {})
    assert ("etcd_probe:write_a_little" in [path for path, _ in steps.calls]) is not is_dry


@pytest.mark.parametrize(
    ("reason", "said"),
    [("Trigger timeout", "did not come back within"), ("Trigger failure", "gave the wait up")],
)
def test_a_triggerer_that_does_not_bring_it_back_is_an_error_with_a_name(
    context: Any, policy: ClusterPolicy, reason: str, said: str
) -> None:
    """Airflow calls `resume_execution` so, and not `resume`: without a word of ours it looks like a killed process."""
    with pytest.raises(TransientError, match=f"TRIGGERER_FAILED.*{said}"):
        etcd(policy).resume_execution("__fail__", {"error": reason}, context)
    told = context["ti"].xcoms[("me", "failure")]
    assert told["code"] == "TRIGGERER_FAILED"
    assert "Start the triggerer" in told["next_step"]


def test_a_resumed_gate_tells_its_own_error_once(
    steps: Any, context: Any, policy: ClusterPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(context["ti"], "xcom_push", lambda key, value: told.append(value["code"]))
    context["ti"].xcoms[("me", "kept")] = {"before": sample(0), "own": None}
    error = UnreachableError("API_UNREACHABLE", "m", cause="c", next_step="n")
    steps.answers["gates:gather_etcd_samples"] = error
    with pytest.raises(UnreachableError):
        etcd(policy).resume_execution("resume", {"event": {}}, context)
    assert told == ["API_UNREACHABLE"]
