"""Can packages be installed on every node?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.builders import node, probe

from nightshift.domain.facts.packages import PACKAGES, BrokenPackage, LockHolder, PackageHealth
from nightshift.domain.gates.packages import check
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Reading, Round
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import NODES, PROBES, TARGET
from nightshift.domain.verdicts import Outcome

POLICY = ClusterPolicy("test", "k", "s", "file:///store")
HEALTHY = PackageHealth(held=("kubeadm", "kubectl", "kubelet"))
LOCK = LockHolder(812, "/usr/bin/python3 /usr/bin/unattended-upgrade", "/var/lib/dpkg/lock-frontend", 42.0)
BROKEN = BrokenPackage("linux-image-amd64", "half-configured")
OWN = BrokenPackage("kubelet", "unpacked")


HOP = TargetChoice(
    TargetKind.MINOR, "1.34.4 to 1.35.4", "1.35.4", "1.35.4-1.1", "1.35", "1.34.4", nodes_behind=("cp1", "w1")
)


def asked(
    health: PackageHealth, *ahead: str, target: TargetChoice | None = None, kubeadm: str | None = "1.34.4"
) -> Round:
    values: dict[AnyTopic, Any] = {
        NODES: (node("cp1"), node("w1")),
        PACKAGES: {"cp1": HEALTHY, "w1": health},
        PROBES: {"w1": probe("w1", kubeadm_version=kubeadm)},
    }
    if target:
        values[TARGET] = target
    readings = {topic.name: Reading(0.0, value) for topic, value in values.items()}
    return Round(Moment.PLACE if ahead else Moment.NIGHT, 0.0, readings, ahead)


@pytest.mark.parametrize(
    ("health", "outcome", "code", "words"),
    [
        (HEALTHY, Outcome.PASS, "OK", "all 2 nodes"),
        (PackageHealth(), Outcome.PASS, "OK", "all 2 nodes"),
        (PackageHealth(locks=(LOCK,)), Outcome.BLOCK, "DPKG_BUSY", "w1 is held by pid 812"),
        (PackageHealth(locks=(LOCK,), broken=(BROKEN,)), Outcome.BLOCK, "DPKG_BUSY", "42 s"),
        (PackageHealth(unattended=("812 unattended-upgrade",)), Outcome.BLOCK, "DPKG_BUSY", "812"),
        (
            PackageHealth(broken=(BROKEN,)),
            Outcome.BLOCK,
            "DPKG_UNFINISHED",
            "linux-image-amd64 (half-configured)",
        ),
        (PackageHealth(broken=(BROKEN,) * 7), Outcome.BLOCK, "DPKG_UNFINISHED", "and 2 more"),
        (
            PackageHealth(has_journal=True, broken=(BROKEN, OWN)),
            Outcome.BLOCK,
            "DPKG_UNFINISHED",
            "kubelet (unpacked)",
        ),
        # What a node leaves that lost its power inside our own installation: the next job mends it.
        (PackageHealth(has_journal=True), Outcome.WARN, "DPKG_UNFINISHED", "unfinished journal"),
        (
            PackageHealth(broken=(OWN,)),
            Outcome.WARN,
            "DPKG_UNFINISHED",
            "w1 was interrupted: kubelet (unpacked)",
        ),
        *(
            (PackageHealth(broken=(BrokenPackage("kubelet", state),)), Outcome.WARN, "DPKG_UNFINISHED", state)
            for state in ("half-configured", "triggers-awaited", "triggers-pending")
        ),
        # `dpkg --configure -a` does nothing about these, or fails on them.
        *(
            (
                PackageHealth(has_journal=True, broken=(OWN, BrokenPackage("kubectl", state))),
                Outcome.BLOCK,
                "DPKG_UNFINISHED",
                f"kubelet (unpacked), kubectl ({state})",
            )
            for state in ("half-installed", "reinst-required")
        ),
        (PackageHealth(locks=(LOCK,), broken=(OWN,)), Outcome.BLOCK, "DPKG_BUSY", "w1 is held by pid 812"),
        (PackageHealth(needs_reboot=True), Outcome.WARN, "REBOOT_PENDING", "Node w1 wants a reboot ("),
        (
            PackageHealth(needs_reboot=True, reboot_packages=("linux-base",)),
            Outcome.WARN,
            "REBOOT_PENDING",
            "because of linux-base",
        ),
        (
            PackageHealth(needs_reboot=True, broken=(BROKEN,)),
            Outcome.BLOCK,
            "DPKG_UNFINISHED",
            "Also: Node w1 wants a reboot",
        ),
    ],
)
def test_one_node(health: PackageHealth, outcome: Outcome, code: str, words: str) -> None:
    verdict = check(asked(health), POLICY)
    assert (verdict.outcome, verdict.code) == (outcome, code)
    assert words in verdict.message


@pytest.mark.parametrize("state", ["half-installed", "reinst-required"])
@pytest.mark.parametrize(
    ("names", "kubeadm", "is_mended"),
    [
        (("kubelet", "kubectl"), "1.35.4", True),
        (("kubelet",), "1.34.4", False),  # apt would take a kubelet along with kubeadm
        (("kubectl",), None, False),
        (("kubeadm",), "1.34.4", True),
        (("kubeadm",), "1.35.4", True),  # its program was there already when the power went
        (("kubeadm", "kubelet"), "1.35.4", False),
        (("cri-tools",), "1.35.4", False),  # no job has a file of it, unless the hop needs another one
        (("containerd.io",), "1.35.4", False),
    ],
)
def test_what_a_job_installs_anew_by_itself_only_warns(
    names: tuple[str, ...], kubeadm: str | None, is_mended: bool, state: str
) -> None:
    health = PackageHealth(broken=tuple(BrokenPackage(name, state) for name in names))
    outcome = Outcome.WARN if is_mended else Outcome.BLOCK
    assert check(asked(health, target=HOP, kubeadm=kubeadm), POLICY).outcome is outcome
    assert check(asked(health, kubeadm=kubeadm), POLICY).outcome is Outcome.BLOCK, (
        "nobody knows what tonight installs"
    )


def test_a_node_that_is_done_is_not_asked() -> None:
    done = replace(HOP, nodes_behind=("cp1",))
    assert check(asked(PackageHealth(broken=(BROKEN,)), target=done), POLICY).outcome is Outcome.PASS


def test_in_front_of_a_place_only_what_is_still_to_be_touched_counts() -> None:
    broken = PackageHealth(broken=(BROKEN,))
    assert check(asked(broken, "w1"), POLICY).outcome is Outcome.BLOCK
    assert check(asked(broken, "cp1"), POLICY).outcome is Outcome.PASS


def test_who_is_at_work_leaves_such_states_on_the_way() -> None:
    verdict = check(asked(PackageHealth(locks=(LOCK,), broken=(BROKEN,), has_journal=True)), POLICY)
    assert [finding["code"] for finding in verdict.evidence["findings"]] == ["DPKG_BUSY"]
