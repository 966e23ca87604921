"""Watches from outside which nodes are cordoned, so that both sides are timed by the same clock."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

INTERVAL = 0.5  # seconds; the precision of both moments


@dataclass
class Cordons:
    """When the first node was seen cordoned, and when all were seen free again after that."""

    first_cordon: float = 0.0  # seconds since the epoch; 0 = not seen
    last_uncordon: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether a cordon and its end were both seen."""
        return 0 < self.first_cordon < self.last_uncordon

    def see(self, at: float, any_cordoned: bool) -> None:
        """Take one observation; a later cordon moves the end."""
        if any_cordoned:
            self.first_cordon = self.first_cordon or at
            self.last_uncordon = 0.0
        elif self.first_cordon and not self.last_uncordon:
            self.last_uncordon = at


class Watcher:
    """Asks the API for its nodes twice a second, as the kubeconfig's user, while the context lasts."""

    def __init__(self, kubeconfig: Path) -> None:
        text = kubeconfig.read_text()
        self._server = urlsplit(_value(text, "server"))
        self._tls = _client_tls(text)
        self._seen = Cordons()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(10)

    def cordons(self) -> Cordons:
        """Return what has been seen so far."""
        return self._seen

    def all_uncordoned(self) -> bool:
        """Whether nodes were cordoned and none is now; true as well when none ever was."""
        return not self._seen.first_cordon or self._seen.complete

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            at = time.time()
            try:
                self._seen.see(at, self._any_cordoned())
            except (OSError, ValueError, http.client.HTTPException):
                continue  # the API is away for moments of every upgrade: nothing was seen

    def _any_cordoned(self) -> bool:
        connection = http.client.HTTPSConnection(self._server.netloc, timeout=2, context=self._tls)
        try:
            connection.request("GET", "/api/v1/nodes", headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ValueError(f"HTTP {response.status}")
            return any(item["spec"].get("unschedulable") for item in json.loads(body)["items"])
        finally:
            connection.close()


def _value(kubeconfig: str, key: str) -> str:
    """Return the value of a key of the administrator's kubeconfig, which has each key once."""
    match = re.search(rf"^\s*{key}:\s*(\S+)\s*$", kubeconfig, re.MULTILINE)
    if match is None:
        raise ValueError(f"the kubeconfig has no {key}")
    return match[1]


def _client_tls(kubeconfig: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_decoded(kubeconfig, "certificate-authority-data").decode())
    pair = _decoded(kubeconfig, "client-certificate-data") + b"\n" + _decoded(kubeconfig, "client-key-data")
    # The ssl module takes client keys from files only; this one is readable by its owner and gone at once.
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _decoded(kubeconfig: str, key: str) -> bytes:
    return base64.b64decode(_value(kubeconfig, key))
