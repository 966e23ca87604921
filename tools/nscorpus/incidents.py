"""Incidents as they lie in tests/corpus: a label, and a bundle or what differs from another incident's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightshift.clients.evidence_bundle import read_bundle

CORPUS = Path(__file__).resolve().parents[2] / "tests" / "corpus"
SIDES = ("train", "heldout")
HEALTHY = "healthy"  # a label's cause: nothing failed
UNCATALOGUED = "uncatalogued"  # it failed, for a reason that the catalogue does not have
ORIGINS = ("live", "derived", "synthetic", "thread")
LABEL, BUNDLE = "label.json", "bundle.tar.gz"


class CorpusError(Exception):
    """An incident is not what tests/corpus/README.md asks for."""


@dataclass(frozen=True)
class Label:
    """What is true of an incident; the keys of label.json.

    Args:
        cause: name of a catalogued cause, HEALTHY or UNCATALOGUED.
        truth: the first cause in a sentence.
        origin: one of ORIGINS.
        made_by: how it was made: commands, or what was written by hand.
        recorded: day, "2026-11-29".
        conditions: catalogued causes that are there and are not the first.
        decoys: what looks like a cause and is none, one sentence each.
        decisive: prefixes of the files that show the cause: without them the answer must be *unknown*.
        versions: component -> version.
        source: addresses of the public threads that its words come from.
        base: incident of the same side that it is derived from.
        remove: prefixes of files of the base that are left out.
        trimmed: file -> how many lines of how many were kept.
    """

    cause: str
    truth: str
    origin: str
    made_by: str
    recorded: str
    conditions: tuple[str, ...] = ()
    decoys: tuple[str, ...] = ()
    decisive: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    source: tuple[str, ...] = ()
    base: str = ""
    remove: tuple[str, ...] = ()
    trimmed: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Label:
        """Read label.json's keys.

        Raises:
            CorpusError: a key is missing or unknown.
        """
        lists = ("conditions", "decoys", "decisive", "source", "remove")
        values: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in data.items()}
        try:
            return Label(**values)
        except TypeError as error:
            raise CorpusError(f"label: {error}") from error


@dataclass(frozen=True)
class Incident:
    """One incident."""

    side: str
    name: str
    label: Label
    path: Path

    def files(self) -> dict[str, str]:
        """Path in the bundle -> text: its own bundle, or its base's with what differs.

        Raises:
            CorpusError: its base is not on the same side.
        """
        files = self._start()
        kept = {p: text for p, text in files.items() if not p.startswith(self.label.remove or ("\0",))}
        kept |= _texts(self.path / "files")
        for path, text in _texts(self.path / "append").items():
            kept[path] = kept.get(path, "") + text
        return kept

    def family(self) -> str:
        """Name of the recording that it stems from, at the root of its bases."""
        base = self._base()
        return base.family() if base else self.name

    def _start(self) -> dict[str, str]:
        base = self._base()
        if base is not None:
            return base.files()
        bundle = self.path / BUNDLE
        return read_bundle(bundle) if bundle.exists() else {}

    def _base(self) -> Incident | None:
        if not self.label.base:
            return None
        path = self.path.parent / self.label.base
        if not (path / LABEL).exists():
            raise CorpusError(f"{self.side}/{self.name}: its base {self.label.base} is not on this side")
        return load(path)


def load(path: Path) -> Incident:
    """Read one incident's directory."""
    try:
        label = Label.from_dict(json.loads((path / LABEL).read_text(encoding="utf-8")))
    except (ValueError, CorpusError) as error:
        raise CorpusError(f"{path}: {error}") from error
    return Incident(path.parent.name, path.name, label, path)


def corpus(side: str, root: Path = CORPUS) -> list[Incident]:
    """All incidents of one side, by name."""
    return [load(path.parent) for path in sorted((root / side).glob(f"*/{LABEL}"))]


def _texts(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
