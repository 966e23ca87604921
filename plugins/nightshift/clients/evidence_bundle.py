"""Read a bundle of evidence (tar.gz, as `nightshift-node collect-evidence` makes it) into text files, in memory and bounded.

Nothing is written: no path of the archive becomes a path of this machine. A bundle may come from a node that somebody else holds, so its
sizes are not believed either.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from nightshift.domain.errors import ConfigError

MAX_FILES = 5_000
MAX_BYTES = 128 * 1024 * 1024  # of all files together; the node keeps a bundle below 64 MiB
MAX_FILE_BYTES = 16 * 1024 * 1024


def read_bundle(path: Path) -> dict[str, str]:
    """Return path in the bundle -> text of a bundle on disk.

    Raises:
        ConfigError: it cannot be read, is no bundle, or is larger than a bundle can be (BUNDLE_UNREADABLE).
    """
    try:
        with path.open("rb") as source:
            return read_stream(source, str(path))
    except OSError as error:
        raise _unreadable(str(path), str(error)) from error


def read_stream(source: IO[bytes], name: str) -> dict[str, str]:
    """The same of an open file; `name` is for messages."""
    files: dict[str, str] = {}
    left = MAX_BYTES
    try:
        with (
            gzip.open(source) as plain,
            tarfile.open(fileobj=_Bounded(plain, MAX_BYTES * 2), mode="r|") as archive,
        ):
            for number, member in enumerate(archive):
                if number >= MAX_FILES:
                    raise _unreadable(name, f"it has more than {MAX_FILES} files")
                if not member.isfile():  # no link is followed, no device opened
                    continue
                left -= member.size
                if left < 0 or member.size > MAX_FILE_BYTES:
                    raise _unreadable(name, f"it is too large at {member.name}")
                content = archive.extractfile(member)
                if content is not None:
                    files[_inside(member.name, name)] = content.read().decode("utf-8", errors="replace")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise _unreadable(name, str(error)) from error
    return files


class _Bounded(io.RawIOBase):
    """A stream that gives up where a bundle cannot be any longer: gzip packs a gigabyte of zeros into a megabyte."""

    def __init__(self, source: gzip.GzipFile, limit: int) -> None:
        self._source, self._left = source, limit

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("it unpacks to more than a bundle can have")
        return data


def _inside(name: str, bundle: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _unreadable(bundle, f"the path {name!r} leads out of it")
    return str(path)


def _unreadable(name: str, cause: str) -> ConfigError:
    return ConfigError(
        "BUNDLE_UNREADABLE",
        f"The evidence {name} cannot be read.",
        cause=f"{cause}.",
        next_step="Give the path of a bundle, a tar.gz file as it lies in the store under evidence/.",
    )
