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


def test_the_build_is_let_in_what_the_pages_name_and_nothing_secret() -> None:
    """Of a directory that .dockerignore keeps out, Docker says only "not found"."""
    rules = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"NIGHTSHIFT_CLUSTERS_FROM=([\w/]+)", readme))
    assert named == {"clusters"}
    assert named <= admitted
    last_admitted = max(n for n, rule in enumerate(rules) if rule.startswith("!"))
    secrets = [n for n, rule in enumerate(rules) if rule in ("**/.env*", "**/*kubeconfig*", "**/*.key")]
    assert len(secrets) == 3
    assert min(secrets) > last_admitted, "the last rule that fits decides"


def test_every_build_argument_is_one_of_the_image(airflow: dict[str, Any]) -> None:
    """One that the Dockerfile does not know is only warned of."""
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    declared = set(re.findall(r"^ARG (\w+)=", dockerfile, flags=re.MULTILINE))
    assert set(airflow["build"]["args"]) == declared
    assert "EXTRA_PACKAGES" in declared


def test_the_store_is_the_volume_unless_somebody_says_otherwise(airflow: dict[str, Any]) -> None:
    name, default = default_of(airflow["environment"]["NIGHTSHIFT_STORE"])
    assert (name, default) == ("NIGHTSHIFT_STORE", "file:///opt/airflow/store")
    assert "store:/opt/airflow/store" in airflow["volumes"]
    sample = (PROJECT / "include/clusters/example.yaml.sample").read_text(encoding="utf-8")
    assert re.search(r"^store: \$\{NIGHTSHIFT_STORE:-", sample, flags=re.MULTILINE)


def test_the_connection_for_notes_is_documented() -> None:
    page = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    settings = page.partition("## Settings Airflow needs")[2].partition("\n## ")[0]
    assert "AIRFLOW_CONN_NIGHTSHIFT_AIRFLOW_API='{" in settings
    assert "role `Op`" in settings
