import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet

from nightshift.cli import _parser
from nightshift.domain.owner import require_installation

DOOR = Path(__file__).parents[3] / "nightshift"


PAGES = [DOOR.parent / "README.md", DOOR.parent / "lab" / "README.md", *DOOR.parent.glob("docs/**/*.md")]


def documented() -> set[str]:
    """Every word that stands after `./nightshift` in README and docs."""
    return {word for page in PAGES for word in re.findall(r"\./nightshift ([a-z]+)", page.read_text("utf-8"))}


def of_the_command_line() -> set[str]:
    """Every sub-command of `nightshift.cli`."""
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return set(commands.choices)


def accepted() -> set[str]:
    """The words that the front door's own `case` knows."""
    body = DOOR.read_text("utf-8").partition("case $command in")[2]
    return {word for line in re.findall(r"^    ([a-z|\- ]+)\)", body, re.M) for word in line.split(" | ")}


def test_every_documented_command_can_be_reached() -> None:
    assert len(documented()) > 4
    assert documented() | of_the_command_line() <= accepted()


def test_help_names_every_command() -> None:
    done = subprocess.run([str(DOOR), "help"], capture_output=True, text=True, check=True)
    named = re.findall(r"^ *\./nightshift ([a-z|]+)", done.stdout, re.M)
    words = {word for group in named for word in group.split("|")}
    assert accepted() - {"help", "-h", "--help"} == words


@pytest.mark.parametrize(
    ("arguments", "target"), [([], "test"), (["lab-full"], "lab-full"), (["unit", "chaos"], "unit chaos")]
)
def test_test_hands_targets_to_make(tmp_path: Path, arguments: list[str], target: str) -> None:
    """`lab-full` needs the same packages as `test`, and a bare machine has none of them."""
    python = tmp_path / "python3"
    programs = {
        "make": 'echo "$@"',
        "dpkg-query": "printf installed",
        "python3": f'[ "$1 $2" != "-m venv" ] || {{ mkdir -p "$3/bin" && cp {python} "$3/bin/python"; }}',
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    places = {"NIGHTSHIFT_PYTHON": str(python), "NIGHTSHIFT_CACHE": str(tmp_path / "cache")}
    environment = {**os.environ, **places, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(DOOR), "test", *arguments], capture_output=True, text=True, check=True, env=environment
    )
    assert f" {target} VENV={tmp_path}/cache/venv-" in done.stdout


def test_an_unknown_command_says_what_to_do() -> None:
    done = subprocess.run([str(DOOR), "upgrade-everything"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown command: upgrade-everything" in done.stderr
    assert "Next step" in done.stderr


def test_make_env_keeps_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=mine\n# a comment\nOTHER='{\"a\": 1}'\n", encoding="utf-8")
    script = DOOR.parent / "include" / "airflow" / "make_env.py"
    for _ in range(2):
        subprocess.run([sys.executable, str(script), str(file)], check=True)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["POSTGRES_PASSWORD=mine", "# a comment", "OTHER='{\"a\": 1}'"]
    names = [line.split("=")[0] for line in lines]
    assert len(names) == len(set(names)) == 10
    installation = dict(line.split("=", 1) for line in lines if "=" in line)["NIGHTSHIFT_INSTALLATION"]
    assert require_installation(installation) == installation
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("line", ["", "''", "site-b"])
def test_make_env_names_an_airflow_whose_name_is_empty(tmp_path: Path, line: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"NIGHTSHIFT_INSTALLATION={line}\n", encoding="utf-8")
    script = DOOR.parent / "include" / "airflow" / "make_env.py"
    subprocess.run([sys.executable, str(script), str(file)], check=True)
    names = re.findall(r"^NIGHTSHIFT_INSTALLATION=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) == 1
    assert names[0] == line if line == "site-b" else require_installation(names[0])


def test_make_env_makes_keys_that_airflow_takes(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    script = DOOR.parent / "include" / "airflow" / "make_env.py"
    subprocess.run([sys.executable, str(script), str(file)], check=True)
    made = dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
    Fernet(made["AIRFLOW__CORE__FERNET_KEY"])
    assert len(made["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert quote(made["POSTGRES_PASSWORD"], safe="") == made["POSTGRES_PASSWORD"]  # it stands in a URL
