"""Reads the files of this folder; see README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from nightshift.clients.api_reader import put
from nightshift.clients.questions import ApiQuestion

T = TypeVar("T")

_HERE = Path(__file__).parent


@cache
def stock_documents() -> Mapping[str, Any]:
    """API path -> document."""
    found: dict[str, Any] = {}
    for file in sorted((_HERE / "api").glob("*.json")):
        found[_path(file)] = json.loads(file.read_text(encoding="utf-8"))
    return found


@cache
def stock_text(section: str, *, is_control_plane: bool) -> str | None:
    """What a section of `look` prints; None when nobody put it here."""
    names = ([f"{section}.control-plane.txt"] if is_control_plane else []) + [f"{section}.txt"]
    files = [file for name in names if (file := _HERE / "look" / name).is_file()]
    return files[0].read_text(encoding="utf-8") if files else None


def _path(file: Path) -> str:
    return "/" + file.stem.replace("_", "/")


class FakeReader:
    """The API server over documents by path; remembers what was read."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self._documents = documents
        self.read: list[tuple[str, Any]] = []

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        """A document that is absent is a resource the server does not know."""
        yield from (self._take(path) or {"items": []})["items"]

    def get(self, path: str) -> dict[str, Any] | None:
        """None when absent."""
        found: dict[str, Any] | None = self._take(path)
        return found

    def _take(self, path: str) -> Any:
        found = self._documents.get(path)
        self.read.append((path, found))
        return found


class Answers:
    """Answers to questions, kept as long as the documents they were read from are the same ones (not changed in place)."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[ApiQuestion[Any], list[tuple[str, Any]], Any]] = {}

    def ask(self, question: ApiQuestion[T], documents: Mapping[str, Any]) -> T:
        """As KubeApi.ask."""
        kept = self._kept.get(id(question))
        if kept and all(documents.get(path) is document for path, document in kept[1]):
            answer: T = kept[2]
            return answer
        reader = FakeReader(documents)
        answer = put(question, reader, "the fake")
        self._kept[id(question)] = question, reader.read, answer
        return answer
