"""Where the runtime asks for an image: one answer for the gate supply and for the sizes of the disk forecast."""

from __future__ import annotations

import pytest
from tests.scripts.conftest import FakeNode


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("r.example/a/b:v1", "r.example a/b v1"),
        ("r.example/a/b", "r.example a/b latest"),
        ("r.example:5000/b:v1", "r.example:5000 b v1"),
        ("r.example:5000/b", "r.example:5000 b latest"),
        ("localhost/b:v1", "localhost b v1"),
        ("r.example/a/b@sha256:abc", "r.example a/b sha256:abc"),
        ("r.example/a/b:v1@sha256:abc", "r.example a/b sha256:abc"),
        ("busybox:1", "docker.io library/busybox 1"),
        ("docker.io/busybox", "docker.io library/busybox latest"),
        ("team/tool", "docker.io team/tool latest"),
    ],
)
def test_a_name_taken_apart(node: FakeNode, image: str, parts: str) -> None:
    assert node.shell("registry.sh", f"image_parts {image}").stdout.strip() == parts


@pytest.mark.parametrize(
    ("registry", "files", "servers"),
    [
        ("r.example", {}, ["https://r.example/v2"]),
        ("docker.io", {}, ["https://registry-1.docker.io/v2"]),
        (
            "docker.io",
            {"certs.d/docker.io/hosts.toml": 'server = "https://docker.io"\n[host."http://m1"]\n'},
            ["http://m1/v2", "https://registry-1.docker.io/v2"],
        ),
        (
            "docker.io",
            {"certs.d/docker.io/hosts.toml": 'server = "https://own.example"\n'},
            ["https://own.example/v2"],
        ),
        (
            "r.example",
            {
                "certs.d/r.example/hosts.toml": '  server = "https://up.example/"\n[host."http://m1"]\n[host."http://m2/v2/x"]\n'
            },
            ["http://m1/v2", "http://m2/v2/x", "https://up.example/v2"],
        ),
        (
            "r.example",
            {"certs.d/_default/hosts.toml": '[host."http://m1"]\n'},
            ["http://m1/v2", "https://r.example/v2"],
        ),
        (
            "r.example",
            {
                "config.toml": '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."r.example"]\n'
                '  endpoint = ["http://m1", "https://m2"]\n'
                '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."other"]\n  endpoint = ["http://no"]\n'
            },
            ["http://m1/v2", "https://m2/v2", "https://r.example/v2"],
        ),
    ],
)
def test_where_the_runtime_asks(
    node: FakeNode, registry: str, files: dict[str, str], servers: list[str]
) -> None:
    for name, text in files.items():
        path = node.root / "fs/etc/containerd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert node.shell("registry.sh", f"registry_servers {registry}").stdout.split() == servers
