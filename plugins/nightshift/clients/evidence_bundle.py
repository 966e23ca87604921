"""Read a bundle of evidence (an incident's folder, or a tar.gz as `nightshift-node collect-evidence` makes it) into text files.

In memory and bounded.

Nothing is written: no path of the archive becomes a path of this machine. A bundle may come from a node that somebody else holds, so its
sizes are not believed either.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from nightshift.domain.diagnosis.asked import FOLDER, is_answer
from nightshift.domain.errors import ConfigError

NODE_ARCHIVE = "node.tar.gz"  # of an incident: what the node gave
PARTIAL_ARCHIVE = "node-partial.tar.gz"  # the same, cut off on its way
NODE_ARCHIVES = (NODE_ARCHIVE, PARTIAL_ARCHIVE)
ASKED_ARCHIVE = "asked.tar.gz"  # of an incident: what the node said when it was asked again
DRIVER_FOLDERS = ("driver", "cluster")  # of an incident: what was captured beside it
MAX_FILES = 5_000
MAX_BYTES = 128 * 1024 * 1024  # of all files together; the node keeps a bundle below 64 MiB
MAX_FILE_BYTES = 16 * 1024 * 1024


def read_bundle(path: Path) -> dict[str, str]:
    """Return path in the bundle -> text of a bundle on disk: a node's archive, or an incident's folder with all it has.

    Raises:
        ConfigError: it cannot be read, is no bundle, or is larger than a bundle can be (BUNDLE_UNREADABLE).
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        with path.open("rb") as source:
            return read_stream(source, str(path))
    except OSError as error:
        raise _unreadable(str(path), str(error)) from error


def _read_folder(folder: Path) -> dict[str, str]:
    """The node's archive and what the driver put beside it."""
    files: dict[str, str] = {}
    for name in NODE_ARCHIVES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as source:
                for path, content in members(source, name, is_partial=name == PARTIAL_ARCHIVE):
                    files[path] = _text(content)
    if (folder / ASKED_ARCHIVE).is_file():
        with (folder / ASKED_ARCHIVE).open("rb") as source:
            files.update((path, _text(content)) for path, content in asked_members(source))
    for part in DRIVER_FOLDERS:
        for found in sorted((folder / part).rglob("*")):
            if found.is_file() and not found.is_symlink() and found.stat().st_size <= MAX_FILE_BYTES:
                files[str(found.relative_to(folder))] = _text(found.read_bytes())
    if not files:
        raise _unreadable(str(folder), f"it has neither {NODE_ARCHIVE} nor a folder driver")
    return files


def read_stream(source: IO[bytes], name: str) -> dict[str, str]:
    """The same of an open archive; `name` is for messages."""
    return {path: _text(content) for path, content in members(source, name)}


def members(source: IO[bytes], name: str, *, is_partial: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of an open archive.

    Args:
        source: the archive.
        name: for messages.
        is_partial: it was cut off on its way: what is whole of it counts, and its end is no error.
    """
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
                    yield _inside(member.name, name), content.read()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        if not is_partial:
            raise _unreadable(name, str(error)) from error


def asked_members(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield path, below `asked/`, and content of each file of an open archive of what was asked again, as far as it came."""
    for path, content in members(source, ASKED_ARCHIVE, is_partial=True):
        if is_answer(path):
            yield f"{FOLDER}{path}", content


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


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
        next_step="Give the path of an incident's folder, or of a node's archive (tar.gz), as they lie in the store under evidence/.",
    )
