import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, FakeNode, etcd_text

from nightshift.domain.errors import ConfigError, TrustError
from nightshift.domain.facts import NodeProbe, ScratchEntry
from nightshift.domain.gates import GATES
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment
from nightshift.steps import gates
from nightshift.steps.decide import decide
from nightshift.steps.detect_target import detect_target
from nightshift.steps.hold import acquire
from nightshift.steps.look.etcd import sample_from_dict, sample_to_dict
from nightshift.steps.reclaim_scratch import reclaim_scratch
from nightshift.steps.session import Session

FIVE = ("etcd_latency", "disk_usage", "node_health", "version_skew", "static_pods")
QUICK = [name for name in GATES if name not in ("etcd_latency", "disk_usage")]


def _all_gates(cluster: FakeCluster, session: Session, choice: dict[str, Any]) -> list[dict[str, Any]]:
    before = gates.gather_etcd_samples(session)
    for node in cluster.fakes.values():
        node.etcd = etcd_text(observations=500)
    session.sleep(60)
    after = gates.gather_etcd_samples(session)
    return [
        gates.check_etcd_latency(session, before, after),
        gates.check_disk_usage(session),
        *gates.ask_night(session, QUICK, choice)["verdicts"],
    ]


def test_a_healthy_cluster_is_a_go_with_a_plan(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    said = decide(session, choice, _all_gates(cluster, session, choice))
    assert said["answer"] == "go", said["sentence"]
    assert said["plan"]["control_plane"] == [{"node": "cp1", "command": "apply"}]
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_a_silent_gate_is_blind_and_there_is_no_plan(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    verdicts: list[Any] = _all_gates(cluster, session, choice)
    said = decide(session, choice, [*verdicts[:-1], None])
    assert said["answer"] == "blind"
    assert said["plan"] is None
    assert len(verdicts) == len(GATES)


def test_a_plan_that_cannot_be_made_is_blind(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    verdicts = _all_gates(cluster, session, choice)
    cluster.api_away_until = cluster.now + 10_000
    said = decide(session, choice, verdicts)
    assert (said["answer"], said["plan"]) == ("blind", None)
    assert "no answer to nodes" in said["sentence"]


def test_an_outage_nobody_accepted_is_blocked_and_there_is_no_plan(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    session.policy = replace(session.policy, accept_api_outage=False)
    said = decide(session, choice, _all_gates(cluster, session, choice))
    assert (said["answer"], said["plan"]) == ("blocked", None)
    assert "accept_api_outage" in said["sentence"]


def test_slow_etcd_blocks_and_names_member_and_bucket(cluster: FakeCluster, session: Session) -> None:
    before = gates.gather_etcd_samples(session)
    cluster.fakes["cp1"].etcd = etcd_text(slow=True, observations=500)
    cluster.sleep(60)
    verdict = gates.check_etcd_latency(session, before, gates.gather_etcd_samples(session))
    assert verdict["outcome"] == "block"
    assert "cp1" in verdict["message"]


def test_samples_survive_json(session: Session) -> None:
    look = gates.gather_etcd_samples(session)
    again = json.loads(json.dumps(look, allow_nan=False))
    sample = sample_from_dict(again["members"]["cp1"])
    assert sample.wal_fsync is not None
    assert sample.wal_fsync.buckets[-1][0] == float("inf")
    assert sample_to_dict(sample) == again["members"]["cp1"]


def test_the_second_look_renews_the_lease_of_its_run(cluster: FakeCluster, session: Session) -> None:
    acquire(session)
    cluster.sleep(100)
    gates.gather_etcd_samples(session)
    assert cluster.lease.is_live(cluster.now + 100)


def test_an_api_that_is_away_makes_every_gate_blind(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    cluster.api_away_until = cluster.now + 10_000
    verdicts = [gates.check_disk_usage(session), *gates.ask_night(session, QUICK, choice)["verdicts"]]
    assert {(v["outcome"], v["code"]) for v in verdicts} == {("blind", "API_UNREACHABLE")}
    assert len(verdicts) == len(QUICK) + 1


def test_an_api_that_is_away_makes_the_etcd_gate_blind(cluster: FakeCluster, session: Session) -> None:
    before = gates.gather_etcd_samples(session)
    cluster.api_away_until = cluster.now + 10_000
    verdict = gates.check_etcd_latency(session, before, gates.gather_etcd_samples(session))
    assert (verdict["outcome"], verdict["code"]) == ("blind", "API_UNREACHABLE")


@pytest.mark.parametrize("name", ["disk_usage", "static_pods"])
def test_an_unreachable_node_makes_its_gates_blind_and_says_why(
    cluster: FakeCluster, session: Session, name: str
) -> None:
    cluster.fakes["w1"].is_away = True
    (verdict,) = gates.ask(session, [name], Moment.NIGHT)
    assert (verdict["outcome"], verdict["code"]) == ("blind", "NODE_UNREACHABLE")
    assert "w1 did not answer" in verdict["message"]


def test_a_kubelet_without_thresholds_is_blind(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["w1"].configz = {}
    assert gates.check_disk_usage(session)["outcome"] == "blind"


def test_a_whole_round_reads_each_thing_once(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    gates.ask_night(session, ["node_health", "version_skew", "static_pods"], choice)
    # `ask`: the mirror pods, kubeadm's configuration, and kube-proxy; the token is for the kubelets' configuration.
    assert sorted(cluster.api_calls) == ["ask", "ask", "ask", "component_versions", "kubelet_token", "nodes"]


def test_between_two_nodes_our_own_cordon_and_the_half_done_hop_close_nothing(
    cluster: FakeCluster, session: Session, choice: dict[str, Any]
) -> None:
    """In the middle of a night: cp1 done, w1 in our hands, w2 next; a worker set aside is down."""
    cluster.upgrade_control_plane("1.35.4")
    cluster.nodes["cp1"] = replace(cluster.nodes["cp1"], kubelet_version="1.35.4")
    acquire(session)
    session.kube.cordon("w1", session.owner, 1)
    said = gates.ask_place(session, ["w2"], choice)["verdicts"]
    assert {v["gate"] for v in said} == set(gates.place_gates())
    assert {v["gate"]: v["outcome"] for v in said if v["gate"] in FIVE} == dict.fromkeys(
        ("disk_usage", "node_health", "version_skew", "static_pods"), "pass"
    )
    cluster.fakes["w1"].is_away = True
    cluster.nodes["w1"] = replace(
        cluster.nodes["w1"], is_ready=None, annotations={QUARANTINE_ANNOTATION: "{}"}, is_unschedulable=False
    )
    said = gates.ask_place(session, ["w2"], choice, FIVE[2:])["verdicts"]
    assert [v["outcome"] for v in said] == ["pass"] * 3
    (own,) = gates.ask_place(session, ["w1"], choice, ["node_health"])["verdicts"]
    assert own["outcome"] == "blind"


def test_detect_finds_the_next_minor(session: Session, offer: Callable[..., None]) -> None:
    offer(v1_34=("1.34.4-1.1",), v1_35=("1.35.3-1.1", "1.35.4-1.1"))
    choice = detect_target(session)
    assert choice["answer"] == "go"
    assert choice["target"]["package_version"] == "1.35.4-1.1"
    assert choice["nodes"][0] == {"name": "cp1", "kubelet": "1.34.4", "is_control_plane": True}


@pytest.mark.parametrize(
    ("offered", "newest"),
    [
        (("1.35.10-1.1", "1.35.9-2.1", "1.35.9-1.1", "1.35.0-1.1"), "1.35.10-1.1"),
        (("1.35.9-1.1", "1.35.9-1.2", "1.35.10~rc.1-1"), "1.35.9-1.2"),
        (("1.35.0~rc.1-1",), "none"),
        ((), "none"),
    ],
    ids=["newest first", "in no order", "no release", "nothing"],
)
def test_detect_logs_the_newest_offer_whatever_the_order(
    cluster: FakeCluster, session: Session, offer: Callable[..., None], offered: tuple[str, ...], newest: str
) -> None:
    offer(v1_34=("1.34.4-1.1",), v1_35=offered)
    detect_target(session)
    assert (
        f"Repository of 1.35, asked from cp1: {len(offered)} versions, newest {newest}\n"
        in cluster.log + "\n"
    )


def test_detect_says_nothing_when_nothing_is_offered(session: Session, offer: Callable[..., None]) -> None:
    offer(v1_34=("1.34.4-1.1",))
    assert detect_target(session)["answer"] == "nothing"


def test_detect_is_blind_when_no_control_plane_node_can_be_asked(
    cluster: FakeCluster, session: Session
) -> None:
    cluster.fakes["cp1"].is_away = True
    choice = detect_target(session)
    assert choice["answer"] == "blind"
    assert "cp1 did not answer" in choice["sentence"]


def test_detect_does_not_go_around_a_tampered_node(cluster: FakeCluster, session: Session) -> None:
    cluster.fakes["cp1"].broken = TrustError("NODE_SCRIPT_TAMPERED", "x", cause="y", next_step="z")
    with pytest.raises(TrustError):
        detect_target(session)


@pytest.mark.parametrize(
    ("version", "code"), [("1.36.0", "TARGET_SKIPS_MINOR"), ("1.33.1", "TARGET_IS_DOWNGRADE")]
)
def test_a_requested_version_obeys_the_same_rules(
    session: Session, offer: Callable[..., None], version: str, code: str
) -> None:
    offer(v1_34=("1.34.4-1.1",), v1_35=("1.35.4-1.1",))
    with pytest.raises(ConfigError, match=code):
        detect_target(session, version)


def test_reclaim_removes_the_old_keeps_the_newest_and_reports(cluster: FakeCluster, session: Session) -> None:
    old = cluster.now - 10 * 86_400
    names = [f"kubeadm-backup-etcd-2026-11-{day:02d}-01-02-03" for day in (1, 2, 3)]
    cluster.fakes["cp1"].scratch = tuple(ScratchEntry(n, old + i, 1024, True) for i, n in enumerate(names))
    cluster.fakes["w2"].is_away = True
    done = reclaim_scratch(session)
    assert done["nodes"]["cp1"]["removed"] == names[:2]
    assert "NODE_UNREACHABLE" in done["nodes"]["w2"]["error"]
    assert done["nodes"]["w1"]["error"] is None


def test_reclaim_leaves_all_alone_while_kubeadm_runs_and_says_so(
    cluster: FakeCluster, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster.fakes["cp1"]
    names = ("kubeadm-backup-etcd-2026-11-01-01-02-03", "kubeadm-backup-etcd-2026-11-02-01-02-03")
    node.scratch = tuple(ScratchEntry(n, 1000.0 + i, 1024, True) for i, n in enumerate(names))
    quiet = node.probe
    monkeypatch.setattr(node, "probe", lambda: replace(quiet(), kubeadm_pids=(4711,)))
    done = reclaim_scratch(session)
    assert [entry.name for entry in node.scratch] == list(names)
    assert "4711" in done["nodes"]["cp1"]["error"]
    assert "cp1" in done["sentence"]


def _leave_old_scratch(node: FakeNode) -> list[str]:
    names = ["kubeadm-backup-etcd-2026-11-01-01-02-03", "kubeadm-backup-etcd-2026-11-02-01-02-03"]
    node.scratch = tuple(ScratchEntry(n, 1000.0 + i, 1024, True) for i, n in enumerate(names))
    return names


def test_reclaim_starts_nothing_under_somebody_elses_run_and_says_who_it_is(
    cluster: FakeCluster, session: Session, other_session: Session
) -> None:
    """Cleared in an old run, or of a second Airflow: its job would make the live run's next one JOB_BUSY."""
    node = cluster.fakes["cp1"]
    names = _leave_old_scratch(node)
    acquire(other_session)
    done = reclaim_scratch(session)
    assert done["nodes"] == {}
    assert done["sentence"].startswith(
        f"Nothing is removed: somebody is at this cluster: {other_session.owner} since 2027-01-15 08:00:00 UTC"
    )
    assert ([entry.name for entry in node.scratch], node.calls) == (names, [])
    cluster.sleep(session.policy.limits.lease_seconds + 1)
    assert reclaim_scratch(session)["nodes"]["cp1"]["removed"] == names[:1]


def test_reclaim_goes_on_under_its_own_lease(cluster: FakeCluster, session: Session) -> None:
    names = _leave_old_scratch(cluster.fakes["cp1"])
    acquire(session)
    assert reclaim_scratch(session)["nodes"]["cp1"]["removed"] == names[:1]


def test_reclaim_starts_nothing_when_somebody_claims_while_it_looks(
    cluster: FakeCluster, session: Session, other_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who claims has fenced the node by then: the token that is read there would let the job begin."""
    node, took = cluster.fakes["cp1"], []
    names = _leave_old_scratch(node)
    probe = node.probe

    def claimed_meanwhile() -> NodeProbe:
        took.append(acquire(other_session))
        node.fence(took[0])
        return probe()

    monkeypatch.setattr(node, "probe", claimed_meanwhile)
    done = reclaim_scratch(session)
    assert (took, node.token, node.calls) == ([1], 1, [])
    assert [entry.name for entry in node.scratch] == names
    assert other_session.owner in done["nodes"]["cp1"]["error"]


def test_reclaim_says_what_stayed(cluster: FakeCluster, session: Session) -> None:
    node = cluster.fakes["cp1"]
    names = ("kubeadm-backup-etcd-2026-11-01-01-02-03", "kubeadm-backup-etcd-2026-11-02-01-02-03")
    node.scratch = tuple(ScratchEntry(n, 1000.0 + i, 1024, True) for i, n in enumerate(names))
    node._reclaim_scratch = lambda args: None  # type: ignore[method-assign]
    assert "still there" in reclaim_scratch(session)["nodes"]["cp1"]["error"]
