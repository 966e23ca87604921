"""What the demo asks of the lab's command line, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nsdemo import __main__ as demo
from nsdemo import lab
from nsdemo.settings import DemoError, Home, tunnel
from nslab import settings as lab_settings

Stub = Callable[[str], Path]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Puts a shell script in the place of lab/lab; it notes its arguments in the file it returns."""

    def write(body: str) -> Path:
        program, noted = tmp_path / "lab", tmp_path / "noted"
        program.write_text(f'#!/bin/sh\necho "$@" >>{noted}\n{body}\n', encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(lab, "_LAB", program)
        return noted

    return write


def is_up(profile: str, version: str) -> str:
    return f'[ "$1" != env ] || printf "export NSLAB_PROFILE={profile}\\nexport NSLAB_VERSION={version}\\n"'


def asked(noted: Path) -> list[str]:
    return [line for line in noted.read_text(encoding="utf-8").splitlines() if line != "env"]


def test_the_demo_goes_where_the_lab_goes() -> None:
    assert (lab.FROM_VERSION, lab.TARGET_VERSION) == (lab_settings.FROM_VERSION, lab_settings.TARGET_VERSION)


def test_a_lab_that_stands_is_completed_and_made_fresh_never_only_reset(stub: Stub) -> None:
    """An interrupted demo leaves a lab without saved disks or without the target's packages: a reset mends neither."""
    noted = stub(is_up("small", "1.34.4"))
    said: list[str] = []
    assert lab.bring_up("small", said.append)["NSLAB_VERSION"] == "1.34.4"
    assert asked(noted) == ["up --fresh --profile small --version 1.34.4"]
    assert said == []


@pytest.mark.parametrize(("profile", "version"), [("ha", "1.34.4"), ("small", "1.34.2")])
def test_a_lab_of_another_shape_or_version_is_taken_down_first(
    stub: Stub, profile: str, version: str
) -> None:
    noted = stub(is_up(profile, version))
    said: list[str] = []
    lab.bring_up("small", said.append)
    assert asked(noted) == ["down", "up --fresh --profile small --version 1.34.4"]
    assert said == [f"lab: it is up as {profile} on {version}; taking it down for small on 1.34.4"]


def test_the_version_that_was_asked_for_is_kept(stub: Stub) -> None:
    noted = stub(is_up("small", "1.34.2"))
    lab.bring_up("small", print, "1.34.2")
    assert asked(noted) == ["up --fresh --profile small --version 1.34.2"]


def test_a_lab_that_is_down_comes_up(stub: Stub) -> None:
    noted = stub('[ "$1" != env ]')
    lab.bring_up("ha", print)
    assert asked(noted) == ["up --fresh --profile ha --version 1.34.4"]


def test_the_lab_is_enrolled_by_its_own_cluster_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, seen = Home(tmp_path), {}

    def run(command: list[str], **options: Any) -> Any:
        seen.update(options.get("env", {}))
        home.connections.touch()
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(lab.subprocess, "run", run)
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", "/other/clusters")
    facts = dict.fromkeys(("KUBECONFIG", "NSLAB_SSH_KEY", "NSLAB_KNOWN_HOSTS"), "x")
    lab.enrol_lab(home, {**facts, "NSLAB_REGISTRY": "10.9.8.2:5000"})
    assert (Path(seen["NIGHTSHIFT_CLUSTERS"]) / f"{lab.CLUSTER}.yaml").exists()
    assert seen["NIGHTSHIFT_LAB_INFRA"] == "10.9.8.2"
    # So that enrol makes none up: a second home may be given the first one's file, never its name.
    assert seen["NIGHTSHIFT_INSTALLATION"] == home.installation()


ENROLLED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "moment"),
    [("printf 2026-11-24T12:00:00Z", ENROLLED), ("", None), ("echo Unable to connect >&2; exit 1", None)],
)
def test_the_cluster_says_when_it_was_enrolled(stub: Stub, body: str, moment: datetime | None) -> None:
    stub(body)
    if moment is not None:
        assert lab.enrolled_at() == moment
        return
    with pytest.raises(DemoError, match="does not say when" + (".*Unable" if "Unable" in body else "")):
        lab.enrolled_at()


def test_nodes_that_are_not_on_the_target_are_named(stub: Stub) -> None:
    stub("printf 'cp1=v1.35.4 w1=v1.34.4 w2=v1.35.40 '")
    assert lab.nodes_behind() == {"w1": "v1.34.4", "w2": "v1.35.40"}


@pytest.mark.parametrize("body", ["", "exit 1"])
def test_a_cluster_that_names_no_node_is_not_on_the_target(stub: Stub, body: str) -> None:
    stub(body)
    with pytest.raises(DemoError, match="which versions"):
        lab.nodes_behind()


# The end of the demo


@pytest.mark.parametrize(
    ("state", "nodes", "code", "words"),
    [
        ("success", "cp1=v1.35.4 w1=v1.35.4", 0, ()),
        ("success", "cp1=v1.34.4 w1=v1.34.4", 1, ("not on v1.35.4", "cp1 is on v1.34.4, w1 is on v1.34.4")),
        ("failed", "cp1=v1.34.4", 1, ("the run ended failed",)),
    ],
)
def test_the_demo_is_done_when_every_node_is_on_the_target(
    stub: Stub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
    nodes: str,
    code: int,
    words: tuple[str, ...],
) -> None:
    """A night that finds nothing to do is green; as the end of the demo it is none."""
    stub(f"printf '{nodes} '")
    monkeypatch.setattr(demo, "_demo", lambda home, _: demo._close(home, {"state": state}, "r"))
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    assert demo.main([]) == code
    shown = capsys.readouterr().out
    for word in (*words, tunnel(), "Airflow UI"):
        assert word in shown


def test_the_tunnel_follows_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_PORT", "8090")
    assert "-L 8090:127.0.0.1:8090 " in tunnel()
