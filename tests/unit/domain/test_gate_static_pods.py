from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import CONTROL_PLANE, judged, manifest, node, probe

from nightshift.domain.facts import ManifestEntry, NodeFacts, NodeProbe, RunningProcess
from nightshift.domain.facts.static_pods import Access, PodProcess, StaticPodDetails
from nightshift.domain.facts.versions import KubeadmCluster
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment
from nightshift.domain.verdicts import Outcome, Verdict

HASH = "0123456789abcdef0123456789abcdef"


def details(name: str = "cp1", **changes: Any) -> StaticPodDetails:
    processes = {p.pid: PodProcess(500.0, HASH) for p in probe(name).processes}
    return replace(StaticPodDetails(Access("755", "root:root"), {}, processes), **changes)


def asked(found: NodeProbe, more: StaticPodDetails, **wanted: Any) -> Verdict:
    name = found.node
    return judged(
        "static_pods", nodes=(node(name),), probes={name: found}, static_pod_details={name: more}, **wanted
    )


def check(*extra: ManifestEntry, name: str = "cp1", **changes: Any) -> Verdict:
    found = probe(name)
    if extra:
        changes["manifests"] = (*found.manifests, *extra)
    links = {entry.name: Access("600", "root:root") for entry in extra if entry.kind == "symlink"}
    return asked(probe(name, **changes), details(name, links=links))


def test_stock_control_plane_and_empty_worker_pass() -> None:
    assert check().outcome is Outcome.PASS
    assert check(name="w1").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("entry", "outcome", "code"),
    [
        pytest.param(
            manifest("kube-apiserver", name="kube-apiserver.yaml.bak"),
            Outcome.BLOCK,
            "STRAY_MANIFEST",
            id="the incident: a backup beside the manifest",
        ),
        pytest.param(
            manifest("kube-apiserver", name=".kube-apiserver.yaml.bak"),
            Outcome.PASS,
            "OK",
            id="dotfiles are ignored, as the kubelet does",
        ),
        pytest.param(manifest("kube-vip"), Outcome.PASS, "OK", id="somebody's own static pod"),
        pytest.param(manifest("kube-vip", name="kube-vip"), Outcome.BLOCK, "STRAY_MANIFEST", id="no suffix"),
        pytest.param(
            manifest("kube-apiserver", name="api.yaml"),
            Outcome.BLOCK,
            "STRAY_MANIFEST",
            id="component elsewhere",
        ),
        pytest.param(
            manifest("x", pod_name=None, parse_error="bad indentation"),
            Outcome.BLOCK,
            "STRAY_MANIFEST",
            id="not a pod",
        ),
        pytest.param(manifest("x", kind="other"), Outcome.BLOCK, "STRAY_MANIFEST", id="a socket"),
        pytest.param(
            manifest("backup", kind="directory", pod_name=None),
            Outcome.PASS,
            "OK",
            id="directories are not read",
        ),
        pytest.param(manifest("kube-vip", mode="644"), Outcome.WARN, "MANIFEST_ACCESS", id="readable by all"),
        pytest.param(
            manifest("kube-vip", mode="664"), Outcome.BLOCK, "MANIFEST_ACCESS", id="group may write"
        ),
        pytest.param(manifest("kube-vip", mode="755"), Outcome.BLOCK, "MANIFEST_ACCESS", id="executable"),
        pytest.param(manifest("kube-vip", mode="?"), Outcome.BLOCK, "MANIFEST_ACCESS", id="mode unreadable"),
        pytest.param(manifest("kube-vip", mode="400"), Outcome.PASS, "OK", id="narrower is fine"),
        pytest.param(
            manifest("kube-vip", owner="ops:ops"), Outcome.BLOCK, "MANIFEST_ACCESS", id="another owner"
        ),
        pytest.param(
            manifest("kube-vip", kind="symlink", mode="777"),
            Outcome.WARN,
            "MANIFEST_LINK",
            id="a link's mode means nothing",
        ),
    ],
)
def test_one_more_entry(entry: ManifestEntry, outcome: Outcome, code: str) -> None:
    verdict = check(entry)
    assert (verdict.outcome, verdict.code) == (outcome, code), verdict.message
    if outcome is not Outcome.PASS:
        assert entry.name in verdict.message
        assert "cp1" in verdict.message


def test_two_files_of_one_pod_say_which_one_runs() -> None:
    verdict = check(
        manifest("kube-vip"), manifest("kube-vip", name="kube-vip-old.yaml", pod_namespace="kube-system")
    )
    assert verdict.code == "DUPLICATE_MANIFEST"
    assert "the kubelet runs kube-vip.yaml" in verdict.message
    apart = check(manifest("kube-vip"), manifest("kube-vip", name="b.yaml", pod_namespace="other"))
    assert apart.outcome is Outcome.PASS


def test_the_parse_error_is_passed_on() -> None:
    assert "bad indentation" in check(manifest("x", pod_name=None, parse_error="bad indentation")).message
    assert "no pod name" in check(manifest("x", pod_name=None)).message


def test_worker_strays_count_too() -> None:
    assert check(manifest("x", name="x.bak"), name="w1").code == "STRAY_MANIFEST"


def without(component: str, **wanted: Any) -> Verdict:
    left = [c for c in CONTROL_PLANE if c != component]
    found = probe(
        manifests=tuple(manifest(c) for c in left),
        processes=tuple(RunningProcess(c, 1, (c, "--v=2")) for c in left),
    )
    return asked(found, details(), **wanted)


def test_a_missing_manifest_blocks() -> None:
    assert without("kube-scheduler").code == "MANIFEST_MISSING"


def test_etcds_manifest_is_missed_where_kubeadm_looks_after_it() -> None:
    ours = KubeadmCluster("kubeadm.k8s.io/v1beta4")
    said = without("etcd", kubeadm_cluster=ours)
    assert said.code == "MANIFEST_MISSING"
    assert "cp1: /etc/kubernetes/manifests/etcd.yaml is missing" in said.message
    assert without("etcd", kubeadm_cluster=replace(ours, external_etcd=True)).outcome is Outcome.PASS
    assert without("etcd").outcome is Outcome.PASS  # kubeadm-config was not read
    worker = asked(probe("w1"), details("w1"), kubeadm_cluster=ours)
    assert worker.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("kube-apiserver", "--v=2", "--event-ttl=2h"), "only in the process --event-ttl=2h"),
        (("kube-apiserver",), "only in the file --v=2"),
        (("--v=2", "kube-apiserver"), "another order"),
        (None, "no kube-apiserver process is running"),
    ],
)
def test_what_runs_must_be_what_is_written(argv: tuple[str, ...] | None, said: str) -> None:
    others = tuple(p for p in probe().processes if p.name != "kube-apiserver")
    running = others if argv is None else (*others, RunningProcess("kube-apiserver", 9, argv))
    verdict = check(processes=running)
    assert verdict.code == "MANIFEST_NOT_RUNNING"
    assert said in verdict.message


def test_an_edit_that_does_not_run_yet_is_told_by_its_time() -> None:
    edited = manifest(
        "kube-scheduler", command=("kube-scheduler", "--v=2", "--profiling=false"), modified=560.0
    )
    others = tuple(m for m in probe().manifests if m.pod_name != "kube-scheduler")
    verdict = check(manifests=(*others, edited))
    assert verdict.code == "MANIFEST_NOT_RUNNING"
    assert "only in the file --profiling=false" in verdict.message
    assert "60 s after the process had started" in verdict.message
    assert "wait for the old process" in verdict.cause
    older = check(manifests=(*others, replace(edited, modified=100.0)))
    assert "after the process" not in older.message


def test_a_second_process_blocks_and_says_whose_it_is() -> None:
    twice = (*probe().processes, RunningProcess("etcd", 99, ("etcd", "--v=2")))
    by_hand = details(processes={**details().processes, 99: PodProcess(900.0, "")})
    verdict = asked(probe(processes=twice), by_hand)
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "SECOND_PROCESS")
    assert "2 etcd processes" in verdict.message
    assert "pid 99 in no pod" in verdict.message


@pytest.mark.parametrize(
    ("access", "outcome"),
    [
        (Access("755", "root:root"), Outcome.PASS),
        (Access("700", "root:root"), Outcome.PASS),
        (Access("775", "root:root"), Outcome.BLOCK),
        (Access("700", "ops:root"), Outcome.BLOCK),
        (None, Outcome.PASS),
    ],
)
def test_who_may_write_the_directory_is_root_on_the_node(access: Access | None, outcome: Outcome) -> None:
    verdict = asked(probe(), details(directory=access))
    assert verdict.outcome is outcome
    if outcome is Outcome.BLOCK:
        assert verdict.code == "MANIFEST_ACCESS"


def test_the_file_behind_a_link_is_judged() -> None:
    linked = manifest("kube-vip", kind="symlink", mode="777")
    found = probe(manifests=(*probe().manifests, linked))
    verdict = asked(found, details(links={"kube-vip.yaml": Access("664", "root:root")}))
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "MANIFEST_ACCESS")
    assert "the file behind" in verdict.message
    broken = replace(linked, pod_name=None, parse_error="no readable file of at most 1 MiB")
    assert asked(probe(manifests=(*probe().manifests, broken)), details()).code == "STRAY_MANIFEST"


@pytest.mark.parametrize(
    ("name", "path", "outcome"),
    [
        ("cp1", "/etc/kubernetes/manifests", Outcome.PASS),
        ("cp1", "/etc/kubernetes/manifests/", Outcome.PASS),
        ("cp1", "/etc/kubelet.d", Outcome.BLOCK),
        ("w1", "", Outcome.PASS),
        ("w1", "/etc/kubelet.d", Outcome.BLOCK),
    ],
)
def test_the_kubelet_must_read_where_kubeadm_writes(name: str, path: str, outcome: Outcome) -> None:
    verdict = asked(probe(name), details(name), configz={name: {"staticPodPath": path}})
    assert verdict.outcome is outcome
    if outcome is Outcome.BLOCK:
        assert verdict.code == "STATIC_POD_PATH"


def test_the_api_must_show_the_pod_that_runs() -> None:
    assert asked(probe(), details(), mirror_hashes={"etcd-cp1": HASH}).outcome is Outcome.PASS
    stale = asked(probe(), details(), mirror_hashes={"etcd-cp1": "f" * 32})
    assert (stale.outcome, stale.code) == (Outcome.WARN, "MIRROR_POD_STALE")
    assert "etcd" in stale.message
    assert asked(probe(), details(), mirror_hashes={"etcd-cp2": "f" * 32}).outcome is Outcome.PASS
    unknown = {p.pid: PodProcess(500.0, "") for p in probe().processes}
    assert (
        asked(probe(), details(processes=unknown), mirror_hashes={"etcd-cp1": "f" * 32}).outcome
        is Outcome.PASS
    )


@pytest.mark.parametrize("silent", ["probes", "static_pod_details"])
def test_a_node_that_does_not_answer_is_blind_and_the_others_are_judged(silent: str) -> None:
    stray = probe(manifests=(*probe().manifests, manifest("x", name="x.bak")))
    facts: dict[str, dict[str, Any]] = {
        "probes": {"cp1": stray, "w1": probe("w1")},
        "static_pod_details": {"cp1": details(), "w1": details("w1")},
    }
    facts[silent]["w1"] = None
    verdict = judged("static_pods", nodes=(node("cp1"), node("w1")), **facts)
    assert verdict.outcome is Outcome.BLIND
    assert "x.bak" in verdict.message


@pytest.mark.parametrize(
    ("nodes", "code"),
    [
        ((), "MANIFESTS_UNREADABLE"),
        ((node("cp1"),), "NODE_UNREACHABLE"),
        ((node("w1"),), "NODE_NOT_ASKED"),
    ],
)
def test_unread_nodes_are_blind(nodes: tuple[NodeFacts, ...], code: str) -> None:
    verdict = judged("static_pods", nodes=nodes, probes={"cp1": None}, static_pod_details={"cp1": None})
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, code)


@pytest.mark.parametrize("is_answering", [True, False])
@pytest.mark.parametrize(
    ("moment", "ahead", "is_open"),
    [(Moment.NIGHT, (), False), (Moment.PLACE, ("w2",), True), (Moment.PLACE, ("w1",), False)],
)
def test_a_worker_set_aside_closes_its_own_place_and_the_next_night_only(
    moment: Moment, ahead: tuple[str, ...], is_open: bool, is_answering: bool
) -> None:
    """Whether it is down or full of strays: that it is bad is known already."""
    stray = manifest("kube-vip", name="kube-vip.bak")
    bad = probe("w1", manifests=(stray,)) if is_answering else None
    nodes = (node("cp1"), node("w1", annotations={QUARANTINE_ANNOTATION: "{}"}), node("w2"))
    probes = {"cp1": probe("cp1"), "w1": bad, "w2": probe("w2")}
    more = {name: None if found is None else details(name) for name, found in probes.items()}
    verdict = judged(
        "static_pods", nodes=nodes, probes=probes, static_pod_details=more, moment=moment, nodes_ahead=ahead
    )
    assert (verdict.outcome is Outcome.PASS) is is_open, verdict.message
