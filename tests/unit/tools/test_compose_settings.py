"""What docker-compose.yaml sets, read as plain YAML; that it works is tests/lab/test_compose.py's question."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def airflow() -> dict[str, Any]:
    compose = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return dict(compose["x-airflow"])


def default_of(setting: str) -> tuple[str, str]:
    found = re.fullmatch(r"\$\{(\w+):-(.+)\}", setting)
    assert found, setting
    return found[1], found[2]


def test_worker_slots_are_enough_for_some_clusters_and_can_be_raised(airflow: dict[str, Any]) -> None:
    name, default = default_of(airflow["environment"]["AIRFLOW__CORE__PARALLELISM"])
    assert name == "NIGHTSHIFT_PARALLELISM"
    assert int(default) >= 2 * 6 + 4
    assert name in (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_cluster_files_come_from_a_directory_that_can_be_chosen(airflow: dict[str, Any]) -> None:
    name, default = default_of(airflow["build"]["args"]["CLUSTERS"])
    assert (name, default) == ("NIGHTSHIFT_CLUSTERS_FROM", "include/clusters")
    assert not list((PROJECT / default).glob("*.yaml")), "a deployment ships no cluster"
