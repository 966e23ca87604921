from typing import Any

import pytest

from nsdemo import follow


def task(name: str, state: str | None, **changes: Any) -> dict[str, Any]:
    plain = {"map_index": -1, "start_date": "2026", "duration": 181.4, "rendered_map_index": None}
    return {"task_id": name, "state": state, **plain, **changes}


class FakeApi:
    def __init__(self, *looks: tuple[str, list[dict[str, Any]]]) -> None:
        self.looks = list(looks)

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return {"state": self.looks[0][0]}

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return self.looks.pop(0)[1]


def test_each_change_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow.time, "sleep", lambda seconds: None)
    running = task("slot.upgrade_node", "running", rendered_map_index="cp1")
    done = {**running, "state": "success"}
    api = FakeApi(
        ("running", [running, task("slot2.drain_node", "skipped")]),
        ("running", [running]),
        ("success", [done, task("watcher", "upstream_failed")]),
    )
    said: list[str] = []
    run = follow.follow(api, "d", "r", said.append)  # type: ignore[arg-type]
    assert run["state"] == "success"
    assert [line.partition("] ")[2] for line in said] == [
        "slot.upgrade_node (cp1): …",
        "slot.upgrade_node (cp1): done, 181 s",
    ]
