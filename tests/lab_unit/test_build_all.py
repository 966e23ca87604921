"""The builder's front door: order, numbering, what it returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from nslab import build
from nslab.build import binaries, images, packages


def test_every_step_is_numbered_and_shared_things_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def maker(kind: str):
        def make(what: object, report: build.Report) -> Path:
            label = f"{kind} {what}"
            if label not in made:
                made.append(label)
                report(label)
            return Path("/x") / kind

        return make

    for kind in ("kubernetes", "etcd", "coredns", "cri_tools"):
        monkeypatch.setattr(binaries, f"ensure_{kind}", maker(kind))
    monkeypatch.setattr(packages, "ensure_repositories", maker("repositories"))
    monkeypatch.setattr(images, "ensure_images", maker("images"))
    monkeypatch.setattr(packages, "keyring", lambda report: Path("/x/ring"))
    said: list[str] = []
    artifacts = build.ensure_all(["1.34.2", "v1.34.4"], said.append)
    assert said == [
        "[1/7] kubernetes 1.34.2",
        "[2/7] kubernetes 1.34.4",
        "[3/7] etcd 3.6.5",
        "[4/7] coredns 1.12.1",
        "[5/7] cri_tools 1.34.0",
        "[6/7] repositories ['1.34.2', '1.34.4']",
        "[7/7] images ['1.34.2', '1.34.4']",
    ]
    assert artifacts.bin_dir_by_version == dict.fromkeys(("1.34.2", "1.34.4"), Path("/x/kubernetes"))
    assert artifacts.keyring == Path("/x/ring")


def test_an_unknown_version_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match="no pins"):
        build.ensure_all(["1.34.4", "9.9.9"], str)
