"""What parsing the DAG files costs and touches, measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from nsdemo.settings import PROJECT, Home, airflow_environment

DAGS = Path(__file__).parents[2] / "dags"

# Parses twice: the first time brings all imports, the second shows what a DAG file itself does.
_OBSERVER = """
import json, runpy, sys, time, warnings
import airflow.sdk
path = sys.argv[1]
events = []
began = time.process_time()
runpy.run_path(path)
seconds = time.process_time() - began
def hook(name, arguments):
    if name == "open" and str(arguments[0]) != path:
        events.append(["open", str(arguments[0])])
    elif name.split(".")[0] in ("socket", "subprocess", "urllib", "sqlite3"):
        events.append([name, str(arguments)])
sys.addaudithook(hook)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    runpy.run_path(path)
seen = list(events)
json.dump({"seconds": seconds, "events": seen, "warnings": [str(w.message) for w in caught],
           "modules": sorted(sys.modules)}, sys.stdout)
"""
_HEAVY = (
    "kubernetes",
    "kubernetes_asyncio",
    "paramiko",
    "asyncssh",
    "prometheus_client",
    "nightshift.clients.kube_api",
)


@pytest.fixture(scope="module", params=sorted(path.name for path in DAGS.glob("*.py")))
def observed(request: pytest.FixtureRequest) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _OBSERVER, str(DAGS / request.param)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(DAGS.parent / "plugins")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_file_parses_without_errors(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    kept = {
        f"{kind}_{name}"
        for kind in ("upgrade", "recover", "brake", "readiness")
        for name in ("small", "fleet", "broken", "torn")
    }
    assert set(dag_bag.dags) == kept | {"invalid_No_Name"}


def test_parsing_takes_less_than_a_second(observed: dict[str, float]) -> None:
    assert observed["seconds"] < 1.0  # of CPU: what else the machine does must not matter


def test_parsing_warns_about_nothing(observed: dict[str, object]) -> None:
    assert observed["warnings"] == []


def test_parsing_imports_no_client_library(observed: dict[str, list[str]]) -> None:
    assert [name for name in _HEAVY if name in observed["modules"]] == []


def test_parsing_reads_cluster_files_only_and_connects_to_nothing(
    observed: dict[str, list[list[str]]],
) -> None:
    assert any(e[1].endswith("small.yaml") for e in observed["events"]), "the observer is blind"
    others = [e for e in observed["events"] if not (e[0] == "open" and e[1].endswith(".yaml"))]
    assert others == []


def test_reading_the_plugins_folder_warns_of_nothing_in_our_settings(tmp_path: Path) -> None:
    """It would be the first line of every task's log."""
    home = Home(tmp_path)
    program = (
        "import airflow.settings; from airflow._shared.module_loading.file_discovery import find_path_from_directory; "
        f"print(len(list(find_path_from_directory({str(PROJECT / 'plugins')!r}, '.airflowignore', 'glob'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=airflow_environment(home, {}),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1].strip().isdigit()
    assert "deprecated" not in done.stdout + done.stderr
