"""Make a node's bundle small enough for a repository, without choosing lines by what they mean.

What is left out never depends on a pattern of the diagnosis: of lines of the same shape (digits, ids and addresses aside) the first and
the last few stay, whatever they say; lines from before the incident go, they belong to another recording on the same node.
A log that has no other lines keeps its last two.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence

from nightshift.domain.diagnosis.lines import lines_of

FIRST, LAST = 6, 3  # lines of one shape that stay
QUIET = 2  # older lines that stay of a log that has no others
LINE_LIMIT = 900  # characters
FILE_LIMIT = 40 * 1024  # characters of a log; beyond it, its middle goes
SAMPLES = 300  # seconds of the recorder that stay; beyond, every second one goes
_LOGS = re.compile(r"^(journal|pods|recorder/pods|packages)/")
_LEFT_OUT = re.compile(
    r"^(recorder/metrics|recorder/previous|recorder/owed|metrics)/"
)  # megabytes; and earlier jobs'
_SAMPLES = "recorder/samples.jsonl"
_VARYING = re.compile(r"[0-9a-f]{8,}|\d+|(?<=/)[\w.-]{20,}")


def trimmed(files: Mapping[str, str], began: float) -> tuple[dict[str, str], dict[str, str]]:
    """Return the small bundle, and file -> how many of its lines stayed.

    Args:
        files: path -> text, as the node gave it.
        began: when the incident began, seconds since the epoch.
    """
    small: dict[str, str] = {}
    said: dict[str, str] = {}
    for path, text in sorted(files.items()):
        if path.startswith("jobs/") and _is_older(text, began):
            continue
        if _LEFT_OUT.match(path):
            said[path] = "left out"
            continue
        if not _LOGS.match(path):
            small[path] = _thinned(text) if path == _SAMPLES else text
            continue
        lines = text.splitlines()
        kept = _cut(_sampled(_recent(text, began)))
        if kept or not lines:
            small[path] = "".join(f"{line}\n" for line in kept)
        if len(kept) < len(lines):
            said[path] = f"{len(kept)} of {len(lines)} lines"
    own = {line for path, text in small.items() if path.startswith("pods/") for line in text.splitlines()}
    for path in [path for path in small if path.startswith("recorder/pods/")]:
        if own.issuperset(small[path].splitlines()):
            said[path] = "left out: the kubelet's own file has all of it"
            del small[path]
    return small, said


def _thinned(text: str) -> str:
    """The recorder's samples, fewer of them when they are many."""
    lines = text.splitlines(keepends=True)
    while len(lines) > SAMPLES:
        lines = lines[::2]
    return "".join(lines)


def pack(files: Mapping[str, str]) -> bytes:
    """The files as a bundle; the same files give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, text in sorted(files.items()):
            content = text.encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), 9, mtime=0)


def _is_older(status: str, began: float) -> bool:
    found = re.search(r"^started=(\d+(?:\.\d+)?)", status, re.MULTILINE)
    return found is not None and float(found[1]) < began


def _recent(text: str, began: float) -> list[str]:
    """Lines since then; one without a time belongs to the line before it."""
    raw = text.splitlines()
    kept = []
    is_recent = True
    for line in lines_of(text, None):
        if line.time is not None:
            is_recent = line.time >= began
        if is_recent:
            kept.append(raw[line.number - 1][:LINE_LIMIT])
    # A log that was quiet since then was read all the same: its last lines show that it was there.
    return kept or [line[:LINE_LIMIT] for line in raw[-QUIET:]]


def _sampled(lines: Sequence[str]) -> list[str]:
    places: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        places[_VARYING.sub("0", line)].append(number)
    kept = {n for numbers in places.values() for n in (*numbers[:FIRST], *numbers[-LAST:])}
    return [line for number, line in enumerate(lines) if number in kept]


def _cut(lines: list[str]) -> list[str]:
    """Both ends of a log that is too long still."""
    while sum(map(len, lines)) > FILE_LIMIT:
        third = len(lines) // 3
        lines = lines[: third + third // 2] + lines[-(third + third // 4) :]
    return lines
