"""From the nodes' own words to the verdicts of the gates about etcd, through one round."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.cluster import FakeCluster, make_session

from nightshift.domain.round import Moment
from nightshift.steps.gates import ask

GATES = ("etcd_state", "quorum")


def outcomes(cluster: FakeCluster, store: Path) -> dict[str, tuple[str, str]]:
    said = ask(make_session(cluster, store), GATES, Moment.NIGHT)
    return {verdict["gate"]: (verdict["outcome"], verdict["code"]) for verdict in said}


@pytest.mark.parametrize("control_planes", [1, 3])
def test_a_stock_cluster_passes(tmp_path: Path, control_planes: int) -> None:
    passed = dict.fromkeys(GATES, ("pass", "OK"))
    assert outcomes(FakeCluster(control_planes=control_planes), tmp_path) == passed


def test_a_member_that_is_stopped(tmp_path: Path) -> None:
    cluster = FakeCluster(control_planes=3)
    cluster.fakes["cp2"].texts["etcd"] = "condition\tstopped\n"
    assert outcomes(cluster, tmp_path) == {
        "etcd_state": ("block", "ETCD_MEMBER_DOWN"),
        "quorum": ("block", "QUORUM_AT_RISK"),
    }


@pytest.mark.parametrize("text", [None, "", "condition\tanswers\nstatus\t<html>\nmembers\t{}\nquota\t-\n"])
def test_words_that_are_not_understood_are_blind(tmp_path: Path, text: str | None) -> None:
    cluster = FakeCluster(control_planes=3)
    cluster.fakes["cp2"].texts["etcd"] = text
    assert outcomes(cluster, tmp_path) == dict.fromkeys(GATES, ("blind", "LOOK_INCOMPLETE"))
