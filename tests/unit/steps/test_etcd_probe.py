"""The active probe: few writes, of our own annotation only, and nothing left behind."""

from __future__ import annotations

from tests.fakes.cluster import FakeCluster

from nightshift.steps.etcd_probe import PROBE_ANNOTATION, write_a_little
from nightshift.steps.session import Session


def test_it_writes_five_times_a_second_at_most_and_cleans_up(cluster: FakeCluster, session: Session) -> None:
    cluster.marks["nightshift.io/run-id"] = "somebody"
    written: list[str | None] = []
    plain = session.kube.set_namespace_annotations

    def watched(values):
        assert set(values) == {PROBE_ANNOTATION}
        written.append(values[PROBE_ANNOTATION])
        plain(values)

    session.kube.set_namespace_annotations = watched
    began = cluster.now
    count = write_a_little(session, 15.0)
    assert 70 <= count <= 75
    assert 15.0 <= cluster.now - began < 16.0
    assert len(set(written)) == count + 1, "an unchanged object is not written"
    assert written[-1] is None
    assert cluster.marks == {"nightshift.io/run-id": "somebody"}


def test_an_api_that_is_away_ends_it(cluster: FakeCluster, session: Session) -> None:
    cluster.api_away_until = cluster.now + 3600
    assert write_a_little(session, 15.0) == 0
    assert any("ended" in line for line in cluster.lines)
