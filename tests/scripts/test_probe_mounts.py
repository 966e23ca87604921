"""What the probe measures: images where the runtime keeps them, etcd's data where etcd keeps it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scripts.conftest import FakeNode

# As crictl 1.34 prints it; the file system of containers may be another one.
ANSWER = """{
  "status": {
    "containerFilesystems": [ { "fsId": { "mountpoint": "/var/lib/elsewhere" }, "usedBytes": { "value": "1" } } ],
    "imageFilesystems": [
      { "timestamp": "1", "fsId": { "mountpoint": "@IMAGES@" }, "usedBytes": { "value": "6225920" } }
    ]
  }
}"""
OLDER = '{ "status": { "timestamp": "1", "fsId": { "mountpoint": "@IMAGES@" } } }'
CONTAINERD = """version = 3
root = '@IMAGES@'
state = '/run/containerd'
[plugins]
  [plugins.'io.containerd.snapshotter.v1.overlayfs']
    root_path = '/wrong'
root_of_nothing = '/wrong'
"""


@pytest.fixture
def programs(node: FakeNode) -> Path:
    """Programs that come before the machine's own; a runtime it may have does not answer."""
    directory = node.root / "programs"
    directory.mkdir()
    node.environment |= {"PATH": f"{directory}:{node.variables()['PATH']}"}
    for name in ("crictl", "containerd"):
        put(directory, name, "exit 1")
    return directory


def put(programs: Path, name: str, body: str) -> None:
    (programs / name).write_text(f"#!/bin/bash\n{body}\n")
    (programs / name).chmod(0o755)


def say(programs: Path, name: str, text: str, when: str) -> None:
    """The program prints so when its arguments are like `when`, and fails otherwise."""
    put(programs, name, f"[[ $* == {when} ]] || exit 1\ncat <<'END'\n{text}\nEND")


def sockets(node: FakeNode, *names: str) -> None:
    for name in names:
        path = node.root / "fs/run" / name
        path.parent.mkdir(parents=True)
        path.touch()


def mounts(node: FakeNode) -> dict[str, str]:
    """What was asked about -> the directory that was measured."""
    done = node.shell("probe.sh", "section_mounts")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert all(len(fields) == 7 and int(fields[2]) > 0 and fields[6].startswith("/") for fields in lines)
    return {fields[0]: fields[1] for fields in lines}


def images(node: FakeNode) -> dict[str, str]:
    return {asked: where for asked, where in mounts(node).items() if asked.startswith("/var/lib/contain")}


@pytest.mark.parametrize(
    ("names", "usual", "asked"),
    [
        (("containerd/containerd.sock",), "/var/lib/containerd", "containerd/containerd.sock"),
        (("crio/crio.sock",), "/var/lib/containers", "crio/crio.sock"),
        # As the other scripts choose.
        (
            ("containerd/containerd.sock", "crio/crio.sock"),
            "/var/lib/containerd",
            "containerd/containerd.sock",
        ),
    ],
)
@pytest.mark.parametrize("answer", [ANSWER, OLDER, ANSWER.replace("\n", " ").replace(": ", ":")])
def test_the_runtime_says_where_images_lie(
    node: FakeNode, programs: Path, names: tuple[str, ...], usual: str, asked: str, answer: str
) -> None:
    sockets(node, *names)
    where = f"{node.root}/data/io.containerd.snapshotter.v1.overlayfs"
    endpoint = f"unix://{node.root}/fs/run/{asked}"
    when = f'"--runtime-endpoint {endpoint} imagefsinfo -o json"'
    say(programs, "crictl", answer.replace("@IMAGES@", where), when)
    assert images(node) == {usual: where}


def test_containerd_without_an_answer_is_asked_for_its_configuration(node: FakeNode, programs: Path) -> None:
    sockets(node, "containerd/containerd.sock")
    say(programs, "containerd", CONTAINERD.replace("@IMAGES@", "/data/containerd"), '"config dump"')
    assert images(node) == {"/var/lib/containerd": "/data/containerd"}


@pytest.mark.parametrize("names", [(), ("containerd/containerd.sock",), ("crio/crio.sock",)])
def test_a_runtime_that_says_nothing_is_not_guessed(
    node: FakeNode, programs: Path, names: tuple[str, ...]
) -> None:
    sockets(node, *names)
    assert images(node) == {}
    if "crio/crio.sock" in names:  # a containerd beside it is not its runtime
        say(programs, "containerd", CONTAINERD, '"config dump"')
        assert images(node) == {}


@pytest.fixture
def etcd(node: FakeNode, request: pytest.FixtureRequest) -> Iterator[None]:
    """A process that looks like the cluster's etcd, with flags of the test's."""
    words = ["--cert-file=/etc/kubernetes/pki/etcd/server.crt", *request.param]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words]) as process:
        deadline = time.monotonic() + 30
        while words[-1] not in Path(f"/proc/{process.pid}/cmdline").read_text():  # a moment after the exec
            assert time.monotonic() < deadline
            time.sleep(0.01)
        node.pretend_process("etcd", process.pid)
        yield
        process.kill()


@pytest.mark.usefixtures("programs", "etcd")
@pytest.mark.parametrize(
    ("etcd", "where", "log"),
    [
        ([], "/var/lib/etcd", None),
        (["--data-dir=/data/etcd"], "/data/etcd", None),
        (["--data-dir=/data/etcd", "--wal-dir=/fast/wal"], "/data/etcd", "/fast/wal"),
    ],
    indirect=["etcd"],
)
def test_etcd_says_where_its_data_lies(node: FakeNode, where: str, log: str | None) -> None:
    root = node.root / "fs"
    (root / where[1:]).mkdir(parents=True)
    (root / where[1:] / "db").write_bytes(bytes(100_000))
    found = mounts(node)
    assert found["/var/lib/etcd"] == f"{root}{where}"
    assert found.get("/var/lib/etcd/member/wal") == (f"{root}{log}" if log else None)
    size = node.shell("probe.sh", "section_etcd_bytes").stdout
    assert int(size) >= 100_000


@pytest.mark.usefixtures("programs")
def test_a_node_without_etcd_has_no_line_of_it(node: FakeNode) -> None:
    found = mounts(node)
    assert "/var/lib/etcd" not in found
    assert {"/", "/var/lib/kubelet", "/etc/kubernetes/tmp", "/var/log", str(node.state)} <= set(found)
    assert all(asked == where for asked, where in found.items())


def test_the_probe_knows_every_function_that_it_calls(node: FakeNode) -> None:
    """What is missing ends a section's line and not the section: nobody would see that the jobs were read without the lock."""
    done = node.run("probe")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"line \d+: (\w+_\w+): command not found", done.stderr) == []


def test_a_section_that_fails_half_way_says_so_and_tells_no_job_lost(node: FakeNode) -> None:
    """systemd that does not answer knows of no unit; a running kubeadm is not lost for that."""
    (node.state / "jobs" / "kubeadm-upgrade").write_text("state=running\nexit_code=-\nboot_id=x\n")
    silent = node.root / "silent"
    silent.mkdir()
    (silent / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    (silent / "systemctl").chmod(0o755)
    node.environment |= {"PATH": f"{silent}:{node.variables()['PATH']}"}
    done = node.run("probe")
    _, code, content = next(line for line in done.stdout.splitlines() if line.startswith("jobs\t")).split(
        "\t"
    )
    assert code != "0"
    assert "lost" not in base64.b64decode(content).decode()
