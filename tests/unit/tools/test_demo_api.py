import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
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


def _api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: list[int]) -> AirflowApi:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    api = AirflowApi(Home(tmp_path))
    monkeypatch.setattr(api, "_log_in", lambda: None)
    answers = httpx.MockTransport(lambda request: httpx.Response(codes.pop(0), json={}))
    api._client = httpx.Client(base_url="http://airflow", transport=answers)
    return api


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.unpause("upgrade_lab"),
        lambda api: api.mark_failed("upgrade_lab", "old"),
        lambda api: api.trigger("upgrade_lab"),
        lambda api: api.pause("upgrade_lab"),
    ],
)
def test_a_locked_database_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[AirflowApi], None]
) -> None:
    """SQLite refuses a writer while an earlier run's tasks write: Airflow answers 500, and nothing was changed."""
    codes = [500, 500, 200]
    change(_api(monkeypatch, tmp_path, codes))
    assert codes == []


def test_a_database_that_stays_locked_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="500"):
        _api(monkeypatch, tmp_path, [500] * 3).unpause("upgrade_lab")


def test_a_run_whose_first_answer_was_lost_is_not_started_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def airflow(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["dag_run_id"])
        if len(asked) == 1:
            raise httpx.ReadTimeout("no answer", request=request)
        return httpx.Response(409, json={})

    api = _api(monkeypatch, tmp_path, [])
    api._client = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(airflow))
    assert api.trigger("upgrade_lab", reason="why") == asked[0] == asked[1]


def test_a_conflict_is_done_only_where_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        _api(monkeypatch, tmp_path, [409]).mark_failed("upgrade_lab", "old")
