"""Is everything there that the night will download?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.domain.builders import node, probe

from nightshift.clients.tables import load_pins
from nightshift.domain.facts.images import NODE_IMAGES, NodeImages
from nightshift.domain.facts.packages import LIFTED_HOLDS, PACKAGES, PackageHealth
from nightshift.domain.facts.supply import SUPPLY, Supplied, SupplyFacts, SupplyItem
from nightshift.domain.facts.versions import KubeadmCluster
from nightshift.domain.gates.supply import check, target_images
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Reading, Round
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import NODES, PROBES, TARGET
from nightshift.domain.verdicts import Outcome

POLICY = ClusterPolicy("test", "k", "s", "file:///store")
IMAGE = "registry.k8s.io/kube-apiserver:v1.35.4"
ITEMS = (
    SupplyItem("repository", "1.35", Supplied.FOUND, "https://repo.example/v1.35/deb/"),
    SupplyItem("package", "kubeadm=1.35.4-1.1", Supplied.FOUND),
    SupplyItem("image", IMAGE, Supplied.FOUND),
)
CLUSTER = KubeadmCluster("kubeadm.k8s.io/v1beta4", coredns_version="1.12.1")


def asked(
    *items: SupplyItem,
    kind: TargetKind = TargetKind.MINOR,
    kubeadm: str | None = "1.34.4",
    unasked: tuple[str, ...] = (),
    behind: tuple[str, ...] = (),
    held: Mapping[str, tuple[str, ...]] | None = None,
) -> Round:
    values: dict[AnyTopic, Any] = {
        TARGET: TargetChoice(kind, "why", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", behind),
        SUPPLY: SupplyFacts("cp1", items, unasked),
        PROBES: {"cp1": probe("cp1"), "w1": probe("w1", kubeadm_version=kubeadm)},
    }
    if held is not None:
        values[PACKAGES] = {node: PackageHealth(held=names) for node, names in held.items()}
    return Round(Moment.NIGHT, 0.0, {topic.name: Reading(0.0, value) for topic, value in values.items()})


CONNTRACK = SupplyItem("package", "conntrack", Supplied.FOUND)


@pytest.mark.parametrize(
    ("items", "held", "behind", "said"),
    [
        ((CONNTRACK,), {"w1": ("conntrack",)}, (), "conntrack is held on w1, and apt on cp1 would change it"),
        ((CONNTRACK,), {"w1": ("conntrack:amd64",)}, ("w1",), "conntrack is held on w1"),
        ((CONNTRACK,), {f"w{n}": ("conntrack",) for n in range(1, 8)}, (), "w5 and 2 more"),
        ((CONNTRACK,), {"w1": ("conntrack",)}, ("cp1",), ""),  # that node is not upgraded
        ((CONNTRACK,), {"w1": ("containerd.io",)}, (), ""),  # nothing of it is fetched
        ((CONNTRACK,), {}, (), ""),
        ((CONNTRACK,), None, (), ""),  # the gate `packages` is blind then
        (
            tuple(SupplyItem("package", name, Supplied.FOUND) for name in ("kubernetes-cni", "cri-tools")),
            {"w1": tuple(LIFTED_HOLDS)},
            (),
            "",
        ),
        ((), {"w1": ("kubeadm", "kubelet")}, (), ""),
    ],
)
def test_a_hold_that_nobody_takes_off_stands_in_the_way_of_what_depends_on_it(
    items: tuple[SupplyItem, ...],
    held: Mapping[str, tuple[str, ...]] | None,
    behind: tuple[str, ...],
    said: str,
) -> None:
    verdict = check(asked(*ITEMS, *items, held=held, behind=behind), POLICY)
    if said:
        assert (verdict.outcome, verdict.code) == (Outcome.BLOCK, "PACKAGE_HELD")
        assert said in verdict.message
    else:
        assert verdict.outcome is Outcome.PASS


def test_the_holds_that_are_taken_off_are_those_of_the_node_script() -> None:
    script = Path(__file__).parents[3] / "include/scripts/node/lib/holds.sh"
    (pattern,) = re.findall(r"^readonly LIFTED_HOLDS='([^']+)'$", script.read_text(encoding="utf-8"), re.M)
    assert set(pattern.split("|")) == LIFTED_HOLDS


def test_all_there() -> None:
    verdict = check(asked(*ITEMS), POLICY)
    assert (verdict.outcome, verdict.value) == (Outcome.PASS, "3 of 3")


@pytest.mark.parametrize("kind", ["repository", "package", "image"])
def test_an_answer_that_leaves_a_kind_out_is_none(kind: str) -> None:
    verdict = check(asked(*(item for item in ITEMS if item.kind != kind)), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "SUPPLY_SILENT")
    assert f"nothing about any {kind}" in verdict.message


@pytest.mark.parametrize(
    ("number", "state", "outcome", "code", "words"),
    [
        (0, Supplied.REFUSED, Outcome.BLOCK, "REPOSITORY_REFUSED", "key that cp1 trusts: said so"),
        (0, Supplied.AWAY, Outcome.BLIND, "SUPPLY_SILENT", "1.35 gave no answer to cp1"),
        (0, Supplied.MISSING, Outcome.BLOCK, "PACKAGE_MISSING", "no minor 1.35"),
        (1, Supplied.MISSING, Outcome.BLOCK, "PACKAGE_MISSING", "kubeadm=1.35.4-1.1"),
        (1, Supplied.AWAY, Outcome.BLIND, "SUPPLY_SILENT", "kubeadm=1.35.4-1.1"),
        (
            1,
            Supplied.REFUSED,
            Outcome.BLOCK,
            "PACKAGE_REFUSED",
            "apt on cp1 would not install kubeadm=1.35.4-1.1: said",
        ),
        (2, Supplied.MISSING, Outcome.BLOCK, "IMAGE_MISSING", IMAGE),
        (2, Supplied.AWAY, Outcome.BLIND, "SUPPLY_SILENT", IMAGE),
        (2, Supplied.REFUSED, Outcome.WARN, "IMAGE_UNCHECKED", IMAGE),
    ],
)
def test_one_is_not_there(number: int, state: Supplied, outcome: Outcome, code: str, words: str) -> None:
    items = [replace(i, state=state, detail="said so") if n == number else i for n, i in enumerate(ITEMS)]
    verdict = check(asked(*items), POLICY)
    assert (verdict.outcome, verdict.code) == (outcome, code)
    assert words in verdict.message


@pytest.mark.parametrize("state", [Supplied.MISSING, Supplied.REFUSED, Supplied.AWAY])
@pytest.mark.parametrize(
    ("image", "holders", "is_found"),
    [
        (IMAGE, ("cp1",), True),  # workers run no API server
        (IMAGE, ("w1",), False),
        ("registry.k8s.io/pause:3.10.1", ("cp1", "w1"), True),
        ("registry.k8s.io/pause:3.10.1", ("cp1",), False),
        ("r.example/probe:1", ("cp1", "w1"), True),
        ("r.example/probe:1", ("cp1",), False),
    ],
)
def test_an_image_that_every_node_that_needs_it_has_is_found(
    image: str, holders: tuple[str, ...], is_found: bool, state: Supplied
) -> None:
    round_ = asked(*ITEMS[:2], SupplyItem("image", image, state, "said so"))
    images = {name: NodeImages(frozenset({image} if name in holders else ())) for name in ("cp1", "w1")}
    nodes = Reading(0.0, (node("cp1"), node("w1")))
    more = {NODES.name: nodes, NODE_IMAGES.name: Reading(0.0, images)}
    verdict = check(replace(round_, readings={**round_.readings, **more}), POLICY)
    assert (verdict.outcome is Outcome.PASS) is is_found
    one_silent = {NODES.name: nodes, NODE_IMAGES.name: Reading(0.0, {"w1": images["w1"]})}
    verdict = check(replace(round_, readings={**round_.readings, **one_silent}), POLICY)
    assert verdict.outcome is not Outcome.PASS
    nobody = {NODES.name: Reading(0.0, ()), NODE_IMAGES.name: Reading(0.0, images)}
    assert check(replace(round_, readings={**round_.readings, **nobody}), POLICY).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("installed", "outcome"), [("1.34.4", Outcome.PASS), ("1.35.4", Outcome.PASS), ("1.36.0", Outcome.BLOCK)]
)
def test_kubeadm_on_the_nodes_is_not_newer_than_the_target(installed: str, outcome: Outcome) -> None:
    verdict = check(asked(*ITEMS, kubeadm=installed), POLICY)
    assert verdict.outcome is outcome
    assert (verdict.code == "KUBEADM_TOO_NEW") is (outcome is Outcome.BLOCK)


@pytest.mark.parametrize("unreadable", ["1.36.0-rc.1", "1.34.4+ours", "?"])
def test_a_kubeadm_of_no_release_cannot_be_compared(unreadable: str) -> None:
    verdict = check(asked(*ITEMS, kubeadm=unreadable), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "KUBEADM_UNREADABLE")
    assert f"kubeadm on w1 says that it is {unreadable!r}" in verdict.message


def test_a_kubeadm_that_does_not_answer_is_not_one_that_is_not_there() -> None:
    verdict = check(asked(*ITEMS, kubeadm=""), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.BLIND, "KUBEADM_UNREADABLE")
    assert "kubeadm on w1 does not say its version" in verdict.message


def test_a_node_without_kubeadm_is_given_the_right_one() -> None:
    assert check(asked(*ITEMS, kubeadm=None), POLICY).outcome is Outcome.PASS


def test_images_that_were_not_asked_for_warn() -> None:
    verdict = check(asked(*ITEMS, unasked=("etcd", "pause")), POLICY)
    assert (verdict.outcome, verdict.code) == (Outcome.WARN, "IMAGE_UNASKED")
    assert "etcd, pause" in verdict.message


def test_a_refused_repository_says_why_there_is_no_target() -> None:
    refused = replace(ITEMS[0], state=Supplied.REFUSED)
    assert check(asked(refused, kind=TargetKind.BLIND), POLICY).code == "REPOSITORY_REFUSED"
    assert check(asked(ITEMS[0], kind=TargetKind.BLIND), POLICY).outcome is Outcome.BLIND
    assert check(asked(kind=TargetKind.NONE), POLICY).outcome is Outcome.PASS


def test_images_are_those_kubeadm_lists() -> None:
    images, unasked = target_images("1.35.4", CLUSTER, load_pins())
    # `kubeadm config images list` of 1.35.4
    assert sorted(images) == [
        "registry.k8s.io/coredns/coredns:v1.13.1",
        "registry.k8s.io/etcd:3.6.6-0",
        "registry.k8s.io/kube-apiserver:v1.35.4",
        "registry.k8s.io/kube-controller-manager:v1.35.4",
        "registry.k8s.io/kube-proxy:v1.35.4",
        "registry.k8s.io/kube-scheduler:v1.35.4",
        "registry.k8s.io/pause:3.10.1",
    ]
    assert unasked == ()


def test_tags_nobody_knows_are_not_asked_for() -> None:
    images, unasked = target_images("1.35.99", CLUSTER, load_pins())
    assert len(images) == 4
    assert unasked == ("coredns", "etcd", "pause")


def test_own_registries_and_tags() -> None:
    own = replace(
        CLUSTER,
        image_repository="mirror.example/k8s",
        dns_image=("mirror.example/dns", "v1.14.0"),
        etcd_image=("", "3.6.11-0"),
    )
    images, _ = target_images("1.35.4", own, load_pins())
    assert {"mirror.example/dns/coredns:v1.14.0", "mirror.example/k8s/etcd:3.6.11-0"} < set(images)
    outside = replace(own, external_etcd=True, coredns_version=None)
    assert len(target_images("1.35.4", outside, load_pins())[0]) == 5
