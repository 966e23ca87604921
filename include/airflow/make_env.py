"""Writes what docker-compose.yaml needs into an environment file: `make_env.py .env`. Keeps what is there.

That is secrets, and the name of this installation.
"""

import base64
import json
import os
import secrets
import sys
from pathlib import Path

_INSTALLATION = "NIGHTSHIFT_INSTALLATION"  # tells this Airflow from every other one at the same cluster
_RANDOM_BYTES = {
    "POSTGRES_PASSWORD": 24,
    "AIRFLOW__API__SECRET_KEY": 32,
    "AIRFLOW__API_AUTH__JWT_SECRET": 64,  # signs with SHA-512, which wants as much
    "AIRFLOW__CORE__FERNET_KEY": 32,  # exactly; without one a new container cannot read what an older one encrypted
    "NIGHTSHIFT_ADMIN_PASSWORD": 24,
    "NIGHTSHIFT_SERVICE_PASSWORD": 24,
}
_NOTE_CONNECTION = "AIRFLOW_CONN_NIGHTSHIFT_AIRFLOW_API"


def main(path: Path) -> None:
    """Add every missing name with a random value; the file is readable by its owner only."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    for name, size in _RANDOM_BYTES.items():
        if name not in values:
            values[name] = base64.urlsafe_b64encode(secrets.token_bytes(size)).decode()
            lines.append(f"{name}={values[name]}")
    if not values.get(_INSTALLATION, "").strip(" '\""):
        lines = [line for line in lines if not line.startswith(f"{_INSTALLATION}=")]
        lines.append(f"{_INSTALLATION}=airflow-{secrets.token_hex(3)}")
    if _NOTE_CONNECTION not in values:
        connection = {
            "conn_type": "http",
            "host": "api-server",
            "port": 8080,
            "login": "nightshift",
            "password": values["NIGHTSHIFT_SERVICE_PASSWORD"],
        }
        lines.append(f"{_NOTE_CONNECTION}='{json.dumps(connection)}'")
    temporary = path.with_name(f".{path.name}.new")
    with open(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env"))
