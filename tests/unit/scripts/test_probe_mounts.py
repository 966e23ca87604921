"""Which of the runtimes' image directories the probe measures."""

from __future__ import annotations

import pytest
from tests.unit.scripts.conftest import FakeNode


@pytest.mark.parametrize(
    ("sockets", "directory"),
    [
        ((), "/var/lib/containerd"),
        (("containerd/containerd.sock",), "/var/lib/containerd"),
        (("crio/crio.sock",), "/var/lib/containers"),
        (
            ("containerd/containerd.sock", "crio/crio.sock"),
            "/var/lib/containerd",
        ),  # as the other scripts choose
    ],
)
def test_images_are_measured_where_the_runtime_keeps_them(
    node: FakeNode, sockets: tuple[str, ...], directory: str
) -> None:
    for socket in sockets:
        path = node.root / "fs/run" / socket
        path.parent.mkdir(parents=True)
        path.touch()
    done = node.shell("probe.sh", "section_mounts")
    assert done.returncode == 0, done.stderr
    asked = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert [path for path in asked if path.startswith("/var/lib/contain")] == [directory]
