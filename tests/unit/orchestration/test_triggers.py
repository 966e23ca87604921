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
from nightshift.steps import brake, hold


def test_it_survives_the_way_into_the_database() -> None:
    path, arguments = WindowTrigger("lab", "run-1", 12.5, 10.0).serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)


def test_its_arguments_carry_no_secret() -> None:
    _, arguments = WindowTrigger("lab", "run-1", 12.5, 10.0).serialize()
    assert set(arguments) == {"cluster", "run_id", "until", "renew_seconds", "asks_brake"}


def test_a_wait_that_an_older_version_began_goes_on() -> None:
    """Its arguments lie in Airflow's database."""
    assert not WindowTrigger(cluster="lab", run_id="run-1", until=12.5, renew_seconds=10.0).asks_brake


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


@pytest.mark.parametrize(("asks", "seconds"), [(True, 0.1), (False, 0.6)])
def test_a_wait_ends_when_the_night_does(monkeypatch: pytest.MonkeyPatch, asks: bool, seconds: float) -> None:
    @contextmanager
    def session(policy: Any, run_id: str, log: Any) -> Any:
        yield None

    monkeypatch.setattr(runtime, "policy_named", lambda cluster: cluster)
    monkeypatch.setattr(runtime, "open_session", session)
    monkeypatch.setattr(hold, "renew_if_ours", lambda session: True)
    monkeypatch.setattr(brake, "held", lambda session: brake.Hold("BRAKE_ON", "The brake is on."))
    began = time.time()
    asyncio.run(anext(WindowTrigger("lab", "run-1", began + 0.6, 0.1, asks).run()))
    assert time.time() - began == pytest.approx(seconds, abs=0.25)
