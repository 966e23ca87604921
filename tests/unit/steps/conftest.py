from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.cluster import FakeCluster, make_session

from nightshift.domain.facts import PackageFacts
from nightshift.steps.session import Session


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def session(cluster: FakeCluster, tmp_path: Path) -> Session:
    return make_session(cluster, tmp_path)


@pytest.fixture
def other_session(cluster: FakeCluster, tmp_path: Path) -> Session:
    return make_session(cluster, tmp_path, run_id="run-2")


@pytest.fixture
def cleared_session(cluster: FakeCluster, session: Session, tmp_path: Path) -> Callable[[], Session]:
    """The session of a task of `session`'s run that is cleared now: a new try."""
    return lambda: make_session(cluster, tmp_path, began=cluster.clock())


@pytest.fixture(params=["another Airflow", "another file of the same cluster"])
def twin_session(cluster: FakeCluster, session: Session, tmp_path: Path, request: Any) -> Session:
    """Somebody else whose run has the same name: names of scheduled runs follow from the hour."""
    if request.param == "another Airflow":
        return make_session(cluster, tmp_path, installation="there")
    return make_session(cluster, tmp_path, policy=replace(session.policy, name="lab-copy"))


@pytest.fixture
def offer(cluster: FakeCluster) -> Callable[..., None]:
    def put(**versions: tuple[str, ...]) -> None:
        for node in cluster.fakes.values():
            for minor, offered in versions.items():
                name = minor.replace("v", "").replace("_", ".")
                node.offers[name] = PackageFacts(name, offered)

    return put


@pytest.fixture
def choice() -> dict[str, Any]:
    return {
        "answer": "go",
        "sentence": "1.34.4 to 1.35.4.",
        "target": {
            "kind": "minor",
            "sentence": "1.34.4 to 1.35.4.",
            "version": "1.35.4",
            "package_version": "1.35.4-1.1",
            "minor": "1.35",
            "running": "1.34.4",
            "nodes_behind": ["cp1", "w1", "w2"],
        },
        "nodes": [
            {"name": "cp1", "kubelet": "1.34.4", "is_control_plane": True},
            {"name": "w1", "kubelet": "1.34.4", "is_control_plane": False},
            {"name": "w2", "kubelet": "1.34.4", "is_control_plane": False},
        ],
    }
