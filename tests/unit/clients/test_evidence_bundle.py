"""A bundle is read as it is written, and an archive that means harm is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift import cli
from nightshift.clients import evidence_bundle
from nightshift.clients.evidence_bundle import read_bundle
from nightshift.domain.errors import ConfigError


def bundle(path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in extra:
            archive.addfile(entry)
    return path


def test_files_come_back_by_their_path_also_when_they_are_no_text(tmp_path: Path) -> None:
    path = bundle(tmp_path / "x.tar.gz", {"./journal/kubelet.log": b"a\nb", "state/df.txt": b"\xff"})
    assert read_bundle(path) == {"journal/kubelet.log": "a\nb", "state/df.txt": "\ufffd"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "a/../../b"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="leads out of it"):
        read_bundle(bundle(tmp_path / "x.tar.gz", {name: b"x"}))


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("link"), tarfile.TarInfo("device")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    assert read_bundle(bundle(tmp_path / "x.tar.gz", {"a": b"1"}, link, device)) == {"a": "1"}


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 1), ("MAX_BYTES", 1500), ("MAX_FILE_BYTES", 999)])
def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    path = bundle(tmp_path / "x.tar.gz", {"a": b"0" * 1000, "b": b"0" * 1000})
    assert len(read_bundle(path)) == 2
    monkeypatch.setattr(evidence_bundle, limit, value)
    with pytest.raises(ConfigError, match="BUNDLE_UNREADABLE"):
        read_bundle(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00broken"])
def test_what_is_no_bundle_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ConfigError, match="BUNDLE_UNREADABLE"):
        read_bundle(tmp_path / "x.tar.gz")


def test_a_bundle_that_is_cut_off_or_missing_is_said(tmp_path: Path) -> None:
    path = bundle(tmp_path / "x.tar.gz", {"a": bytes(range(256)) * 400})
    path.write_bytes(path.read_bytes()[:-60])
    for wanted in (path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="BUNDLE_UNREADABLE"):
            read_bundle(wanted)


def test_diagnose_prints_the_verdict_of_each_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night = bundle(tmp_path / "night.tar.gz", {p: t.encode() for p, t in b.historic().items()})
    calm = bundle(tmp_path / "calm.tar.gz", {p: t.encode() for p, t in b.healthy().items()})
    assert cli.main(["diagnose", str(night), str(calm)]) == 0
    said = capsys.readouterr().out
    assert f"{night}\nThe file kube-apiserver.yaml.bak in /etc/kubernetes/manifests is the same pod" in said
    assert f"{calm}\nThe evidence shows no failure." in said
    assert cli.main(["diagnose", "--json", str(night)]) == 0
    assert json.loads(capsys.readouterr().out)[str(night)]["first"]["cause"] == "stray_static_pod"


def test_diagnose_says_which_bundle_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diagnose", str(tmp_path / "absent")]) == 1
    assert "BUNDLE_UNREADABLE" in capsys.readouterr().err
