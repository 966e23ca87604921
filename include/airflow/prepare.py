"""Runs once before Airflow's processes: the database's schema, and the two users' passwords from the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Prepare; safe to repeat, and repeated at every `up`."""
    passwords = {
        "admin": os.environ["NIGHTSHIFT_ADMIN_PASSWORD"],
        "nightshift": os.environ["NIGHTSHIFT_SERVICE_PASSWORD"],
    }
    path = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    temporary = path.with_suffix(".new")
    with open(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(passwords, file)
    temporary.replace(path)
    return subprocess.run(["airflow", "db", "migrate"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
