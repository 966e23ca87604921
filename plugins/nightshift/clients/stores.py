"""Ledger, snapshots and evidence: private files that appear under their name only when complete.

The root is any path-like with `/`, `open`, `mkdir`, `exists`, `iterdir`, `fs`, `path` (Airflow's `ObjectStoragePath`). On a local
disk a file is written beside its place with mode 0600, synced and renamed; an object store shows an
object only after its upload is complete, which is the same promise.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from nightshift.domain.errors import ConfigError, NightshiftError, TransientError
from nightshift.domain.store_paths import STORE_PACKAGES

_CHUNK_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024  # of what waits for its upload; more is kept in a temporary file
_LOCAL_PROTOCOLS = ("", "file", "local")
_WRITTEN_FOLDERS = ("ledger", "readiness", "snapshots", "evidence", "drift", "kubelets")  # by a run


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
            with _using(self._root / relative), (self._root / relative).open("rb") as source:
                content = source.read()
            data = json.loads(content)
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None

    def exists(self, relative: str) -> bool:
        """Tell whether the document or file is there."""
        with _using(self._root / relative):
            return bool((self._root / relative).exists())

    def write_text(self, relative: str, text: str) -> str:
        """Write one text; what no UTF-8 can say is written as a question mark."""

        def fill(target: BinaryIO) -> None:
            target.write(text.encode("utf-8", errors="replace"))

        return self.write_stream(relative, fill)

    def read_bytes(self, relative: str, limit: int) -> bytes | None:
        """At most `limit` bytes of a file; None when it is absent."""
        try:
            place = self._root / relative
            with _using(place, absent=IsADirectoryError), place.open("rb") as source:
                content: bytes = source.read(limit)
        except (FileNotFoundError, IsADirectoryError):
            return None
        return content

    def chunks(self, relative: str) -> Iterator[bytes]:
        """A file piece by piece."""
        with _using(self._root / relative):
            source = (self._root / relative).open("rb")
        with source:
            while True:
                with _using(self._root / relative):
                    chunk = source.read(_CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def names(self, folder: str) -> tuple[str, ...]:
        """What lies directly in a folder, sorted; nothing when there is no such folder. Object stores are listed, too."""
        place = self._root / folder
        try:
            with _using(place, absent=NotADirectoryError):
                if hasattr(place, "fs"):  # a long-lived process would see its own old listing
                    place.fs.invalidate_cache()
                return tuple(sorted(found.name for found in place.iterdir()))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def remove(self, relative: str) -> None:
        """Remove a file, or a folder with everything in it; what is gone already is fine."""
        place = self._root / relative
        with suppress(FileNotFoundError), _using(place):
            if isinstance(place, Path) and place.is_file():
                place.unlink()
            elif isinstance(place, Path):
                shutil.rmtree(place)
            else:
                place.fs.rm(place.path, recursive=True)

    def check(self, name: str) -> None:
        """Write one small object, read it back, and take it away again, where that is allowed.

        On a local disk also each folder that is there and that a run writes to: each may have another owner.

        Args:
            name: nobody else's meanwhile, safe as part of a path.

        Raises:
            NightshiftError: STORE_UNAVAILABLE.
        """
        folder, said = f"check-{name}", {"written_by": name}
        place = self.write_json(f"{folder}/object.json", said)
        found = self.read_json(f"{folder}/object.json")
        with suppress(NightshiftError):
            self.remove(folder)
        if found != said:
            raise _store_error(self._root / folder, OSError(f"what was written to {place} did not come back"))
        if isinstance(self._root, Path):
            for written in _WRITTEN_FOLDERS:
                _require_writable(self._root / written)

    def place(self, relative: str) -> str:
        """Where a file lies or would lie, for people."""
        return str(self._root / relative)

    def write_stream(self, relative: str, fill: Callable[[BinaryIO], None]) -> str:
        """Let `fill` write a private file (0600 when local); it appears under its name only when complete."""
        target = self._root / relative
        if isinstance(target, Path):
            try:
                _write_local(target, fill)
            except OSError as error:
                raise _store_error(target, error) from error
        else:
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as whole:
                fill(cast("BinaryIO", whole))
                whole.seek(0)
                try:
                    with _using(target):
                        _upload(target, cast("IO[bytes]", whole))
                except FileNotFoundError as error:  # not the file: its bucket
                    raise _store_error(target, error) from error
        return str(target)


def _local(root: Any) -> Any:
    """A plain `Path` for a local root: only there modes and renames mean something."""
    if isinstance(root, str | os.PathLike) and not hasattr(root, "protocol"):
        return Path(root)
    return Path(root.path) if getattr(root, "protocol", "") in _LOCAL_PROTOCOLS else root


@contextmanager
def _using(place: Any, *, absent: type[OSError] = FileNotFoundError) -> Iterator[None]:
    """Make one error of whatever a store's library raises; what says that nothing is there (`absent`) stays as it is."""
    try:
        yield
    except (NightshiftError, FileNotFoundError, absent):
        raise
    except Exception as error:
        raise _store_error(place, error) from error


def _upload(target: Any, source: IO[bytes]) -> None:
    """Put a whole file there. Leaving the stream's own block after an error would keep what came until then."""
    stream = target.open("wb")
    try:
        shutil.copyfileobj(source, stream, _CHUNK_BYTES)
    except BaseException:
        with suppress(Exception):
            stream.discard()
        with suppress(Exception):
            stream.closed = True  # else the stream's end would send the rest
        raise
    stream.close()


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


def _require_writable(folder: Path) -> None:
    """Try a file without a name in a folder, if there is such a folder."""
    if not os.path.lexists(folder):
        return
    try:
        with tempfile.TemporaryFile(prefix=".check.", dir=folder):
            pass
    except OSError as error:
        raise _store_error(folder, error) from error


def _make_private(directory: Path) -> None:
    """Make missing folders with mode 0700, each of them: `mkdir(parents=True)` gives it to the last only."""
    if not directory.parent.exists():
        _make_private(directory.parent)
    directory.mkdir(exist_ok=True, mode=0o700)


def _store_error(place: Any, error: Exception) -> NightshiftError:
    """The store did not take or give a file."""
    message, cause = f"The store could not be used at {place}.", str(error) or type(error).__name__
    package = STORE_PACKAGES.get(str(getattr(place, "protocol", "")))
    if package and isinstance(error, ImportError | ValueError) and not _is_registered(place):
        return ConfigError(
            "STORE_UNAVAILABLE",
            message,
            cause=f"{package} is not installed in this Airflow ({cause}).",
            next_step="Install it for every Airflow process (Compose: EXTRA_PACKAGES in .env, then `up -d --build`), "
            "or change the policy's `store`; then clear this task.",
        )
    return TransientError(
        "STORE_UNAVAILABLE",
        message,
        cause=cause,
        next_step="Check the policy's `store`: reachable, writable, not full; then clear this task.",
    )


def _is_registered(place: Any) -> bool:
    """Tell whether Airflow has a file system for this place at all."""
    try:
        return place.fs is not None
    except (ImportError, ValueError):
        return False
