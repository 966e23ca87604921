"""Ledger, snapshots and evidence: private files that appear under their name only when complete.

The root is any path-like with `/`, `open`, `mkdir`, `exists` (Airflow's `ObjectStoragePath`). On a local
disk a file is written beside its place with mode 0600, synced and renamed; an object store shows an
object only after its upload is complete, which is the same promise.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from nightshift.domain.errors import TransientError

_LOCAL_PROTOCOLS = ("", "file", "local")


class Store:
    """One cluster's part of the store."""

    def __init__(self, root: Any, cluster: str) -> None:
        self._root = _local(root) / cluster

    def write_json(self, relative: str, data: Mapping[str, Any]) -> str:
        """Write one JSON document atomically; returns where it lies."""
        text = json.dumps(data, indent=2, sort_keys=True, default=str) + "\n"

        def fill(target: BinaryIO) -> None:
            target.write(text.encode())

        return self.write_stream(relative, fill)

    def read_json(self, relative: str) -> dict[str, Any] | None:
        """Read it back; None when absent. A document that is not JSON is absent too: it is not ours."""
        try:
            with (self._root / relative).open("rb") as source:
                data = json.loads(source.read())
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise _store_error(str(self._root / relative), error) from error
        return data if isinstance(data, dict) else None

    def exists(self, relative: str) -> bool:
        """Tell whether the document or file is there."""
        try:
            return bool((self._root / relative).exists())
        except OSError as error:
            raise _store_error(str(self._root / relative), error) from error

    def write_stream(self, relative: str, fill: Callable[[BinaryIO], None]) -> str:
        """Let `fill` write a private file (0600 when local); it appears under its name only when complete."""
        target = self._root / relative
        try:
            if isinstance(target, Path):
                _write_local(target, fill)
            else:
                with target.open("wb") as stream:
                    fill(stream)
        except OSError as error:
            raise _store_error(str(target), error) from error
        return str(target)


def _local(root: Any) -> Any:
    """A plain `Path` for a local root: only there modes and renames mean something."""
    if isinstance(root, str | os.PathLike) and not hasattr(root, "protocol"):
        return Path(root)
    return Path(root.path) if getattr(root, "protocol", "") in _LOCAL_PROTOCOLS else root


def _write_local(target: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Write beside the target (mkstemp: mode 0600), sync, rename."""
    _make_private(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _make_private(directory: Path) -> None:
    """Make missing folders with mode 0700, each of them: `mkdir(parents=True)` gives it to the last only."""
    if not directory.parent.exists():
        _make_private(directory.parent)
    directory.mkdir(exist_ok=True, mode=0o700)


def _store_error(place: str, error: OSError) -> TransientError:
    """The store did not take or give a file."""
    return TransientError(
        "STORE_UNAVAILABLE",
        f"The store could not be used at {place}.",
        cause=str(error),
        next_step="Check the policy's `store`: reachable, writable, not full; then clear this task.",
    )
