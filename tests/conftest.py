"""Airflow's settings for all tests: a home of its own, no examples, nothing of the machine's installation."""

import os
import tempfile
from pathlib import Path

# Before the first import of airflow: it reads its configuration then, and writes into its home.
_MEMORY = Path("/dev/shm")  # a night is thousands of commits, and a disk waits for each
_HOME = Path(tempfile.mkdtemp(prefix="nightshift-tests-", dir=_MEMORY if _MEMORY.is_dir() else None))
_PROJECT = Path(__file__).resolve().parents[1]
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(_PROJECT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(_PROJECT / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
)


def pytest_unconfigure() -> None:
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)
