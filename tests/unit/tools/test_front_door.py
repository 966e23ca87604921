import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet

from nightshift.domain.owner import require_installation

DOOR = Path(__file__).parents[3] / "nightshift"


@pytest.mark.parametrize("word", ["demo", "test", "enrol", "unenrol", "airflow", "venv"])
def test_help_names_every_command(word: str) -> None:
    done = subprocess.run([str(DOOR), "help"], capture_output=True, text=True, check=True)
    assert f"./nightshift {word}" in done.stdout or f"|{word}" in done.stdout


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


def test_make_env_makes_keys_that_airflow_takes(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    script = DOOR.parent / "include" / "airflow" / "make_env.py"
    subprocess.run([sys.executable, str(script), str(file)], check=True)
    made = dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
    Fernet(made["AIRFLOW__CORE__FERNET_KEY"])
    assert len(made["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert quote(made["POSTGRES_PASSWORD"], safe="") == made["POSTGRES_PASSWORD"]  # it stands in a URL
