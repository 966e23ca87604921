from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.domain.builders import components, node

from nightshift.domain.facts import JobFacts
from nightshift.domain.plan import Plan, build_plan, end_plan, kubeadm_command
from nightshift.domain.policy import ClusterPolicy, WorkerPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION, new_quarantine
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.verdicts import Outcome

TARGET = TargetChoice(TargetKind.MINOR, "hop", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4")
OLD, NEW = components("1.34.4"), components("1.35.4")


def policy(**changes: Any) -> ClusterPolicy:
    return ClusterPolicy("c", "k", "s", "file:///s", **{"accept_api_outage": True, **changes})


def plan(versions: dict[str, str], running: dict[str, dict[str, str]], **options: Any) -> Plan:
    chosen = options.pop("policy", None) or policy()
    nodes = [node(name, version) for name, version in versions.items()]
    return build_plan(nodes, running, TARGET, chosen, **options)


def steps(result: Plan) -> list[tuple[str, str]]:
    return [(step.node, step.command) for step in result.control_plane]


THREE = {"cp1": "1.34.4", "cp2": "1.34.4", "cp3": "1.34.4"}


@pytest.mark.parametrize(
    ("kubelets", "running", "options", "expected"),
    [
        pytest.param(
            THREE,
            dict.fromkeys(THREE, OLD),
            {},
            [("cp1", "apply"), ("cp2", "node"), ("cp3", "node")],
            id="fresh hop",
        ),
        pytest.param(
            THREE,
            dict.fromkeys(THREE, OLD),
            {"etcd_leader": "cp1"},
            [("cp2", "apply"), ("cp3", "node"), ("cp1", "node")],
            id="leader last",
        ),
        pytest.param(
            {**THREE, "cp1": "1.35.4"},
            {"cp1": NEW, "cp2": OLD, "cp3": OLD},
            {},
            [("cp2", "node"), ("cp3", "node")],
            id="first one done: its kubelet proves that apply ended",
        ),
        pytest.param(
            THREE,
            {"cp1": OLD, "cp2": NEW, "cp3": OLD},
            {},
            [("cp2", "apply"), ("cp1", "node"), ("cp3", "node")],
            id="apply may have died before writing kubeadm-config: again, on the same node",
        ),
        pytest.param(
            THREE,
            {"cp1": NEW, "cp2": OLD, "cp3": OLD},
            {"config_version": "v1.35.4"},
            [("cp1", "node"), ("cp2", "node"), ("cp3", "node")],
            id="kubeadm-config already says the target",
        ),
        pytest.param(
            {**THREE, "cp1": "1.35.4"},
            {"cp1": NEW, "cp2": OLD, "cp3": OLD},
            {"config_version": "v1.34.4"},
            [("cp2", "apply"), ("cp3", "node")],
            id="kubeadm-config is the truth, whatever runs",
        ),
        pytest.param(
            {**THREE, "cp1": "1.35.4", "cp2": "1.35.4", "cp3": "1.35.4"},
            {"cp1": NEW, "cp2": NEW, "cp3": {**NEW, "kube-scheduler": "1.34.4"}},
            {},
            [("cp3", "node")],
            id="one component behind",
        ),
        pytest.param(
            {**THREE, "cp1": "1.35.4"},
            {"cp1": {**NEW, "kube-scheduler": "?"}, "cp2": NEW},
            {"config_version": "1.35.4"},
            [("cp2", "node"), ("cp1", "node"), ("cp3", "node")],
            id="unknown is not done",
        ),
    ],
)
def test_control_plane_order_and_commands(
    kubelets: dict[str, str],
    running: dict[str, dict[str, str]],
    options: dict[str, Any],
    expected: list[tuple[str, str]],
) -> None:
    assert steps(plan(kubelets, running, **options)) == expected


DONE_CP = {"cp1": "1.35.4"}
WORKERS = {f"w{i}": "1.34.4" for i in range(1, 8)}


@pytest.mark.parametrize(
    ("max_unavailable", "waves", "expected", "leftover"),
    [
        (1, 3, (("w1",), ("w2",), ("w3",)), ("w4", "w5", "w6", "w7")),
        (3, 3, (("w1",), ("w2", "w3", "w4"), ("w5", "w6", "w7")), ()),
        (2, 3, (("w1",), ("w2", "w3"), ("w4", "w5")), ("w6", "w7")),
        (5, 1, (("w1",),), ("w2", "w3", "w4", "w5", "w6", "w7")),
    ],
)
def test_first_wave_is_one_canary_and_the_rest_continues_tomorrow(
    max_unavailable: int, waves: int, expected: tuple[tuple[str, ...], ...], leftover: tuple[str, ...]
) -> None:
    chosen = policy(workers=WorkerPolicy(max_unavailable, waves))
    result = plan({**DONE_CP, **WORKERS}, {"cp1": NEW}, policy=chosen)
    assert result.waves == expected
    assert result.leftover == leftover
    assert ("continue tomorrow" in result.sentence) is bool(leftover)


def test_canary_is_the_least_loaded_ready_worker_and_done_workers_are_left_alone() -> None:
    nodes = [
        node("cp1", "1.35.4"),
        node("w1"),
        node("w2"),
        node("w3", is_ready=False),
        node("w4", "1.35.4"),
    ]
    counts = {"w1": 9, "w2": 2, "w3": 0}
    result = build_plan(nodes, {"cp1": NEW}, TARGET, policy(), pod_counts=counts)
    assert result.waves == (("w2",), ("w1",), ("w3",))


def test_no_worker_before_the_last_control_plane() -> None:
    result = plan({**THREE, **WORKERS}, dict.fromkeys(THREE, OLD), policy=policy(control_plane_slots=2))
    assert steps(result) == [("cp1", "apply"), ("cp2", "node")]
    assert result.waves == ()
    assert result.leftover == ("cp3", *WORKERS)


@pytest.mark.parametrize(
    ("members", "accepted", "outcome"),
    [
        (1, False, Outcome.BLOCK),
        (2, False, Outcome.BLOCK),  # two members lose quorum without one, as one does
        (3, False, Outcome.PASS),
        (1, True, Outcome.PASS),
    ],
)
def test_losing_quorum_needs_the_owners_word(members: int, accepted: bool, outcome: Outcome) -> None:
    kubelets = {f"cp{i}": "1.34.4" for i in range(members)}
    result = plan(kubelets, dict.fromkeys(kubelets, OLD), policy=policy(accept_api_outage=accepted))
    assert result.verdict.outcome is outcome
    assert ("the API will be away" in result.sentence) is (members < 3)
    if outcome is Outcome.BLOCK:
        assert f"{members} control-plane node{'s' if members > 1 else ''}:" in result.verdict.message
        assert result.verdict.code == "API_OUTAGE_NOT_ACCEPTED"
        assert "accept_api_outage: true" in result.verdict.resolution


def test_unreadable_versions_are_due_and_apply_is_the_careful_command() -> None:
    result = plan({"cp1": "", "w1": "?"}, {"cp1": NEW}, config_version="latest")
    assert steps(result) == [("cp1", "apply")]
    assert result.waves == (("w1",),)


def test_workers_alone_cause_no_outage() -> None:
    result = plan({**DONE_CP, "w1": "1.34.4"}, {"cp1": NEW}, policy=policy(accept_api_outage=False))
    assert result.verdict.outcome is Outcome.PASS
    assert "control plane already there" in result.sentence
    assert "away" not in result.sentence


def test_a_plan_is_handed_on_as_plain_data() -> None:
    result = plan({**THREE, **WORKERS}, dict.fromkeys(THREE, OLD))
    told = json.loads(json.dumps(result.to_dict()))
    assert [(s["node"], s["command"]) for s in told["control_plane"]] == steps(result)
    assert [tuple(wave) for wave in told["waves"]] == list(result.waves)


def test_no_plan_without_a_target() -> None:
    with pytest.raises(ValueError, match="nothing newer"):
        build_plan([], {}, TargetChoice(TargetKind.NONE, "nothing newer"), policy())


@pytest.mark.parametrize(
    ("is_control_plane", "config_version", "command"),
    [
        pytest.param(True, "1.34.4", "apply", id="apply has not come to its end"),
        pytest.param(True, "v1.35.4", "node", id="apply is done, as kubeadm writes it"),
        pytest.param(True, None, "apply", id="not known: apply converges, node would not"),
        pytest.param(True, "nonsense", "apply", id="unreadable"),
        pytest.param(False, "1.34.4", "node", id="a worker never applies"),
    ],
)
def test_kubeadm_command_follows_kubeadms_own_configuration(
    is_control_plane: bool, config_version: str | None, command: str
) -> None:
    who = node("cp2", is_control_plane=is_control_plane)
    assert kubeadm_command(who, "1.35.4", config_version) == command


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        pytest.param(
            ("apply", "1.35.4", "900"), "apply", id="began with apply, configuration already written"
        ),
        pytest.param(("node", "1.35.4", "900"), "node", id="began with node"),
        pytest.param(("apply", "1.34.4", "900"), "node", id="an earlier hop's apply"),
    ],
)
def test_a_node_ends_with_the_command_it_began_with(arguments: tuple[str, ...], command: str) -> None:
    known = JobFacts("kubeadm-upgrade", "lost", None, "r1", 1, arguments, 0.0, None)
    assert kubeadm_command(node("cp1"), "1.35.4", "1.35.4", known) == command


def test_a_plan_names_the_address_of_every_node_it_begins_and_of_no_other() -> None:
    nodes = [node(name, address=f"10.0.0.{n}") for n, name in enumerate(("cp1", "w1", "w2", "w3"))]
    chosen = policy(workers=WorkerPolicy(waves=2))
    made = build_plan(nodes, {"cp1": OLD}, TARGET, chosen)
    assert made.leftover == ("w3",)
    expected = {"cp1": "10.0.0.0", "w1": "10.0.0.1", "w2": "10.0.0.2"}
    assert json.loads(json.dumps(made.to_dict()))["addresses"] == expected


def _end(place: str, index: int, *nodes: str) -> dict[str, Any]:
    return {"place": place, "index": index, **({"nodes": list(nodes)} if nodes else {})}


@pytest.mark.parametrize(
    ("ends", "begun", "leftover"),
    [
        ([_end("control_plane", 0)], [], ["cp1", "cp2", "w1", "w2", "w3", "w9"]),
        ([_end("control_plane", 1)], ["cp1"], ["cp2", "w1", "w2", "w3", "w9"]),
        ([_end("control_plane", 0, "cp1")], [], ["cp1", "cp2", "w1", "w2", "w3", "w9"]),
        ([_end("waves", 0)], ["cp1", "cp2"], ["w1", "w2", "w3", "w9"]),
        ([_end("waves", 1)], ["cp1", "cp2", "w1"], ["w2", "w3", "w9"]),
        ([_end("waves", 1, "w3")], ["cp1", "cp2", "w1", "w2"], ["w3", "w9"]),
        ([_end("waves", 1, "w2"), _end("waves", 1, "w3")], ["cp1", "cp2", "w1"], ["w2", "w3", "w9"]),
        ([_end("waves", 1), _end("control_plane", 1, "cp2")], ["cp1"], ["cp2", "w1", "w2", "w3", "w9"]),
    ],
)
def test_a_plan_that_ends_early_leaves_the_rest_for_tomorrow(
    ends: list[dict[str, Any]], begun: list[str], leftover: list[str]
) -> None:
    steps = [{"node": "cp1", "command": "apply"}, {"node": "cp2", "command": "node"}]
    tonight = {"control_plane": steps, "waves": [["w1"], ["w2", "w3"]], "leftover": ["w9"], "sentence": "s"}
    done = end_plan(tonight, ends)
    assert [s["node"] for s in done["control_plane"]] + [n for wave in done["waves"] for n in wave] == begun
    assert (done["leftover"], done["sentence"]) == (leftover, "s")
    assert tonight["waves"] == [["w1"], ["w2", "w3"]]


def _with_marks(*marked: str, retry: bool = True, late: tuple[str, ...] = ("w1", "w2", "w3")) -> Plan:
    """A cluster whose control plane is done; these workers are behind, some of them set aside by an earlier night."""
    mark = {QUARANTINE_ANNOTATION: new_quarantine("DRAIN_BLOCKED", "a/b/c", 0.0).to_text()}
    nodes = [node("cp1", "1.35.4")]
    nodes += [node(name, annotations=mark if name in marked else {}) for name in late]
    chosen = policy(workers=WorkerPolicy(retry_quarantined=retry))
    return build_plan(nodes, {"cp1": NEW}, TARGET, chosen, config_version="1.35.4")


def test_who_was_set_aside_is_tried_again_last_and_never_as_a_canary_of_others() -> None:
    made = _with_marks("w1")
    assert made.waves == (("w2",), ("w3",), ("w1",))
    assert made.quarantined == ()
    assert "w1 (DRAIN_BLOCKED, since 1970-01-01T00:00:00+00:00); tried again, last" in made.sentence


def test_who_was_set_aside_is_left_out_when_the_policy_says_so() -> None:
    made = _with_marks("w1", retry=False)
    assert (made.waves, made.quarantined, made.leftover) == ((("w2",), ("w3",)), ("w1",), ())
    assert made.to_dict()["quarantined"] == ["w1"]
    assert "w1 (DRAIN_BLOCKED" in made.sentence
    assert "left out" in made.sentence
    assert made.verdict.outcome is Outcome.PASS


def test_nothing_but_who_is_left_out_holds_the_night() -> None:
    made = _with_marks("w1", retry=False, late=("w1",))
    assert (made.verdict.outcome, made.verdict.code) == (Outcome.HOLD, "NODES_QUARANTINED")
    assert "kubectl annotate node NODE nightshift.io/quarantined-" in made.verdict.resolution
    assert _with_marks("w1", late=("w1",)).verdict.outcome is Outcome.PASS
