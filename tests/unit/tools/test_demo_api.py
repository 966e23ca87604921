import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nsdemo.api import AirflowApi
from nsdemo.settings import Home


@pytest.mark.parametrize(
    ("age", "is_stale", "is_fresh"),
    [(-5.0, False, True), (60.0, False, False), (-5.0, True, False), (None, False, False)],
)
def test_only_a_dag_the_running_processor_has_read_counts(
    tmp_path: Path, age: float | None, is_stale: bool, is_fresh: bool
) -> None:
    home = Home(tmp_path)
    home.pids.mkdir()
    started = time.time()
    (home.pids / "dag-processor").write_text("1 1\n", encoding="utf-8")
    os.utime(home.pids / "dag-processor", (started, started))
    parsed = (
        None if age is None else datetime.fromtimestamp(started - age, UTC).isoformat().replace("+00:00", "Z")
    )
    assert AirflowApi(home)._is_fresh({"last_parsed_time": parsed, "is_stale": is_stale}) is is_fresh
