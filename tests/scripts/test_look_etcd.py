"""The sections `etcd` and `etcd-device` of the look, with a curl that answers as etcd 3.6.5 did."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.scripts.conftest import FakeNode

from nightshift.clients.node_probe import parse_sections
from nightshift.clients.questions.etcd import parse_device, parse_etcd

STATUS = '{"header":{"member_id":"85"}, "version":"3.6.5", "dbSize":"20480", "leader":"85"}'
MEMBERS = '{"header":{"member_id":"85"}, "members":[{"ID":"85", "name":"cp1"}]}'
LIKE_ETCD = "--cert-file=/etc/kubernetes/pki/etcd/server.crt"  # what the cluster's etcd is told by
CURL = f"""#!/bin/bash
printf '%s\\n' "$*" >>"$CURL_CALLS"
[[ ! -e $CURL_CALLS.fails ]] || exit "$(cat "$CURL_CALLS.fails")"
case $* in
    *"$CURL_EXPECTS"/v3/maintenance/status) printf '%s\\n' '{STATUS}' ;;
    *"$CURL_EXPECTS"/v3/cluster/member/list) printf '%s' '{MEMBERS}' ;;
    *) exit 99 ;;
esac
"""


@pytest.fixture
def programs(node: FakeNode) -> Path:
    directory = node.root / "programs"
    directory.mkdir()
    (directory / "curl").write_text(CURL)
    (directory / "curl").chmod(0o755)
    node.environment |= {
        "PATH": f"{directory}:{node.variables()['PATH']}",
        "CURL_CALLS": str(node.root / "calls"),
        "CURL_EXPECTS": "https://127.0.0.1:2379",
    }
    return directory


@pytest.fixture(params=[()])
def etcd(node: FakeNode, request: pytest.FixtureRequest):
    """A process that looks like the cluster's etcd; `data` is its data directory."""
    data = node.root / "fs/data"
    data.mkdir(parents=True)
    words = [
        "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
        "--data-dir=/data",
        "--quota-backend-bytes=4294967296",
    ]
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", *words, *request.param]
    ) as process:
        wait_for(
            lambda: LIKE_ETCD in Path(f"/proc/{process.pid}/cmdline").read_text()
        )  # a moment after the exec
        node.pretend_process("etcd", process.pid)
        yield process
        process.kill()


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def look(node: FakeNode, section: str) -> subprocess.CompletedProcess[str]:
    return node.shell(f"look/{section}.sh", f"look_{section.replace('-', '_')}")


def test_a_member_that_answers(node: FakeNode, programs: Path, etcd: subprocess.Popen) -> None:
    done = look(node, "etcd")
    assert done.returncode == 0, done.stderr
    state = parse_etcd(done.stdout)
    assert state.status is not None
    assert (state.status.version, state.status.quota_bytes) == ("3.6.5", 4 * 1024**3)
    asked = (node.root / "calls").read_text()
    assert asked.count(f"--cert {node.root}/fs/etc/kubernetes/pki/etcd/healthcheck-client.crt") == 2
    assert "--data {}" in asked


@pytest.mark.parametrize(
    ("etcd", "url"),
    [
        (("--listen-client-urls=https://[::1]:2379,https://[fd00::1]:2379",), "https://[::1]:2379"),
        (("--listen-client-urls=https://0.0.0.0:12379",), "https://127.0.0.1:12379"),
    ],
    indirect=["etcd"],
)
def test_it_is_asked_where_it_listens(
    node: FakeNode, programs: Path, etcd: subprocess.Popen, url: str
) -> None:
    node.environment["CURL_EXPECTS"] = url
    assert parse_etcd(look(node, "etcd").stdout).status is not None


@pytest.mark.parametrize("code", [7, 28, 52, 56])
def test_one_that_does_not_answer_is_silent(
    node: FakeNode, programs: Path, etcd: subprocess.Popen, code: int
) -> None:
    (node.root / "calls.fails").write_text(str(code))
    done = look(node, "etcd")
    assert (done.returncode, done.stdout) == (0, "condition\tsilent\n")


@pytest.mark.parametrize("code", [22, 35, 58])
def test_one_that_could_not_be_asked_fails(
    node: FakeNode, programs: Path, etcd: subprocess.Popen, code: int
) -> None:
    """A refused certificate says nothing about the member."""
    (node.root / "calls.fails").write_text(str(code))
    done = look(node, "etcd")
    assert done.returncode == 28
    assert done.stdout == ""
    assert f"curl ended with {code}" in done.stderr


def test_without_a_process_the_manifest_decides(node: FakeNode) -> None:
    assert look(node, "etcd").stdout == "condition\tabsent\n"
    manifest = node.root / "fs/etc/kubernetes/manifests/etcd.yaml"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    assert look(node, "etcd").stdout == "condition\tstopped\n"


def test_both_travel_in_one_look(node: FakeNode, programs: Path, etcd: subprocess.Popen) -> None:
    done = node.run("look", "etcd", "etcd-device")
    assert done.returncode == 0, done.stderr
    sections = parse_sections(done.stdout)
    assert {name: code for name, (code, _) in sections.items()} == {"etcd": 0, "etcd-device": 0}
    assert parse_etcd(sections["etcd"][1]).status is not None
    assert parse_device(sections["etcd-device"][1]) is not None


WRITER = """
import os, sys, time
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
while True:
    os.write(descriptor, bytes(1 << 20))
    os.fsync(descriptor)
    os.lseek(descriptor, 0, os.SEEK_SET)
    time.sleep(0.02)
"""


@pytest.fixture
def writer(node: FakeNode, etcd: subprocess.Popen):
    """A process that writes to the file system of etcd's data all the time."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(node.root / "fs/data/noise"), LIKE_ETCD]
    ) as process:
        wait_for((node.root / "fs/data/noise").exists)
        yield process
        process.kill()


def test_the_writer_beside_etcd_is_named(node: FakeNode, writer: subprocess.Popen) -> None:
    found = None
    for _ in range(
        10
    ):  # only the three that write most are told, and others are at work on this machine, too
        done = look(node, "etcd-device")
        assert done.returncode == 0, done.stderr
        device = parse_device(done.stdout)
        assert device is not None
        assert device.source
        if found := {w.pid: w for w in device.writers}.get(writer.pid):
            break
    assert found is not None, device.writers
    assert (found.command, found.on_device) == (Path(sys.executable).name, True)
    assert found.written_bytes >= 1 << 20


def test_etcd_itself_is_no_writer_beside_it(node: FakeNode, writer: subprocess.Popen) -> None:
    node.pretend_process("etcd", writer.pid)
    (node.root / "fs/var/lib/etcd").mkdir(parents=True)
    device = parse_device(look(node, "etcd-device").stdout)
    assert device is not None
    assert writer.pid not in {w.pid for w in device.writers}


def test_a_node_without_etcds_data_says_nothing(node: FakeNode) -> None:
    done = look(node, "etcd-device")
    assert (done.returncode, done.stdout) == (0, "")


def chain(node: FakeNode, number: str) -> str:
    return node.shell("look/etcd-device.sh", f"device_chain {number}").stdout.strip()


def block(node: FakeNode, number: str, path: str) -> Path:
    """One block device in a sysfs on paper."""
    device = node.root / "fs/sys/devices" / path
    device.mkdir(parents=True)
    link = node.root / "fs/sys/dev/block" / number
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)
    return device


def test_a_volume_is_followed_to_its_disk(node: FakeNode) -> None:
    block(node, "8:0", "pci/sda")
    partition = block(node, "8:3", "pci/sda/sda3")
    (partition / "partition").write_text("3\n")
    volume = block(node, "253:0", "virtual/dm-0")
    (volume / "slaves").mkdir()
    (volume / "slaves/sda3").symlink_to(partition)
    assert chain(node, "253:0") == "dm-0 sda3 sda"
    assert chain(node, "8:0") == "sda"


def test_what_is_no_block_device_has_no_chain(node: FakeNode) -> None:
    assert chain(node, "0:45") == ""


def test_a_loop_device_whose_file_lies_outside_is_the_end(node: FakeNode) -> None:
    loop = block(node, "7:3", "virtual/loop3")
    (loop / "loop").mkdir()
    (loop / "loop/backing_file").write_text("/pool/cp1.img\n")
    assert chain(node, "7:3") == "loop3"


@pytest.mark.parametrize(
    ("cgroup", "logs", "owner"),
    [
        ("0::/system.slice/nslab-disk-contended.service\n", (), "nslab-disk-contended.service"),
        (
            "0::/kubepods.slice/kubepods-besteffort-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-77.scope\n",
            ("shop_importer-7f9_0a1b2c3d-1111-2222-3333-444455556666",),
            "pod shop/importer-7f9",
        ),
        (
            "12:pids:/kubepods/burstable/podb889ac07bf48a4468a23025136ac1759/abc\n9:name=systemd:/system.slice/containerd.service\n",
            ("kube-system_etcd-cp1_b889ac07bf48a4468a23025136ac1759",),
            "pod kube-system/etcd-cp1",
        ),
        (
            "0::/kubepods/besteffort/pod0a1b2c3d-1111-2222-3333-444455556666/x\n",
            (),
            "pod 0a1b2c3d-1111-2222-3333-444455556666",
        ),
        ("0::/\n", (), "-"),
    ],
)
def test_whose_a_process_is(node: FakeNode, cgroup: str, logs: tuple[str, ...], owner: str) -> None:
    for name in logs:
        (node.root / "fs/var/log/pods" / name).mkdir(parents=True)
    (node.root / "cgroup").write_text(cgroup)
    done = node.shell("look/etcd-device.sh", f"owner_in_cgroup <'{node.root}/cgroup'")
    assert done.stdout.strip() == owner


def test_the_look_is_over_in_about_a_second(node: FakeNode, writer: subprocess.Popen) -> None:
    started = time.monotonic()
    look(node, "etcd-device")
    assert time.monotonic() - started < 3  # on a busy machine; 0.9 s on an idle one
