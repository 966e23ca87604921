"""The section `images` of the look and the verb `image-manifests`, against a containerd and a registry that are stood in for."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.scripts.conftest import FakeNode

from nightshift.clients.questions.images import parse_manifests, parse_node_images

CTR = """#!/bin/bash
case "$*" in
    "-n k8s.io images ls -q") printf '%s\\n' registry.k8s.io/pause:3.10.1 sha256:01f6cee1 'registry.k8s.io/etcd@sha256:ab' ;;
    "-n k8s.io content ls -q") printf '%s\\n' sha256:01f6cee1 sha256:0c599c40 ;;
    *) exit 99 ;;
esac
"""
CRICTL = """#!/bin/bash
[[ "$*" == "images -o json" ]] || exit 99
cat <<'JSON'
{"images": [{"id": "sha256:01f6", "repoTags": ["registry.k8s.io/pause:3.10.1"],
  "repoDigests": ["registry.k8s.io/pause@sha256:9c40"], "size": "320448", "pinned": true}]}
JSON
"""


@pytest.fixture
def programs(node: FakeNode) -> Path:
    directory = node.root / "programs"
    directory.mkdir()
    node.environment["PATH"] = f"{directory}:{node.variables()['PATH']}"
    return directory


def put(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)


@contextmanager
def containerd(node: FakeNode) -> Iterator[None]:
    path = node.root / "fs/run/containerd/containerd.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        yield


def look(node: FakeNode) -> str:
    done = node.shell("look/images.sh", "look_images")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_containerd_tells_images_and_blobs(node: FakeNode, programs: Path) -> None:
    put(programs, "ctr", CTR)
    (node.state / "packages/1.35.4-1.1").mkdir(parents=True)
    (node.state / "packages/1.35.4-1.1/STAGED").touch()
    (node.state / "packages/1.34.4-1.1").mkdir()  # half downloaded
    with containerd(node):
        found = parse_node_images(look(node))
    assert "registry.k8s.io/pause:3.10.1" in found.images
    assert found.blobs == {"sha256:01f6cee1", "sha256:0c599c40"}
    assert found.packages == {"1.35.4-1.1"}


def test_another_runtime_tells_images(node: FakeNode, programs: Path) -> None:
    put(programs, "crictl", CRICTL)
    found = parse_node_images(look(node))
    assert "registry.k8s.io/pause:3.10.1" in found.images
    assert not found.blobs


def test_a_runtime_that_fails_tells_nothing_and_does_no_harm(node: FakeNode, programs: Path) -> None:
    put(programs, "ctr", "#!/bin/bash\nexit 1\n")
    with containerd(node):
        assert look(node) == ""


class Answers(http.server.BaseHTTPRequestHandler):
    """A registry with one image; another path is told "not found"."""

    def do_GET(self) -> None:
        is_there = self.path in ("/v2/pause/manifests/3.10.1", "/v2/pause/manifests/sha256:ab")
        is_understood = "application/vnd.oci.image.index.v1+json" in self.headers.get("Accept", "")
        self.send_response(200 if is_there and is_understood else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"layers": [self.path]}).encode())

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def mirror(node: FakeNode, name: str, *lines: str) -> None:
    directory = node.root / f"fs/etc/containerd/certs.d/{name}"
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text("\n".join(lines) + "\n")


def test_manifests_come_through_the_runtimes_mirror(node: FakeNode, registry: str) -> None:
    mirror(node, "registry.k8s.io", f'[host."{registry}"]', '  capabilities = ["pull", "resolve"]')
    done = node.run("image-manifests", "registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause@sha256:ab")
    assert done.returncode == 0, done.stderr
    answers = parse_manifests(done.stdout)
    assert answers["registry.k8s.io/pause:3.10.1"] == (200, '{"layers": ["/v2/pause/manifests/3.10.1"]}')
    assert answers["registry.k8s.io/pause@sha256:ab"][0] == 200


def test_the_first_server_that_has_it_counts_and_no_is_more_than_no_answer(
    node: FakeNode, registry: str
) -> None:
    dead = "http://127.0.0.1:9"
    mirror(node, "_default", f'server = "{registry}"', f'[host."{dead}"]')
    found = parse_manifests(node.run("image-manifests", "some.example.org/pause:3.10.1").stdout)
    assert found["some.example.org/pause:3.10.1"][0] == 200
    missing = parse_manifests(node.run("image-manifests", "some.example.org/etcd:1").stdout)
    assert missing == {"some.example.org/etcd:1": (404, "")}


def test_the_older_form_of_mirrors_and_the_runtimes_proxy_are_followed(
    node: FakeNode, programs: Path, registry: str
) -> None:
    put(programs, "systemctl", f"#!/bin/bash\necho Environment=HTTP_PROXY={registry} NO_PROXY=none\n")
    put(programs, "curl", '#!/bin/bash\nprintf \'%s %s\\n\' "$http_proxy" "${@: -1}" >>"${0%/*}/asked"\n')
    config = node.root / "fs/etc/containerd/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n  endpoint = ["http://m1"]\n'
    )
    assert node.run("image-manifests", "busybox:1@sha256:ab").returncode == 0
    assert (programs / "asked").read_text().splitlines() == [
        f"{registry} http://m1/v2/library/busybox/manifests/sha256:ab",
        f"{registry} https://registry-1.docker.io/v2/library/busybox/manifests/sha256:ab",
    ]


def test_nothing_answers(node: FakeNode) -> None:
    mirror(node, "_default", 'server = "http://127.0.0.1:9"')
    done = node.run("image-manifests", "some.example.org/pause:1")
    assert parse_manifests(done.stdout) == {"some.example.org/pause:1": (0, "")}


def test_words_that_mean_something_to_a_shell_are_refused(node: FakeNode) -> None:
    assert node.run("image-manifests", "r/a:1; reboot").returncode == 2
    assert node.run("image-manifests").returncode == 2
