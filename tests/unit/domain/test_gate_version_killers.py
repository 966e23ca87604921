"""What the new minor no longer bears: one row per kind of entry, on the shipped table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import components, manifest, node, probe

from nightshift.clients.tables import load_killers
from nightshift.domain.facts.etcd import ETCD, EtcdState, EtcdStatus
from nightshift.domain.facts.versions import (
    KILLERS,
    KUBEADM_CLUSTER,
    PLATFORM,
    KubeadmCluster,
    KubeletFlag,
    Platform,
)
from nightshift.domain.gates.version_killers import NEEDS, bites, check, corefile_plugins, is_below
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import COMPONENTS, CONFIGZ, NODES, PROBES, TARGET
from nightshift.domain.verdicts import Outcome

POLICY = ClusterPolicy("test", "k", "s", "file:///store")
COREFILE = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
"""
CLUSTER = KubeadmCluster(
    "kubeadm.k8s.io/v1beta4", proxy_mode="iptables", coredns_version="1.12.1", corefile=COREFILE
)
# As kubeadm 1.34 leaves a node: the flag that 1.35 does not know is in kubeadm's own file, which kubeadm cleans.
STOCK = Platform(
    "v2",
    "6.1.0-31-amd64",
    "containerd",
    "1.6.20",
    (
        KubeletFlag("pod-infra-container-image", "registry.k8s.io/pause:3.10.1", "kubeadm-flags.env"),
        KubeletFlag("config", "/var/lib/kubelet/config.yaml", "kubelet.service"),
    ),
    {"cgroupDriver": "systemd"},
)
RUNNING = {"maxPods": 110, "failCgroupV1": True}  # what the kubelet tells of itself, defaults included
ON_CGROUP_V1 = replace(STOCK, cgroup="v1")


def target(version: str = "1.35.4", kind: TargetKind = TargetKind.MINOR) -> TargetChoice:
    return TargetChoice(kind, "", version, f"{version}-1.1", version.rpartition(".")[0], "1.34.4")


def round_with(
    platform: Platform = STOCK,
    cluster: KubeadmCluster = CLUSTER,
    etcd: str = "3.6.5-0",
    version: str = "1.35.4",
    manifests: Mapping[str, tuple[str, ...]] | None = None,
    configz: Mapping[str, object] | None = None,
) -> Round:
    entries = tuple(manifest(name, command=words) for name, words in (manifests or {}).items())
    values: Mapping[Any, Any] = {
        TARGET: target(version),
        NODES: (node("cp1"), node("w1")),
        KILLERS: load_killers(),
        KUBEADM_CLUSTER: cluster,
        COMPONENTS: {"cp1": components(etcd=etcd)},
        PROBES: {"cp1": probe("cp1", manifests=entries), "w1": probe("w1")},
        PLATFORM: {"cp1": STOCK, "w1": platform},
        CONFIGZ: {"cp1": RUNNING, "w1": configz or RUNNING},
    }
    return Round(Moment.NIGHT, 0.0, {topic.name: Reading(0.0, value) for topic, value in values.items()})


def test_a_stock_cluster_passes_on_the_way_to_the_next_minor_and_within_its_own() -> None:
    for version in ("1.34.9", "1.35.4"):
        verdict = check(round_with(version=version), POLICY)
        assert verdict.outcome is Outcome.PASS, verdict.message


def flag(name: str, value: str, place: str = "/etc/default/kubelet") -> Platform:
    return replace(STOCK, kubelet_flags=(*STOCK.kubelet_flags, KubeletFlag(name, value, place)))


@pytest.mark.parametrize(
    ("changes", "version", "words"),
    [
        (
            {"platform": flag("pod-infra-container-image", "pause")},
            "1.35.4",
            ["--pod-infra-container-image", "w1", "/etc/default/kubelet"],
        ),
        (
            {"platform": flag("feature-gates", "Foo=true,SizeMemoryBackedVolumes=true")},
            "1.35.4",
            ["SizeMemoryBackedVolumes=true", "w1"],
        ),
        (
            {"platform": replace(STOCK, kubelet_config={"featureGates": {"ExecProbeTimeout": False}})},
            "1.35.4",
            ["ExecProbeTimeout=false", "config.yaml"],
        ),
        ({"platform": ON_CGROUP_V1}, "1.35.4", ["Node w1 runs on cgroup v1", "kubelet refuses"]),
        ({"platform": replace(STOCK, kernel="4.19.0-27-amd64")}, "1.35.4", ["w1", "4.19.0"]),
        ({"platform": replace(STOCK, kernel="5.8.0")}, "1.35.4", ["5.8.0"]),
        ({"etcd": "3.6.8-0"}, "1.37.1", ["etcd on cp1 is 3.6.8", "3.6.11"]),
        ({"etcd": "3.5.21-0"}, "1.34.4", ["etcd on cp1 is 3.5.21"]),
        ({"etcd": "3.5.24-0"}, "1.36.1", ["etcd on cp1 is 3.5.24", "no etcd older than 3.6"]),
        (
            {"cluster": replace(CLUSTER, etcd_image=("", "3.5.24-0"))},
            "1.36.1",
            ["etcd.local.imageTag in kubeadm-config is 3.5.24"],
        ),
        (
            {
                "etcd": "3.6.11-0",
                "manifests": {"etcd": ("etcd", "--experimental-initial-corrupt-check=true")},
            },
            "1.37.1",
            ["--experimental-initial-corrupt-check", "etcd on cp1"],
        ),
        (
            {"manifests": {"kube-apiserver": ("kube-apiserver", "--feature-gates=PodIndexLabel=true")}},
            "1.35.4",
            ["PodIndexLabel=true", "kube-apiserver on cp1"],
        ),
        (
            {
                "cluster": replace(
                    CLUSTER, extra_args={"kube-scheduler": (("feature-gates", "ComponentSLIs=true"),)}
                )
            },
            "1.35.4",
            ["ComponentSLIs=true", "kube-scheduler in kubeadm-config"],
        ),
        (
            {"cluster": replace(CLUSTER, kubelet_gates={"PodIndexLabel": "True"})},
            "1.35.4",
            ["PodIndexLabel=true", "ConfigMap kubelet-config"],
        ),
        (
            {"cluster": replace(CLUSTER, proxy_gates={"ComponentSLIs": "True"})},
            "1.35.4",
            ["ComponentSLIs=true", "kube-proxy's ConfigMap"],
        ),
        (
            {"cluster": replace(CLUSTER, api_version="kubeadm.k8s.io/v1beta3"), "etcd": "3.6.11-0"},
            "1.37.1",
            ["v1beta3"],
        ),
        (
            {"cluster": replace(CLUSTER, feature_gates={"ControlPlaneKubeletLocalMode": "True"})},
            "1.36.1",
            ["ControlPlaneKubeletLocalMode"],
        ),
        ({"cluster": replace(CLUSTER, coredns_version="1.12.99")}, "1.35.4", ["CoreDNS is 1.12.99"]),
        (
            {"cluster": replace(CLUSTER, corefile=COREFILE.replace("    loop\n", "    template ANY ANY\n"))},
            "1.35.4",
            ["plugin template"],
        ),
    ],
)
def test_what_is_gone_blocks_and_says_where_it_is(
    changes: dict[str, Any], version: str, words: list[str]
) -> None:
    verdict = check(round_with(version=version, **changes), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "VERSION_KILLER")
    assert [word for word in words if word not in verdict.message] == []
    assert verdict.resolution
    assert "https://" in verdict.cause


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({"platform": ON_CGROUP_V1}, "1.34.9"),
        ({"platform": flag("pod-infra-container-image", "pause")}, "1.34.9"),
        ({"platform": replace(STOCK, runtime_version="1.6.20")}, "1.36.1"),
        ({"platform": replace(STOCK, kernel="5.10.0-32-amd64")}, "1.35.4"),
        ({"etcd": "3.6.11-0"}, "1.37.1"),
        ({"etcd": "3.5.24-0"}, "1.34.4"),
        ({"etcd": "3.5.24-0"}, "1.35.4"),
        ({"etcd": "3.6.6-0"}, "1.36.1"),
    ],
)
def test_what_the_minor_still_bears_is_no_finding(changes: dict[str, Any], version: str) -> None:
    assert check(round_with(version=version, **changes), POLICY).outcome is Outcome.PASS


def test_cgroup_v1_with_both_ways_out_taken_is_the_owners_decision() -> None:
    allowed = replace(ON_CGROUP_V1, kubelet_config={"failCgroupV1": False})
    ignoring = replace(POLICY, ignored_preflight_checks=("SystemVerification",))
    passed = check(round_with(allowed), ignoring)
    assert passed.outcome is Outcome.PASS
    assert (
        "ignored_preflight_checks lets pass: Node w1 runs on cgroup v1 (SystemVerification)."
        in passed.message
    )
    assert passed.evidence["ignored"] == ["Node w1 runs on cgroup v1 (SystemVerification)"]
    assert "ignored" not in check(round_with(), ignoring).evidence
    assert check(round_with(allowed), POLICY).outcome is Outcome.BLOCK
    assert check(round_with(ON_CGROUP_V1), ignoring).outcome is Outcome.BLOCK


def test_a_deprecated_proxy_mode_warns() -> None:
    verdict = check(round_with(cluster=replace(CLUSTER, proxy_mode="ipvs")), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "VERSION_DEPRECATED")


def test_containerd_1_is_gone_with_1_38() -> None:
    entry = next(k for k in load_killers() if k.name == "containerd-runtimeconfig")
    assert (bites(entry, "1.37"), bites(entry, "1.38")) == (False, True)


def test_without_a_hop_there_is_nothing_to_judge_and_without_a_target_it_is_blind() -> None:
    for kind, outcome in ((TargetKind.NONE, Outcome.PASS), (TargetKind.BLIND, Outcome.BLIND)):
        asked = round_with(flag("pod-infra-container-image", "pause"))
        readings = {**asked.readings, TARGET.name: Reading(0.0, TargetChoice(kind, "why"))}
        assert check(replace(asked, readings=readings), POLICY).outcome is outcome


def test_needs_are_what_check_asks_for() -> None:
    assert {topic.name for topic in NEEDS} == set(round_with().readings)


def with_etcd(
    tag: str | None, version: str | None, cluster: KubeadmCluster = CLUSTER, target_version: str = "1.37.1"
) -> Round:
    """A second control plane cp2 whose pod has this tag, and whose member says this version."""
    plain = round_with(etcd="3.6.11-0", version=target_version, cluster=cluster)
    versions = {"cp1": components(etcd="3.6.11-0")}
    if tag is not None:
        versions["cp2"] = components(etcd=tag)
    more: dict[Any, Any] = {NODES: (node("cp1"), node("cp2"), node("w1")), COMPONENTS: versions}
    if version is not None:
        status = EtcdStatus("1", version, "1", False, 1, 1, 0, 1, 1, (), ())
        more[ETCD] = {"cp2": EtcdState("answers", status)}
    values = {topic.name: Reading(0.0, value) for topic, value in more.items()}
    return replace(plain, readings={**plain.readings, **values})


@pytest.mark.parametrize("tag", [None, "", "sha-f00"])
def test_without_a_readable_tag_the_member_itself_says_its_version(tag: str | None) -> None:
    old = check(with_etcd(tag, "3.6.8"), POLICY)
    assert (old.outcome, old.code) == (Outcome.BLOCK, "VERSION_KILLER")
    assert "etcd on cp2 is 3.6.8" in old.message
    assert check(with_etcd(tag, "3.6.11"), POLICY).outcome is Outcome.PASS


@pytest.mark.parametrize("tag", [None, "", "sha-f00"])
def test_an_etcd_that_nothing_tells_the_version_of_is_blind(tag: str | None) -> None:
    verdict = check(with_etcd(tag, None), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "VERSION_UNKNOWN")
    assert "etcd on cp2" in verdict.message


def test_an_unknown_etcd_is_nobodys_business_where_no_entry_asks_or_it_is_not_kubeadms() -> None:
    external = replace(CLUSTER, external_etcd=True)
    assert check(with_etcd(None, None, external), POLICY).outcome is Outcome.PASS
    assert check(with_etcd("3.5.21-0", None, target_version="1.33.9"), POLICY).outcome is Outcome.PASS
    assert check(with_etcd(None, None, target_version="1.33.9"), POLICY).outcome is Outcome.PASS


def test_versions_are_compared_by_their_numbers() -> None:
    assert is_below("3.6.8-0", "3.6.11")
    assert not is_below("3.6.11-0", "3.6.11")
    assert not is_below("6.18.44-fc", "6.0")
    assert is_below("garbage", "1.0")


def test_plugins_of_a_corefile() -> None:
    assert corefile_plugins(COREFILE)[:3] == ("errors", "health", "ready")
    assert "lameduck" not in corefile_plugins(COREFILE)
    assert corefile_plugins("import custom/*.server\n.:53 {\n  import x\n  log # loud\n}\n") == ("log",)


def test_an_unknown_runtime_is_blind_where_an_entry_is_about_runtimes() -> None:
    unknown = replace(STOCK, runtime=None, runtime_version=None)
    ready = {"etcd": "3.7.0-0", "version": "1.38.0"}
    verdict = check(round_with(platform=unknown, **ready), POLICY)
    assert "RUNTIME_UNKNOWN" in [found["code"] for found in verdict.evidence["findings"]]
    assert "container runtime w1 runs is not known" in verdict.message
    new = replace(STOCK, runtime="cri-o", runtime_version="1.34.1")
    known = check(round_with(platform=new, **ready), POLICY)
    assert "is not known" not in known.message
    assert check(round_with(platform=unknown), POLICY).outcome is Outcome.PASS  # 1.35 has no such entry


def test_a_gate_that_only_the_running_kubelet_tells_of_blocks() -> None:
    drop_in = {**RUNNING, "featureGates": {"SizeMemoryBackedVolumes": True}}
    verdict = check(round_with(configz=drop_in), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "VERSION_KILLER")
    for word in ("SizeMemoryBackedVolumes=true", "kubelet on w1", "running configuration"):
        assert word in verdict.message
    assert "cp1" not in verdict.message


def test_a_gate_whose_file_is_known_is_said_once() -> None:
    gates = {"featureGates": {"SizeMemoryBackedVolumes": True}}
    in_file = replace(STOCK, kubelet_config=gates)
    verdict = check(round_with(in_file, configz={**RUNNING, **gates}), POLICY)
    assert len(verdict.evidence["findings"]) == 1
    by_flag = flag("feature-gates", "SizeMemoryBackedVolumes=true")
    verdict = check(round_with(by_flag, configz={**RUNNING, **gates}), POLICY)
    assert len(verdict.evidence["findings"]) == 1


def test_a_kubelet_without_a_file_is_blind_unless_the_night_leaves_it_out() -> None:
    asked = round_with(replace(STOCK, kubelet_config=None))
    verdict = check(asked, POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "KUBELET_CONFIG_UNREADABLE")
    assert "w1" in verdict.message
    aside = (node("cp1"), node("w1", annotations={QUARANTINE_ANNOTATION: "{}"}))
    left = replace(asked, readings={**asked.readings, NODES.name: Reading(0.0, aside)})
    leaving = replace(POLICY, workers=replace(POLICY.workers, retry_quarantined=False))
    assert check(left, leaving).outcome is Outcome.PASS
    on_v1 = round_with(replace(ON_CGROUP_V1, kubelet_config=None))
    assert "VERSION_KILLER" in str(check(on_v1, POLICY).evidence["findings"])


@pytest.mark.parametrize("tag", ["3.6.11-0", "sha-f00"])
def test_a_pinned_etcd_is_told(tag: str) -> None:
    pinned = replace(CLUSTER, etcd_image=("", tag))
    verdict = check(round_with(cluster=pinned), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "ETCD_PINNED")
    assert tag in verdict.message
    assert "etcd.local.imageTag" in verdict.message
    external = replace(pinned, external_etcd=True)
    assert check(round_with(cluster=external), POLICY).outcome is Outcome.PASS
    mirror = replace(CLUSTER, etcd_image=("mirror.example/k8s", ""))
    assert check(round_with(cluster=mirror), POLICY).outcome is Outcome.PASS


def test_what_is_old_is_said_by_one_entry() -> None:
    for version in ("1.34.4", "1.36.1", "1.37.1"):
        found = check(round_with(etcd="3.5.20-0", version=version), POLICY).evidence["findings"]
        assert len([f for f in found if "etcd on cp1" in f["message"]]) == 1
