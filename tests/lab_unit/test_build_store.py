"""The builder's cache: whole or absent, made once, whatever happens in between."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from nslab.build import store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(store, "_DURATIONS", tmp_path / "durations.json")
    return tmp_path


def test_a_finished_directory_is_made_once_and_said_so(cache: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        made = store.ensure_directory(
            cache / "thing-r1", lambda out: (out / "f").write_text("x"), said.append
        )
    assert (made / "f").read_text() == "x"
    assert said == ["building thing-r1", "built thing-r1 in 0 s"]


def test_the_next_build_tells_how_long_the_last_one_took(cache: Path) -> None:
    store.remember_duration("thing-r1", 61.4)
    said: list[str] = []
    store.ensure_directory(cache / "thing-r1", lambda out: None, said.append)
    assert said[0] == "building thing-r1 (took 61 s last time)"


def test_a_long_build_shows_that_it_is_alive(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HEARTBEAT_SECONDS", 0.05)
    said: list[str] = []
    store.ensure_directory(cache / "thing", lambda out: time.sleep(0.3), said.append)
    beats = [line for line in said if line.startswith("still building thing")]
    assert beats
    time.sleep(0.2)
    assert len(said) == len(beats) + 2, "it is silent once the thing is built"


def test_a_failed_build_leaves_no_result_and_the_next_one_starts_clean(cache: Path) -> None:
    def fail(out: Path) -> None:
        (out / "half").write_text("x")
        raise store.BuildError("no space", "make some")

    with pytest.raises(store.BuildError, match="next: make some"):
        store.ensure_directory(cache / "thing", fail, str)
    assert not (cache / "thing").exists()
    store.ensure_directory(cache / "thing", lambda out: (out / "whole").write_text("x"), str)
    assert [p.name for p in (cache / "thing").iterdir()] == ["whole"]


def test_two_builders_at_once_do_the_work_once(cache: Path) -> None:
    calls: list[int] = []

    def slow(out: Path) -> None:
        calls.append(1)
        time.sleep(0.2)

    said: list[str] = []
    threads = [
        threading.Thread(target=store.ensure_directory, args=(cache / "thing", slow, said.append))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert said.count("waiting for another process that is at work on thing") == 2
    assert (cache / "thing").is_dir()


def test_results_are_readable_whatever_the_umask_is(cache: Path) -> None:
    before = os.umask(0o077)
    try:
        made = store.ensure_directory(cache / "thing", lambda out: (out / "f").write_text("x"), str)
    finally:
        os.umask(before)
    assert (made / "f").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "x"}', "{"])
def test_unreadable_durations_are_no_durations(cache: Path, content: str) -> None:
    (cache / "durations.json").write_text(content)
    assert store.durations() == {}
    store.remember_duration("thing", 1)
    assert json.loads((cache / "durations.json").read_text()) == {"thing": 1}
