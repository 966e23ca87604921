"""Where programs come from, and what they are built with."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nslab.build import binaries, store, toolchain
from nslab.build.versions import KUBERNETES_COMMANDS, release

UPSTREAM_GO_MOD = """\
module k8s.io/kubernetes

go 1.24.0

godebug default=go1.24

require (
	github.com/google/uuid v1.6.0
	k8s.io/api v0.0.0
	k8s.io/apiextensions-apiserver v0.0.0
	k8s.io/klog/v2 v2.130.1
	k8s.io/kube-openapi v0.0.0-20250710124328-f3f2b991d03b
)
"""


def test_go_mod_takes_the_published_modules_for_what_upstream_has_in_its_tree() -> None:
    text = binaries.kubernetes_go_mod(release("1.34.4"), UPSTREAM_GO_MOD)
    assert "godebug default=go1.24\n" in text
    assert "require k8s.io/kubernetes v1.34.4\n" in text
    assert [line for line in text.splitlines() if line.startswith("replace")] == [
        "replace k8s.io/api => k8s.io/api v0.34.4",
        "replace k8s.io/apiextensions-apiserver => k8s.io/apiextensions-apiserver v0.34.4",
    ]


def test_version_stamps_are_set_in_both_packages_that_print_them() -> None:
    flags = binaries.version_flags(release("1.35.4"))
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        for stamp in ("gitVersion=v1.35.4", "gitMajor=1", "gitMinor=35", "gitTreeState=clean"):
            assert f"-X {package}.{stamp}" in flags


def test_crictl_is_built_from_its_module_and_says_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[str, list[str], str]] = []

    def compile_it(go: Path, work: Path, out: Path, flags: str, targets: list[str]) -> None:
        compiled.append((flags, targets, (work / "go.mod").read_text()))

    monkeypatch.setattr(binaries, "_BINARIES", tmp_path / "binaries")
    monkeypatch.setattr(store, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(store, "_DURATIONS", tmp_path / "durations.json")
    monkeypatch.setattr(binaries, "ensure_go", lambda minimum, report: tmp_path / "go")
    monkeypatch.setattr(binaries, "_compile", compile_it)
    assert binaries.ensure_cri_tools("1.34.0", str).name == "cri-tools-1.34.0-r1"
    ((flags, targets, go_mod),) = compiled
    assert "-X sigs.k8s.io/cri-tools/pkg/version.Version=v1.34.0" in flags
    assert targets == ["sigs.k8s.io/cri-tools/cmd/crictl"]
    assert "require sigs.k8s.io/cri-tools v1.34.0\n" in go_mod


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A release server on loopback; yields the directory it serves."""
    root = tmp_path / "www"
    root.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(binaries, "RELEASE_SERVER", f"http://127.0.0.1:{httpd.server_port}")
    monkeypatch.setattr(binaries, "_BINARIES", tmp_path / "binaries")
    monkeypatch.setattr(store, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(store, "_DURATIONS", tmp_path / "durations.json")
    monkeypatch.delenv("NSLAB_SOURCE", raising=False)
    yield root
    httpd.shutdown()
    httpd.server_close()


def publish(root: Path, tag: str) -> Path:
    (root / "release").mkdir(exist_ok=True)
    (root / "release/stable.txt").write_text(tag)
    directory = root / "release" / tag / "bin/linux" / binaries.architecture()
    directory.mkdir(parents=True)
    for name in KUBERNETES_COMMANDS:
        (directory / name).write_bytes(name.encode())
        (directory / f"{name}.sha256").write_text(hashlib.sha256(name.encode()).hexdigest())
    return directory


def test_a_reachable_release_is_downloaded_and_runs(server: Path) -> None:
    publish(server, "v1.34.4")
    made = binaries.ensure_kubernetes("1.34.4", str)
    assert (made / "kubeadm").read_bytes() == b"kubeadm"
    assert (made / "kubeadm").stat().st_mode & 0o777 == 0o755
    assert {p.name for p in made.iterdir()} == set(KUBERNETES_COMMANDS)


def test_a_download_with_another_checksum_is_refused(server: Path) -> None:
    (publish(server, "v1.34.4") / "kubelet").write_bytes(b"something else")
    with pytest.raises(store.BuildError, match=r"kubelet: its SHA-256 is .*\n.*NSLAB_SOURCE=modules"):
        binaries.ensure_kubernetes("1.34.4", str)
    assert not list((server.parent / "binaries").glob("kubernetes*"))


def test_a_missing_download_names_the_address(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSLAB_SOURCE", "release")
    with pytest.raises(store.BuildError, match=r"/release/v1\.34\.4/bin/linux/.*/kubeadm: .*404"):
        binaries.ensure_kubernetes("1.34.4", str)


def test_modules_are_used_where_no_release_server_answers(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "RELEASE_SERVER", "http://127.0.0.1:1")
    said: list[str] = []
    assert binaries.source(said.append) == "modules"
    assert "cannot be reached" in said[0]


def test_an_unknown_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSLAB_SOURCE", "magic")
    with pytest.raises(store.BuildError, match="NSLAB_SOURCE=magic"):
        binaries.source(str)


@pytest.mark.parametrize(
    ("text", "number"),
    [("go1.26.8", (1, 26)), ("1.25", (1, 25)), ("go1.25rc1", (1, 25)), ("devel +x", (0, 0)), ("", (0, 0))],
)
def test_release_numbers(text: str, number: tuple[int, int]) -> None:
    assert toolchain.release_number(text) == number


def fake_go(directory: Path, version: str, module: Path | None = None) -> Path:
    """A program that answers what the toolchain code asks of a go command."""
    directory.mkdir(parents=True, exist_ok=True)
    go = directory / "go"
    go.write_text(
        f"""#!/bin/sh
case "$1 $2" in
"env GOVERSION") echo {version} ;;
"env GOHOSTARCH") echo amd64 ;;
"mod download") echo '{{"Dir": "{module}", "Sum": "h1:x"}}' ;;
*) echo "unknown: $*" >&2; exit 1 ;;
esac
"""
    )
    go.chmod(0o755)
    return go


@pytest.fixture
def gos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The go commands the machine has, to be filled by the test."""
    found: list[Path] = []
    monkeypatch.setattr(toolchain, "_candidates", lambda: found)
    monkeypatch.setattr(toolchain, "_TOOLCHAINS", tmp_path / "go")
    monkeypatch.setattr(store, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(store, "_DURATIONS", tmp_path / "durations.json")
    return found


def test_the_first_go_that_is_new_enough_is_used(tmp_path: Path, gos: list[Path]) -> None:
    gos += [fake_go(tmp_path / "a", "go1.19.8"), fake_go(tmp_path / "b", "go1.25.1")]
    assert toolchain.ensure_go("1.25", str) == gos[1]
    assert toolchain.ensure_go("1.19", str) == gos[0]


def test_an_old_go_fetches_a_new_one(tmp_path: Path, gos: list[Path]) -> None:
    module = tmp_path / "mod"
    for name in ("bin/go", "pkg/tool/linux_amd64/compile", "src/cmd/_go.mod", "src/fmt/print.go"):
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).write_text(name)
        (module / name).chmod(0o444)
    gos.append(fake_go(tmp_path / "old", "go1.19.8", module))
    go = toolchain.ensure_go("1.25", str)
    root = go.parent.parent
    assert go.read_text() == "bin/go"
    assert go.stat().st_mode & 0o111
    assert (root / "pkg/tool/linux_amd64/compile").stat().st_mode & 0o111
    assert (root / "src/cmd/go.mod").is_file()
    assert not (root / "src/fmt/print.go").stat().st_mode & 0o111
    assert not (root / ".module").exists()


def test_a_failing_go_command_says_its_own_words(tmp_path: Path) -> None:
    go = fake_go(tmp_path / "go", "go1.26")
    with pytest.raises(store.BuildError, match="unknown: build"):
        toolchain.run_go(go, ["build", "x"], tmp_path)


def test_go_gets_caches_of_its_own_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOCACHE", "/mine")
    monkeypatch.delenv("GOMODCACHE", raising=False)
    environment = toolchain.go_environment()
    assert environment["GOCACHE"] == "/mine"
    assert environment["GOMODCACHE"] == str(toolchain.CACHE_DIR / "go-mod")
    assert environment["CGO_ENABLED"] == "0"
    assert subprocess.run(["true"], env=environment, check=False).returncode == 0
