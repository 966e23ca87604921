"""Can packages be installed on every node?"""

from __future__ import annotations

import pytest
from tests.unit.domain.builders import node

from nightshift.domain.facts.packages import PACKAGES, BrokenPackage, LockHolder, PackageHealth
from nightshift.domain.gates.packages import check
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import Moment, Reading, Round
from nightshift.domain.topics import NODES
from nightshift.domain.verdicts import Outcome

POLICY = ClusterPolicy("test", "k", "s", "file:///store")
HEALTHY = PackageHealth(held=("kubeadm", "kubectl", "kubelet"))
LOCK = LockHolder(812, "/usr/bin/python3 /usr/bin/unattended-upgrade", "/var/lib/dpkg/lock-frontend", 42.0)
BROKEN = BrokenPackage("linux-image-amd64", "half-configured")
OWN = BrokenPackage("kubelet", "unpacked")


def asked(health: PackageHealth, *ahead: str) -> Round:
    values = {
        NODES: (node("cp1"), node("w1")),
        PACKAGES: {"cp1": HEALTHY, "w1": health},
    }
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


def test_in_front_of_a_place_only_what_is_still_to_be_touched_counts() -> None:
    broken = PackageHealth(broken=(BROKEN,))
    assert check(asked(broken, "w1"), POLICY).outcome is Outcome.BLOCK
    assert check(asked(broken, "cp1"), POLICY).outcome is Outcome.PASS


def test_who_is_at_work_leaves_such_states_on_the_way() -> None:
    verdict = check(asked(PackageHealth(locks=(LOCK,), broken=(BROKEN,), has_journal=True)), POLICY)
    assert [finding["code"] for finding in verdict.evidence["findings"]] == ["DPKG_BUSY"]
