"""Secrets of the lab and some that are planted, and whether any of them is in what a night has written."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import secrets
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.lab.world import World

from nsdemo.settings import read_env_file

NEEDLE_LENGTH = 40  # of a key; its first characters are those of every key of its kind
SKIPPED = 60  # characters of base64: what every key of a kind begins with
_KEYS = "cat /etc/kubernetes/pki/*.key /etc/kubernetes/pki/etcd/*.key; grep -h client-key-data: /etc/kubernetes/*.conf"
_PROXY_LOG = "ls -t /var/log/pods/kube-system_kube-proxy-*/kube-proxy/*.log | head -n 1"


def plant(world: World, node: str) -> dict[str, str]:
    """Put secrets where evidence looks; returns place -> secret.

    One in a Secret of kube-system, one in the arguments of a process, one in the log of a pod that runs on `node`.
    """
    places = ("a Secret", "arguments of a process", "log of a pod")
    planted = {place: f"planted{secrets.token_hex(20)}" for place in places}
    secret, argument, logged = planted.values()
    world.kubectl(
        "-n", "kube-system", "create", "secret", "generic", "planted", f"--from-literal=password={secret}"
    )
    shell = f"sh -c 'sleep 86400; :' planted --oidc-client-secret={argument}"
    world.on_node(node, f"systemd-run --quiet --collect --unit=planted-secret {shell}")
    line = f"stderr F handshake failed, Authorization: Bearer {logged}"
    world.on_node(node, f'echo "$(date -u +%FT%T.%NZ) {line}" >>"$({_PROXY_LOG})"')
    assert argument in world.on_node(node, "ps -eo args -ww")
    assert logged in world.on_node(node, f'tail -n 3 "$({_PROXY_LOG})"')
    # Whoever dumps a Secret tells its value in base64.
    return {**planted, "a Secret, as the API has it": base64.b64encode(secret.encode()).decode()}


def own_secrets(world: World, node: str) -> dict[str, str]:
    """What is secret in the lab itself and in this Airflow: name -> a piece that nothing else contains; of each kind at least one."""
    texts = {
        **{f"key {number} of {node}": key for number, key in enumerate(_keys(world.on_node(node, _KEYS)))},
        **{f"Airflow's {name}": value for name, value in world.home.secrets().items()},
    }
    for name, value in read_env_file(world.home.connections).items():
        extra = json.loads(value)["extra"]
        extra = json.loads(extra) if isinstance(extra, str) else extra
        for number, key in enumerate(_keys(json.dumps(extra).replace("\\n", "\n"))):
            texts[f"key {number} of {name}"] = key
        for number, token in enumerate(re.findall(r"token\W+(eyJ[\w.-]+)", json.dumps(extra))):
            texts[f"token {number} of {name}"] = token[-NEEDLE_LENGTH:]
    kinds = {re.sub(r" \d+", "", name) for name in texts}
    assert {f"key of {node}", "key of AIRFLOW_CONN_NIGHTSHIFT_LAB_SSH", "Airflow's jwt_secret"} <= kinds, (
        kinds
    )
    assert "token of AIRFLOW_CONN_NIGHTSHIFT_LAB_KUBERNETES" in kinds, kinds
    return texts


def _keys(text: str) -> list[str]:
    """A piece from the middle of every private key in a text, as PEM or as the base64 of one."""
    blocks = re.findall(r"-----BEGIN [\w ]*PRIVATE KEY-----\s+([\w+/=\s]+?)-----END", text)
    encoded = re.findall(r"client-key-data\W+([\w+/=]+)", text)
    # Of a key in lines, one line that is not the first: no needle may have a line's end in it.
    return [(block.split() * 2)[1][:NEEDLE_LENGTH] for block in blocks] + [
        data[SKIPPED : SKIPPED + NEEDLE_LENGTH] for data in encoded
    ]


def leaks(world: World, needles: dict[str, str]) -> list[str]:
    """Which secret is where in what nights have written: evidence, ledger, notes, XComs, logs. Snapshots have to have them."""
    found = []
    for place, content in _written(world):
        found += [f"{name} in {place}" for name, needle in needles.items() if needle.encode() in content]
    return found


def _written(world: World) -> Iterator[tuple[str, bytes]]:
    store = Path(world.home.store) / "lab"
    roots = [path for path in store.iterdir() if path.name != "snapshots"]
    for root in (*roots, world.home.airflow / "logs", world.home.logs):
        for path in (p for p in (root, *root.rglob("*")) if p.is_file()):
            yield from unpacked(str(path), path.read_bytes())
    with sqlite3.connect(f"file:{world.home.airflow / 'airflow.db'}?mode=ro", uri=True) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield f"table {table}", repr(row).encode()


def unpacked(place: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file, and what is packed in it."""
    yield place, content
    if not place.endswith(".gz"):
        return
    plain = gzip.decompress(content)
    yield place, plain
    if place.endswith(".tar.gz"):
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    yield from unpacked(f"{place}: {member.name}", file.read())
