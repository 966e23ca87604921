"""What a node prints, as facts; half a picture is no picture."""

from __future__ import annotations

import base64

import pytest

from nightshift.clients.node_probe import parse_probe
from nightshift.domain.errors import BlindError

POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: etcd, namespace: kube-system}\nspec:\n  containers:\n  - image: etcd:1\n    command: [etcd, --a=1]\n    args: [--b]\n"


def encoded(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def manifest(name: str, content: bytes | None, kind: str = "f") -> str:
    return f"{kind}\t600\troot:root\t9\t1.5\t{'-' if content is None else encoded(content)}\t{name}"


SECTIONS = {
    "node": "boot_id=b\nclock=100.25\ntoken=7\n",
    "kubelet": "running_since=50\nbinary_modified=40\n",
    "version-kubelet": "Kubernetes v1.34.4\n",
    "version-kubeadm": "v1.34.4\n",
    "version-kubectl": "Client Version: v1.34.4\nKustomize Version: v5.7.1\n",
    "mounts": "/var/lib/etcd\t/data/etcd\t1000\t400\t10\t5\t/mnt/with tab\there\n/\t/\t1000\t100\t-\t-\t/\n",
    "manifests": "\n".join(
        (
            manifest("etcd.yaml", POD),
            manifest("etcd.yaml.bak", b"{not yaml: ["),
            manifest("list.yaml", b"kind: List\n"),
            manifest("empty.yaml", b""),
            manifest("pod.yaml", b"apiVersion: v1\nkind: Pod\nspec: {containers: []}\n"),
            manifest("beta.yaml", b"apiVersion: v1beta1\nkind: Pod\nspec: {containers: [{}]}\n"),
            manifest("sub", None, "d"),
        )
    ),
    "processes": f"etcd\t12\t{encoded(b'etcd' + bytes(1) + b'--a=1' + bytes(1))}\n",
    "scratch": "d\t5.5\t4096\tkubeadm-backup-etcd-2026-01-01-00-00-00\nf\t6\t1\tname\twith tab\n",
    "etcd-bytes": "131174400\n",
    "kubeadm-pids": "3\n4\n",
    "jobs": f"JOB\tstage\ttimed-out\t124\trun\t7\tid\t1.0\t2.0\t0\t{encoded(b'1.35' + bytes(1))}\n",
}


def text(codes: dict[str, int] | None = None, **changed: str | None) -> str:
    sections = {**SECTIONS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return "".join(
        f"{name}\t{(codes or {}).get(name, 0)}\t{encoded(value)}\n"
        for name, value in sections.items()
        if value is not None
    )


def test_everything():
    probe = parse_probe("cp1", text())
    assert (probe.node, probe.boot_id, probe.clock, probe.token) == ("cp1", "b", 100.25, 7)
    assert (probe.kubelet_version, probe.kubeadm_version, probe.kubectl_version) == (
        "1.34.4",
        "1.34.4",
        "1.34.4",
    )
    assert probe.mounts[0].mount_point == "/mnt/with tab\there"
    assert (probe.mounts[0].path, probe.mounts[0].where) == ("/var/lib/etcd", "/data/etcd")
    assert probe.mounts[0].used_percent == 60.0
    assert probe.mounts[1].inodes == 0
    assert probe.processes[0].argv == ("etcd", "--a=1")
    assert [entry.name for entry in probe.scratch] == [
        "kubeadm-backup-etcd-2026-01-01-00-00-00",
        "name\twith tab",
    ]
    assert [entry.is_directory for entry in probe.scratch] == [True, False]
    assert probe.etcd_data_bytes == 131174400
    assert probe.kubeadm_pids == (3, 4)
    job = probe.jobs[0]
    assert (job.state, job.exit_code, job.arguments, job.token) == ("failed", 124, ("1.35",), 7)


def test_manifests_as_the_kubelet_reads_them():
    entries = {entry.name: entry for entry in parse_probe("cp1", text()).manifests}
    etcd = entries["etcd.yaml"]
    assert (etcd.pod_name, etcd.pod_namespace, etcd.image) == ("etcd", "kube-system", "etcd:1")
    assert etcd.command == ("etcd", "--a=1", "--b")
    assert etcd.parse_error is None
    assert "no YAML" in (entries["etcd.yaml.bak"].parse_error or "")
    assert entries["list.yaml"].parse_error == entries["empty.yaml"].parse_error == "it is no Pod"
    assert entries["pod.yaml"].parse_error == "it is a Pod without a container"
    assert "v1beta1" in (entries["beta.yaml"].parse_error or "")
    assert entries["sub"].kind == "directory"


def test_worker_without_control_plane():
    probe = parse_probe(
        "w1", text(manifests="", processes="", etcd_bytes="", scratch="", jobs="", kubelet="")
    )
    assert probe.manifests == probe.processes == probe.scratch == probe.jobs == ()
    assert probe.etcd_data_bytes is None


def test_program_that_is_not_there_has_no_version():
    assert parse_probe("w1", text({"version-kubectl": 127})).kubectl_version is None
    assert parse_probe("w1", text({"version-kubeadm": 127})).kubeadm_version is None


def test_a_kubeadm_that_is_there_and_does_not_answer_is_not_absent():
    assert parse_probe("w1", text({"version-kubeadm": 1})).kubeadm_version == ""
    assert parse_probe("w1", text(version_kubeadm="no version\n")).kubeadm_version == ""


@pytest.mark.parametrize("section", ["node", "mounts", "manifests", "processes", "kubeadm-pids", "jobs"])
def test_missing_or_failed_section_makes_the_probe_blind(section):
    with pytest.raises(BlindError, match=section):
        parse_probe("cp1", text(**{section.replace("-", "_"): None}))
    with pytest.raises(BlindError, match="exit code 1"):
        parse_probe("cp1", text({section: 1}))


@pytest.mark.parametrize(
    ("section", "content"),
    [
        ("node", "clock=x"),
        ("mounts", "one\ttwo\n"),
        ("kubeadm-pids", "x"),
        ("jobs", "JOB\n"),
        ("processes", "etcd\t1\t!\n"),
    ],
)
def test_unreadable_section_makes_the_probe_blind(section, content):
    with pytest.raises(BlindError, match="cannot be read"):
        parse_probe("cp1", text(**{section.replace("-", "_"): content}))


@pytest.mark.parametrize("garbage", ["", "sudo: sorry\n", "node\tx\ty\n"])
def test_no_probe_at_all_is_blind(garbage):
    with pytest.raises(BlindError):
        parse_probe("cp1", garbage)
