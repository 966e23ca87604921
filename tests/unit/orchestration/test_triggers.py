import asyncio
import json
import time
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from nightshift.domain.errors import UnreachableError
from nightshift.orchestration import runtime
from nightshift.orchestration.triggers import WindowTrigger
from nightshift.steps import hold


def test_it_survives_the_way_into_the_database() -> None:
    path, arguments = WindowTrigger("lab", "run-1", 12.5, 10.0).serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)


def test_its_arguments_carry_no_secret() -> None:
    _, arguments = WindowTrigger("lab", "run-1", 12.5, 10.0).serialize()
    assert set(arguments) == {"cluster", "run_id", "until", "renew_seconds"}


def test_a_window_that_is_over_ends_at_once() -> None:
    event = asyncio.run(anext(WindowTrigger("lab", "run-1", time.time() - 1, 10.0).run()))
    assert "until" in event.payload


@pytest.mark.parametrize("error", [None, UnreachableError("API", "away", cause="c", next_step="n")])
def test_it_renews_the_lease_while_it_waits(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    renewals: list[str] = []

    @contextmanager
    def session(policy: Any, run_id: str, log: Any) -> Any:
        renewals.append(run_id)
        if error:
            raise error
        yield None

    monkeypatch.setattr(runtime, "policy_named", lambda cluster: cluster)
    monkeypatch.setattr(runtime, "open_session", session)
    monkeypatch.setattr(hold, "renew_if_ours", lambda session: True)
    began = time.time()
    asyncio.run(anext(WindowTrigger("lab", "run-1", began + 0.5, 0.1).run()))
    assert time.time() - began >= 0.45
    assert len(renewals) >= 2
