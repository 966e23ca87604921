"""The verb `look`: single sections side by side; one that fails or hangs is written down and ends nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS, STUBS

from nightshift.clients.node_probe import parse_sections
from nightshift.clients.node_ssh import ExitCode

SECTIONS = {
    "plain": 'look_plain() { echo "seen below $FS_ROOT"; }',
    "two-words": "look_two_words() { printf 'a\\tb\\n'; }",
    "failing": "look_failing() { echo half; false; echo never; }",
    "unset": 'look_unset() { echo "$no_such_variable"; }',
    "greedy": "look_greedy() { cat; echo empty; }",
    "constant-a": "readonly LIMIT=1\nlook_constant_a() { echo $LIMIT; }",
    "constant-b": "readonly LIMIT=2\nlook_constant_b() { echo $LIMIT; }",
    "hanging": "look_hanging() { sleep 300; }",
}


class Node:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts = root / "scripts"
        shutil.copytree(NODE_SCRIPTS, self.scripts)
        folder = self.scripts / "lib" / "look"
        folder.mkdir(exist_ok=True)  # git keeps no empty one
        for name, text in SECTIONS.items():
            (folder / f"{name}.sh").write_text(f"{text}\n")

    def look(self, *names: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": f"{STUBS}:{os.environ['PATH']}",
            "NIGHTSHIFT_STATE": str(self.root / "state"),
            "NIGHTSHIFT_FS_ROOT": str(self.root / "fs"),
        }
        command = [str(self.scripts / "nightshift-node"), "look", *names]
        return subprocess.run(
            command,
            input="not for a section",
            capture_output=True,
            text=True,
            env=variables,
            timeout=60,
            check=False,
        )


@pytest.fixture
def looked(tmp_path: Path) -> Node:
    if os.geteuid() != 0:
        pytest.skip("the node-side scripts refuse to run as anybody but root")
    return Node(tmp_path)


def test_each_section_has_its_line_in_the_order_asked_for(looked: Node) -> None:
    done = looked.look("two-words", "plain")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["two-words", "plain"]
    found = parse_sections(done.stdout)
    assert found["two-words"] == (0, "a\tb\n")
    assert found["plain"] == (0, f"seen below {looked.root / 'fs'}\n")


def test_a_section_that_fails_is_written_down_and_the_others_are_there(looked: Node) -> None:
    done = looked.look("failing", "unset", "plain")
    assert done.returncode == 0
    found = parse_sections(done.stdout)
    assert found["failing"] == (1, "half\n")
    assert found["unset"][0] != 0
    assert found["plain"][0] == 0
    assert "no_such_variable" in done.stderr


def test_sections_do_not_meet(looked: Node) -> None:
    """Neither their constants nor what stands on standard input."""
    found = parse_sections(looked.look("constant-a", "constant-b", "greedy").stdout)
    assert [text for _, text in found.values()] == ["1\n", "2\n", "empty\n"]


def test_one_that_hangs_is_ended_and_ends_nothing_else(looked: Node) -> None:
    file = looked.scripts / "lib" / "look.sh"
    file.write_text(file.read_text().replace("LOOK_SECONDS=10", "LOOK_SECONDS=1"))
    began = time.monotonic()
    found = parse_sections(looked.look("hanging", "plain").stdout)
    assert found["hanging"] == (ExitCode.TIMED_OUT, "")
    assert found["plain"][0] == 0
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "name", ["", "absent", "../common", "look/plain", "Plain", "plain.sh", "-x", "a;reboot", "a--b", "plain "]
)
def test_only_sections_that_exist_are_looked_at(looked: Node, name: str) -> None:
    done = looked.look("plain", name)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert repr(name).strip("'") in done.stderr


def test_nothing_asked_for_is_a_wrong_call(looked: Node) -> None:
    assert looked.look().returncode == ExitCode.USAGE


def _shipped() -> list[Path]:
    return sorted((NODE_SCRIPTS / "lib" / "look").glob("*.sh"))


def test_every_shipped_section_defines_its_function() -> None:
    for file in _shipped():
        assert f"\nlook_{file.stem.replace('-', '_')}() {{" in file.read_text(), file.name
