"""Images in the registry's store: complete, idempotent, and what a cluster expects of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from nslab.build import binaries, images, store


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch cache with stand-in programs and a user land of one file."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (*images.IMAGE_COMMANDS, "etcd", "etcdctl", "etcdutl", "coredns", "pause", "web"):
        (programs / name).write_text(name)

    def userland(out: Path, report: store.Report) -> None:
        blob = images.write_layer(out / "layer.tar.gz", lambda tar: tar.addfile(tarfile.TarInfo("bin/sh")))
        (out / "blob.json").write_text(json.dumps(vars(blob)))

    monkeypatch.setattr(store, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(store, "_DURATIONS", tmp_path / "durations.json")
    monkeypatch.setattr(images, "REGISTRY_ROOT", tmp_path / "registry")
    monkeypatch.setattr(images, "_STORE", tmp_path / "registry/docker/registry/v2")
    monkeypatch.setattr(images, "_LAYERS", tmp_path / "layers")
    monkeypatch.setattr(images, "_build_userland", userland)
    monkeypatch.setattr(images, "ensure_programs", lambda report: programs)
    for name in ("ensure_kubernetes", "ensure_etcd", "ensure_coredns"):
        monkeypatch.setattr(binaries, name, lambda version, report: programs)
    return tmp_path


def blob(root: Path, digest: str) -> bytes:
    value = digest.removeprefix("sha256:")
    data = (root / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data").read_bytes()
    assert hashlib.sha256(data).hexdigest() == value
    return data


def pull(root: Path, name: str) -> tuple[dict, dict[str, int]]:
    """Read an image as a client would: its run-time configuration and its files with their modes."""
    repository, tag = name.split(":")
    base = root / "docker/registry/v2/repositories" / repository
    digest = (base / "_manifests/tags" / tag / "current/link").read_text()
    assert (base / "_manifests/revisions" / digest.replace(":", "/") / "link").read_text() == digest
    manifest = json.loads(blob(root, digest))
    config = json.loads(blob(root, manifest["config"]["digest"]))
    files: dict[str, int] = {}
    for part, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        assert (base / "_layers" / part["digest"].replace(":", "/") / "link").is_file()
        data = blob(root, part["digest"])
        assert len(data) == part["size"]
        plain = gzip.decompress(data)
        assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == diff_id
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            files |= {m.name: m.mode for m in tar.getmembers()}
    return config["config"], files


def test_every_image_of_a_cluster_is_there(cache: Path) -> None:
    root = images.ensure_images(["1.34.4", "1.35.4"], str)
    for name in (
        "kube-apiserver:v1.34.4",
        "kube-controller-manager:v1.35.4",
        "kube-scheduler:v1.34.4",
        "kube-proxy:v1.35.4",
        "etcd:3.6.5-0",
        "etcd:3.6.6-0",
        "coredns/coredns:v1.12.1",
        "coredns/coredns:v1.13.1",
        "pause:3.10.1",
        images.WEB_IMAGE,
        images.PROBE_IMAGE,
    ):
        pull(root, name)


def test_images_run_as_kubeadm_and_its_manifests_expect(cache: Path) -> None:
    root = images.ensure_images(["1.34.4"], str)
    config, files = pull(root, "kube-apiserver:v1.34.4")
    assert "Entrypoint" not in config  # the manifest's command names the program, found through PATH
    assert "/usr/local/bin" in config["Env"][0]
    assert files["usr/local/bin/kube-apiserver"] == 0o755
    assert list(files) == ["tmp", "usr", "usr/local", "usr/local/bin", "usr/local/bin/kube-apiserver"]
    assert pull(root, "coredns/coredns:v1.12.1")[0]["Entrypoint"] == ["/coredns"]
    assert {"usr/local/bin/etcd", "usr/local/bin/etcdctl", "usr/local/bin/etcdutl"} <= set(
        pull(root, "etcd:3.6.5-0")[1]
    )
    # kubeadm's CreateJob check sets runAsNonRoot: a user that is no number would be refused.
    assert pull(root, "pause:3.10.1")[0]["User"] == "65535:65535"
    assert "bin/sh" in pull(root, "kube-proxy:v1.34.4")[1]


def test_a_second_run_does_nothing_and_a_removed_tag_comes_back(cache: Path) -> None:
    root = images.ensure_images(["1.34.4"], str)
    said: list[str] = []
    images.ensure_images(["1.34.4"], said.append)
    assert said == []
    shutil.rmtree(root / "docker/registry/v2/repositories/kube-proxy")
    images.ensure_images(["1.34.4"], said.append)
    assert said == ["image 1 of 1: kube-proxy:v1.34.4"]
    pull(root, "kube-proxy:v1.34.4")


def test_the_same_contents_give_the_same_layer(tmp_path: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        tar.addfile(tarfile.TarInfo("a"))

    assert images.write_layer(tmp_path / "1", fill) == images.write_layer(tmp_path / "2", fill)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
