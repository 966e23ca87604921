from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import node
from tests.unit.domain.test_drift import (
    CONFIGURATION,
    CONFIGZ,
    COREFILE,
    MAP,
    config,
    files,
    pod,
    with_flags,
)

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.drift import (
    CLUSTER_SETTINGS,
    CONTROL_PLANE_CONFIG,
    KUBELET_FILES,
    Addon,
    ClusterSettings,
    ControlPlaneConfig,
    KubeletFiles,
)
from nightshift.domain.gates import drift
from nightshift.domain.policy import ClusterPolicy, DriftPolicy
from nightshift.domain.quarantine import QUARANTINE_ANNOTATION
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.topics import CONFIGZ as CONFIGZ_TOPIC
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Outcome, Verdict

SETTINGS = ClusterSettings(
    configuration=CONFIGURATION,
    kubelet=MAP,
    corefile=COREFILE,
    dns=Addon("registry.k8s.io/coredns/coredns:v1.12.1"),
    proxy=Addon("registry.k8s.io/kube-proxy:v1.34.4"),
)
OIDC = with_flags(oidc_issuer_url=("https://id.example.org",), oidc_client_id=("kubernetes",))
PENDING = config(pod(), rendered=with_flags(profiling=("false",)))


def policy(reconcile: Any = "upload-config") -> ClusterPolicy:
    return ClusterPolicy("lab", "k", "s", "file:///x", drift=DriftPolicy(reconcile))


def check(
    cp1: ControlPlaneConfig | None = None,
    *,
    others: dict[str, ControlPlaneConfig] | None = None,
    kubelets: dict[str, KubeletFiles] | None = None,
    settings: ClusterSettings = SETTINGS,
    reconcile: str = "upload-config",
    moment: Moment = Moment.NIGHT,
    ahead: tuple[str, ...] = (),
    configz: bool = True,
    nodes: tuple[NodeFacts, ...] = (node("cp1"), node("w1")),
    policy_: ClusterPolicy | None = None,
) -> Verdict:
    values = {
        NODES: nodes,
        CONTROL_PLANE_CONFIG: {"cp1": cp1 or config(pod()), **(others or {})},
        KUBELET_FILES: {"cp1": files(), "w1": files(), **(kubelets or {})},
        CLUSTER_SETTINGS: settings,
    }
    if configz:
        values[CONFIGZ_TOPIC] = {"cp1": CONFIGZ, "w1": CONFIGZ}
    readings = {topic.name: Reading(1000.0, value=value) for topic, value in values.items()}
    return drift.check(Round(moment, 1000.0, readings, ahead), policy_ or policy(reconcile))


def test_a_stock_cluster_passes() -> None:
    verdict = check()
    assert (verdict.outcome, verdict.code) == (Outcome.PASS, "OK")
    assert verdict.evidence["uploads"] == []


def test_order_alone_passes_and_is_kept_as_evidence() -> None:
    turned = replace(pod(), order=tuple(reversed(pod().order)))
    verdict = check(config(turned))
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["differences"]["cp1"] == [
        "cosmetic: kube-apiserver: its flags stand in another order"
    ]


def test_the_post_mortem_warns_and_says_what_will_be_uploaded() -> None:
    verdict = check(config(OIDC))
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "DRIFT_RECOVERABLE")
    for word in ("cp1", "--oidc-issuer-url=https://id.example.org", "reconcile_drift"):
        assert word in verdict.message
    assert verdict.evidence["uploads"] == [
        "kube-apiserver: --oidc-issuer-url=https://id.example.org",
        "kube-apiserver: --oidc-client-id=kubernetes",
    ]


def test_a_half_upgraded_control_plane_converges_and_is_named() -> None:
    ahead = replace(config(OIDC), kubeadm="v1.35.4")
    for asked in (
        check(ahead),
        check(ahead, others={"cp2": config(pod())}),
        check(ahead, moment=Moment.PLACE, ahead=("cp1",)),
    ):
        assert (asked.outcome, asked.code) == (Outcome.WARN, "DRIFT_HALF_UPGRADED"), asked.message
        for word in ("cp1", "v1.35.4", "v1.34.4", "--oidc-client-id=kubernetes", "nothing is taken over"):
            assert word in asked.message
        assert asked.evidence["uploads"] == []
    assert check(ahead, reconcile="block").outcome is Outcome.BLOCK
    assert check(replace(config(pod()), kubeadm="v1.35.4")).outcome is Outcome.PASS


def test_by_policy_the_same_blocks() -> None:
    verdict = check(config(OIDC), reconcile="block")
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "DRIFT_RECOVERABLE")


def test_in_front_of_that_control_plane_it_is_too_late_to_warn() -> None:
    ahead = check(config(OIDC), moment=Moment.PLACE, ahead=("cp1",))
    assert (ahead.outcome, ahead.code) == (Outcome.BLOCK, "DRIFT_RECOVERABLE")
    assert "reconcile_drift with downstream" in ahead.resolution
    assert check(config(OIDC), moment=Moment.PLACE, ahead=("w1",)).outcome is Outcome.PASS


def test_an_old_form_cannot_be_uploaded() -> None:
    old = {**CONFIGURATION, "apiVersion": "kubeadm.k8s.io/v1beta3"}
    verdict = check(config(OIDC, configuration=old))
    assert verdict.outcome is Outcome.BLOCK
    assert "v1beta4" in verdict.message


def test_a_setting_of_some_control_planes_blocks_and_names_them() -> None:
    verdict = check(config(OIDC), others={"cp2": config(pod())})
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "DRIFT_UNEVEN")
    assert "on cp1 only" in verdict.message
    alike = check(config(OIDC), others={"cp2": config(OIDC)})
    assert alike.outcome is Outcome.WARN
    assert alike.message.startswith("cp1, cp2: ")


@pytest.mark.parametrize(
    ("found", "outcome", "code", "word"),
    [
        pytest.param(
            config(with_flags(advertise_address=("10.0.0.9",))),
            Outcome.BLOCK,
            "DRIFT_FATAL",
            "10.0.0.9",
            id="fatal",
        ),
        pytest.param(
            config(pod(), refusal="W1128 warned\nserviceSubnet: Invalid value"),
            Outcome.BLOCK,
            "DRIFT_FATAL",
            "serviceSubnet: Invalid value",
            id="kubeadm refuses",
        ),
        pytest.param(
            PENDING, Outcome.WARN, "DRIFT_PENDING", "--profiling=false", id="only in kubeadm-config"
        ),
        pytest.param(
            config(pod(rest={"spec.hostNetwork": "true", "spec.hostAliases": "1"})),
            Outcome.WARN,
            "DRIFT_REPLACED",
            "spec.hostAliases",
            id="no place for it",
        ),
    ],
)
def test_one_control_plane(found: ControlPlaneConfig, outcome: Outcome, code: str, word: str) -> None:
    verdict = check(found)
    assert (verdict.outcome, verdict.code) == (outcome, code)
    assert word in verdict.message
    assert "cp1" in verdict.message
    if outcome is Outcome.WARN:
        assert check(found, reconcile="block").outcome is Outcome.BLOCK


def edited(**changes: Any) -> KubeletFiles:
    return files(config={**(files().config or {}), **changes})


def test_kubelets() -> None:
    verdict = check(kubelets={"w1": edited(maxPods=200)})
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "KUBELET_CONFIG_EDITED")
    assert "w1: maxPods: 200 (kubelet-config: 110)" in verdict.message
    assert "cp1" not in verdict.message
    patched = replace(edited(maxPods=200), patches=("kubeletconfiguration0+strategic.yaml",))
    assert check(kubelets={"w1": patched}).outcome is Outcome.PASS
    late = replace(edited(maxPods=200), config_modified=5000.0)
    assert "KUBELET_CONFIG_UNREAD" in str(check(kubelets={"w1": late}).evidence["findings"])
    assert "KUBELET_CONFIG_UNREAD" not in str(
        check(kubelets={"w1": late}, configz=False).evidence["findings"]
    )
    flags = files(flags=("--v=4",), flags_modified=5000.0)
    assert check(kubelets={"w1": flags}, configz=False).code == "KUBELET_CONFIG_UNREAD"


def test_during_the_night_kubelets_and_addons_are_not_compared() -> None:
    verdict = check(
        kubelets={"w1": edited(maxPods=200)},
        settings=replace(SETTINGS, corefile=". {\n}\n"),
        moment=Moment.PLACE,
        ahead=("w1",),
    )
    assert verdict.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"corefile": COREFILE.replace("    loop\n", "")}, "COREFILE_CUSTOM", "Corefile"),
        ({"dns": Addon("mirror/coredns:v1.12.1")}, "ADDON_FOREIGN", "mirror/coredns:v1.12.1"),
        (
            {"dns": Addon("registry.k8s.io/coredns/coredns:v1.12.1", "Helm release dns")},
            "ADDON_FOREIGN",
            "Helm release dns",
        ),
        ({"proxy": Addon("mirror/kube-proxy:v1.34.4")}, "ADDON_FOREIGN", "kube-proxy"),
    ],
)
def test_addons(changes: dict[str, Any], code: str, word: str) -> None:
    verdict = check(settings=replace(SETTINGS, **changes))
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, code)
    assert word in verdict.message


def test_addons_that_are_not_there_are_no_drift() -> None:
    assert check(settings=replace(SETTINGS, corefile=None, dns=None, proxy=None)).outcome is Outcome.PASS


@pytest.mark.parametrize("empty", [None, {}])
@pytest.mark.parametrize(
    ("missing", "name"), [("kubelet", "kubelet-config"), ("configuration", "kubeadm-config")]
)
def test_without_kubeadms_config_maps_it_is_blind(missing: str, name: str, empty: Any) -> None:
    verdict = check(settings=replace(SETTINGS, **{missing: empty}))
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "DRIFT_UNKNOWN")
    assert name in verdict.message


def test_what_kubeadm_wrote_nothing_for_cannot_be_compared() -> None:
    for moment in Moment:
        nothing = replace(config(pod()), rendered={})
        verdict = check(nothing, moment=moment, ahead=("cp1",))
        assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "DRIFT_UNKNOWN")
        assert "cp1: kubeadm wrote no manifest of kube-apiserver" in verdict.message
    refused = check(replace(nothing, refusal="no such field"))
    assert (refused.outcome, refused.code) == (Outcome.BLOCK, "DRIFT_FATAL")


def test_the_worst_leads_and_nothing_is_lost() -> None:
    verdict = check(
        config(with_flags(advertise_address=("10.0.0.9",), profiling=("false",))),
        settings=replace(SETTINGS, corefile=". {\n}\n"),
    )
    assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "DRIFT_FATAL")
    assert "--profiling=false" in verdict.message
    assert "Corefile" in verdict.message


def test_what_only_the_config_map_has_arrives_with_the_upgrade() -> None:
    wanted = replace(SETTINGS, kubelet={**MAP, "serializeImagePulls": False, "podPidsLimit": 100})
    verdict = check(settings=wanted)
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "DRIFT_PENDING")
    assert "cp1, w1: in kubelet-config, but not in" in verdict.message
    assert "podPidsLimit: 100, serializeImagePulls: False" in verdict.message
    assert check(settings=wanted, reconcile="block").outcome is Outcome.BLOCK
    patched = replace(files(), patches=("kubeletconfiguration0+strategic.yaml",))
    verdict = check(settings=wanted, kubelets={"w1": patched})
    assert "cp1: in kubelet-config, but not in" in verdict.message


def test_a_zero_and_the_resolver_that_only_the_config_map_has_are_no_change() -> None:
    wanted = replace(SETTINGS, kubelet={**MAP, "rotateCount": 0, "age": "0s", "resolvConf": "/run/x"})
    assert check(settings=wanted).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("changes", "word"), [({"config": None}, "config.yaml"), ({"arguments": None}, "runs")]
)
def test_a_kubelet_whose_configuration_is_not_known_is_blind(changes: dict[str, Any], word: str) -> None:
    verdict = check(kubelets={"w1": files(**changes)})
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "KUBELET_CONFIG_UNREADABLE")
    assert "w1" in verdict.message
    assert word in verdict.message
    assert "cp1" not in verdict.message


def test_a_worker_that_the_night_leaves_out_may_have_no_kubelet() -> None:
    aside = node("w1", annotations={QUARANTINE_ANNOTATION: "{}"})
    leaving = replace(policy(), workers=replace(policy().workers, retry_quarantined=False))
    gone = {"w1": files(arguments=None)}
    assert check(kubelets=gone, nodes=(node("cp1"), aside), policy_=leaving).outcome is Outcome.PASS
    assert check(kubelets=gone, nodes=(node("cp1"), aside)).outcome is Outcome.BLIND
