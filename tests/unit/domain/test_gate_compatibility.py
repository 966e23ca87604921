"""Do the add-ons bear the new minor? One row per class of answer, on a small table and on the shipped one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightshift.clients.tables import load_addons
from nightshift.domain.facts.addons import ADDONS, WORKLOAD_IMAGES, AddOn, AddOnRelease, WorkloadImage
from nightshift.domain.gates.compatibility import check, release_of, split_image
from nightshift.domain.policy import ClusterPolicy, CompatibilityPolicy
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import TARGET
from nightshift.domain.verdicts import Outcome

PLAIN = ClusterPolicy("test", "k", "s", "file:///store")
NET = AddOn(
    "net",
    ("acme/net-agent",),
    (
        AddOnRelease("3.1", "1.30", "1.33"),
        AddOnRelease("3.2", "1.32", "1.34"),
        AddOnRelease("3.4", "1.34", "1.36"),
    ),
    "https://acme.example/net",
)
WAITING = AddOn("wait", ("acme/wait",), (AddOnRelease("1.0", "1.30", "1.34"),), "https://acme.example/wait")
TESTED = replace(WAITING, name="tested", images=("acme/tested",), strict=False)
# As the lab has it: what kubeadm installs and the sample shop.
STOCK = (
    "registry.k8s.io/coredns/coredns:v1.12.1",
    "registry.k8s.io/kube-proxy:v1.34.4",
    "registry.k8s.io/nightshift-lab/web:1",
)


def asked(
    *images: str, kind: TargetKind = TargetKind.MINOR, addons: tuple[AddOn, ...] | None = None
) -> Round:
    values = {
        TARGET: TargetChoice(kind, "why", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4"),
        ADDONS: (NET, WAITING, TESTED) if addons is None else addons,
        WORKLOAD_IMAGES: tuple(WorkloadImage(f"DaemonSet kube-system/d{n}", i) for n, i in enumerate(images)),
    }
    return Round(Moment.NIGHT, 0.0, {topic.name: Reading(0.0, value) for topic, value in values.items()})


@pytest.mark.parametrize(
    ("image", "policy", "outcome", "code", "words"),
    [
        ("acme/net-agent:v3.4.1", {}, Outcome.PASS, "OK", "1 known add-ons"),
        ("acme/net-agent:v3.2.0", {}, Outcome.BLOCK, "ADDON_TOO_OLD", "release 3.4 does"),
        (
            "mirror.example:5000/x/acme/net-agent:3.2.0-ours",
            {},
            Outcome.BLOCK,
            "ADDON_TOO_OLD",
            "net 3.2.0-ours",
        ),
        ("acme/net-agent:v2.9.9", {}, Outcome.BLOCK, "ADDON_TOO_OLD", "1.30 to 1.33"),
        # lines nobody knows anything about
        ("acme/net-agent:v3.3.0", {}, Outcome.WARN, "ADDON_UNKNOWN", "release 3.3.0 of net"),
        ("acme/net-agent:v9.0.0", {}, Outcome.WARN, "ADDON_UNKNOWN", "known are 3.1, 3.2, 3.4"),
        ("acme/net-agent:latest", {}, Outcome.WARN, "ADDON_UNKNOWN", "release latest of net"),
        ("acme/net-agent@sha256:abc", {}, Outcome.WARN, "ADDON_UNKNOWN", "without a version tag"),
        ("acme/net-agent:v9.0.0", {"pinned": ("net",)}, Outcome.WARN, "ADDON_UNKNOWN", "9.0.0"),
        ("acme/net-agent:v3.2.0", {"too_old": "warn"}, Outcome.WARN, "ADDON_TOO_OLD", "release 3.4 does"),
        ("acme/net-agent:v3.2.0", {"pinned": ("net",)}, Outcome.HOLD, "ADDON_PINNED", "you pinned it"),
        ("acme/net-agent:v3.4.0", {"pinned": ("net",)}, Outcome.PASS, "OK", ""),
        ("acme/wait:1.0.3", {}, Outcome.HOLD, "ADDON_UPSTREAM", "no known release does"),
        ("acme/tested:1.0.3", {}, Outcome.WARN, "ADDON_TOO_OLD", "no known release was tested"),
        ("not-acme/net-agent:v1.0.0", {}, Outcome.PASS, "OK", "0 known add-ons"),
    ],
)
def test_one_addon(image: str, policy: dict[str, object], outcome: Outcome, code: str, words: str) -> None:
    own = replace(PLAIN, compatibility=CompatibilityPolicy(**policy))  # type: ignore[arg-type]
    verdict = check(asked(*STOCK, image), own)
    assert (verdict.outcome, verdict.code) == (outcome, code)
    assert words in verdict.message


def test_an_own_entry_replaces_the_shipped_one() -> None:
    own = replace(NET, releases=(AddOnRelease("3.2", "1.30", "1.35"),))
    policy = replace(PLAIN, compatibility=CompatibilityPolicy(addons=(own,)))
    assert check(asked("acme/net-agent:v3.2.0"), policy).outcome is Outcome.PASS
    assert check(asked("acme/net-agent:v3.2.0"), PLAIN).outcome is Outcome.BLOCK


def test_waiting_does_not_hide_what_somebody_can_do() -> None:
    verdict = check(asked("acme/wait:1.0.3", "acme/net-agent:v3.2.0"), PLAIN)
    assert verdict.outcome is Outcome.BLOCK
    assert "wait 1.0.3" in verdict.message


def test_a_patch_asks_nothing_and_an_unknown_target_is_blind() -> None:
    old = "acme/net-agent:v3.2.0"
    assert check(asked(old, kind=TargetKind.PATCH), PLAIN).outcome is Outcome.PASS
    assert check(asked(old, kind=TargetKind.NONE), PLAIN).outcome is Outcome.PASS
    assert check(asked(old, kind=TargetKind.BLIND), PLAIN).outcome is Outcome.BLIND


def test_stock_cluster_and_shipped_table() -> None:
    verdict = check(asked(*STOCK, addons=load_addons()), PLAIN)
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["not_judged"] == sorted(STOCK)
    old = check(asked("quay.io/calico/node:v3.29.1", addons=load_addons()), PLAIN)
    assert (old.outcome, old.code) == (Outcome.BLOCK, "ADDON_TOO_OLD")
    for image in (
        "docker.io/calico/node:v3.30.5",
        "docker.io/calico/node:v3.31.3",
        "registry.k8s.io/metrics-server/metrics-server:v0.7.2",
        "registry.k8s.io/metrics-server/metrics-server:v0.8.0",
    ):
        assert check(asked(image, addons=load_addons()), PLAIN).outcome is Outcome.PASS, image


@pytest.mark.parametrize(
    ("image", "outcome", "code"),
    [
        ("registry.k8s.io/ingress-nginx/controller:v1.13.3", Outcome.WARN, "ADDON_TOO_OLD"),
        ("quay.io/jetstack/cert-manager-controller:v1.17.2", Outcome.BLOCK, "ADDON_TOO_OLD"),
        ("quay.io/jetstack/cert-manager-controller:v1.16.1", Outcome.BLOCK, "ADDON_TOO_OLD"),
        ("quay.io/cilium/cilium:v1.17.1@sha256:abc", Outcome.WARN, "ADDON_UNKNOWN"),
    ],
)
def test_releases_of_well_known_addons(image: str, outcome: Outcome, code: str) -> None:
    verdict = check(asked(image, addons=load_addons()), PLAIN)
    assert (verdict.outcome, verdict.code) == (outcome, code)


def test_of_an_image_without_a_version_nothing_is_known() -> None:
    assert release_of(NET, "latest") is None
    assert release_of(NET, "") is None
    assert split_image("host:5000/a/b:v1@sha256:x") == ("host:5000/a/b", "v1")
    assert split_image("host:5000/a/b") == ("host:5000/a/b", "")
