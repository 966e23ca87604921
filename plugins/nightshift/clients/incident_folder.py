"""One incident's folder in the store: files that are written one by one, each at once, and a manifest of all of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO, Protocol

MANIFEST = "manifest.json"
REPORT = "report.html"
DIAGNOSIS = "diagnosis.json"
REPORT_BYTES = 32 * 1024 * 1024  # of a report that is read again
_CHUNK = 1024 * 1024


class Writer(Protocol):
    """The part of a store that is needed here."""

    def write_stream(self, relative: str, fill: Callable[[BinaryIO], None]) -> str:
        """Let `fill` write a private file; it appears under its name only when complete."""


class IncidentFolder:
    """Writes an incident. A store that gives up is remembered and never raised: the failure itself must come out.

    Args:
        store: of the cluster.
        folder: of the incident, in the store.
    """

    def __init__(self, store: Writer, folder: str) -> None:
        self._store, self._folder = store, folder
        self.entries: dict[str, dict[str, Any]] = {}  # path -> entry of the manifest
        self.problem: Exception | None = None

    def add_text(self, path: str, text: str) -> None:
        """Write a text; what no UTF-8 can say becomes a question mark."""
        content = text.encode("utf-8", errors="replace")
        self._write(path, lambda target: target.write(content), content)

    def add_json(self, path: str, data: Any) -> None:
        """Write a document."""
        self.add_text(path, json.dumps(data, indent=2, sort_keys=True, default=str) + "\n")

    def add_copy(self, path: str, source: IO[bytes]) -> None:
        """Write a copy of an open file, from its beginning."""
        source.seek(0)
        digest, size = hashlib.sha256(), 0
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        source.seek(0)
        if self._try(path, lambda target: shutil.copyfileobj(source, target)):
            self._note(path, size, digest.hexdigest())

    def write_manifest(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, last: it names every other file."""
        files = [self.entries[path] for path in sorted(self.entries)]
        content = json.dumps({**facts, "files": files}, indent=2, sort_keys=True, default=str)
        self._try(MANIFEST, lambda target: target.write(content.encode("utf-8", errors="replace")))

    def _write(self, path: str, fill: Callable[[BinaryIO], object], content: bytes) -> None:
        if self._try(path, fill):
            self._note(path, len(content), hashlib.sha256(content).hexdigest())

    def _note(self, path: str, size: int, sha256: str) -> None:
        self.entries[path] = {"path": path, "bytes": size, "sha256": sha256}

    def _try(self, path: str, fill: Callable[[BinaryIO], object]) -> bool:
        def into(target: BinaryIO) -> None:
            fill(target)

        try:
            self._store.write_stream(f"{self._folder}/{path}", into)
        except Exception as error:  # noqa: BLE001 - whatever a store and its library say
            self.problem = self.problem or error
            return False
        return True
