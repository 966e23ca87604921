"""The looks behind the gates `drift` and `static_pods`, and the job that writes kubeadm-config."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.scripts.conftest import NODE_SCRIPTS, FakeNode
from tests.scripts.test_kubeadm_upgrade import TOOLS

from nightshift.clients.node_ssh import ExitCode
from nightshift.clients.questions.drift import parse_kubelet_files
from nightshift.clients.questions.static_pods import parse_static_pods

ENDPOINT = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"
CONFIGURATION = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.35.4
networking:
  dnsDomain: "cluster.local"
"""


@pytest.fixture
def control_plane(node: FakeNode) -> FakeNode:
    node.environment["PATH"] = f"{TOOLS}:{node.variables()['PATH']}"
    node.state.mkdir(exist_ok=True)
    manifests = node.root / "fs/etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    (node.root / "fs/etc/kubernetes/admin.conf").touch()
    for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"):
        (manifests / f"{component}.yaml").write_text(
            f"  annotations:\n    {ENDPOINT}: 10.0.0.11:6443\n"
            f"  containers:\n  - image: registry.k8s.io/{component}:v1.34.4\n"
        )
    (node.systemd / "cluster-configuration").write_text(CONFIGURATION)
    (node.systemd / "kubeadm-version").write_text("v1.35.4\n")
    return node


def look(node: FakeNode, section: str) -> list[list[str]]:
    done = node.shell(f"look/{section}.sh", f"look_{section.replace('-', '_')}")
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def content(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def test_configuration_live_and_rendered_side_by_side(control_plane: FakeNode) -> None:
    rows = look(control_plane, "control-plane-config")
    assert content(rows[0][2]) == CONFIGURATION
    assert rows[1][:2] == ["kubeadm", "-"]
    assert content(rows[1][2]) == "v1.35.4\n"  # its own, not the running one
    assert [tuple(row[:2]) for row in rows[2:]] == [
        (kind, component)
        for kind in ("live", "rendered")
        for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    ]
    assert "image: registry.k8s.io/etcd" in content(rows[5][2])
    assert content(rows[9][2]) == "rendered etcd\n"


def test_kubeadm_is_told_this_node_and_the_running_version(control_plane: FakeNode) -> None:
    (control_plane.root / "fs/etc/kubernetes/patches").mkdir()
    look(control_plane, "control-plane-config")
    init, cluster = yaml.safe_load_all((control_plane.systemd / "rendered-from").read_text())
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.0.0.11", "bindPort": 6443}
    assert init["nodeRegistration"]["name"] == os.uname().nodename.lower()
    assert init["apiVersion"] == "kubeadm.k8s.io/v1beta4"
    assert cluster["kubernetesVersion"] == "v1.34.4"  # what runs, not what the ConfigMap is ahead with
    called = [
        c for c in (control_plane.systemd / "calls").read_text().splitlines() if c.startswith("kubeadm init")
    ]
    assert [c.split()[3:5] for c in called] == [["control-plane", "all"], ["etcd", "local"]]
    assert all(c.endswith("--dry-run") and "/etc/kubernetes/patches --config" in c for c in called)


def test_an_ipv6_endpoint_and_the_certificates_name(control_plane: FakeNode) -> None:
    manifest = control_plane.root / "fs/etc/kubernetes/manifests/kube-apiserver.yaml"
    manifest.write_text(manifest.read_text().replace("10.0.0.11:6443", '"[fd00::11]:6443"'))
    own = control_plane.root / "bin"
    own.mkdir()
    (own / "openssl").write_text("#!/bin/sh\necho 'subject=O = system:nodes, CN = system:node:cp1'\n")
    (own / "openssl").chmod(0o755)
    control_plane.environment["PATH"] = f"{own}:{control_plane.environment['PATH']}"
    look(control_plane, "control-plane-config")
    init, _ = yaml.safe_load_all((control_plane.systemd / "rendered-from").read_text())
    assert init["localAPIEndpoint"] == {"advertiseAddress": "fd00::11", "bindPort": 6443}
    assert init["nodeRegistration"]["name"] == "cp1"


def test_a_refusal_is_an_answer_with_kubeadms_words(control_plane: FakeNode) -> None:
    (control_plane.systemd / "kubeadm-refuses").write_text("networking.serviceSubnet: Invalid value\n")
    rows = look(control_plane, "control-plane-config")
    assert content(rows[-1][2]) == "networking.serviceSubnet: Invalid value\n"
    assert [row[0] for row in rows].count("rendered") == 0


@pytest.mark.parametrize("code", [124, 126, 127, 137])  # as `timeout` and the shell say it
def test_a_kubeadm_that_is_too_slow_missing_or_killed_refused_nothing(
    control_plane: FakeNode, code: int
) -> None:
    own = control_plane.root / "bin"
    own.mkdir()
    (own / "kubeadm").write_text(f'#!/bin/sh\n[ $1 = init ] || exec {TOOLS}/kubeadm "$@"\nexit {code}\n')
    (own / "kubeadm").chmod(0o755)
    control_plane.environment["PATH"] = f"{own}:{control_plane.environment['PATH']}"
    done = control_plane.shell("look/control-plane-config.sh", "look_control_plane_config")
    assert done.returncode == code, done.stderr
    assert "refused" not in done.stdout
    assert f"kubeadm ended with exit code {code}" in done.stderr


def test_without_the_endpoint_an_upgrade_would_refuse_too(control_plane: FakeNode) -> None:
    manifest = control_plane.root / "fs/etc/kubernetes/manifests/kube-apiserver.yaml"
    manifest.write_text("  - image: registry.k8s.io/kube-apiserver:v1.34.4\n")
    rows = look(control_plane, "control-plane-config")
    assert rows[-1][0] == "refused"
    assert "annotation" in content(rows[-1][2])


def test_without_the_config_map_the_section_fails(control_plane: FakeNode) -> None:
    (control_plane.systemd / "cluster-configuration").unlink()
    done = control_plane.shell("look/control-plane-config.sh", "look_control_plane_config")
    assert done.returncode != 0
    assert "rendered" not in done.stdout


@pytest.fixture
def process(tmp_path: Path) -> Iterator[int]:
    """A process with a control plane's arguments."""
    command = [sys.executable, "-c", "import time; time.sleep(300)", "--tls=/etc/kubernetes/pki/x"]
    with subprocess.Popen(command) as running:
        yield running.pid
        running.kill()


def test_kubelet_files_and_process(control_plane: FakeNode, process: int) -> None:
    directory = control_plane.root / "fs/var/lib/kubelet"
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("maxPods: 110\n")
    (directory / "kubeadm-flags.env").write_text('KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.11"\n')
    os.utime(directory / "config.yaml", (1000, 1000))
    (control_plane.root / "fs/etc/kubernetes/patches").mkdir()
    (control_plane.root / "fs/etc/kubernetes/patches/kubeletconfiguration.yaml").touch()
    control_plane.pretend_process("kubelet", process)
    found = parse_kubelet_files(
        "".join("\t".join(row) + "\n" for row in look(control_plane, "kubelet-config"))
    )
    assert found.config == {"maxPods": 110}
    assert found.config_modified == 1000
    assert found.instance == {}
    assert found.flags == ("--node-ip=10.0.0.11",)
    assert found.arguments is not None
    assert found.arguments[-1] == "--tls=/etc/kubernetes/pki/x"
    assert found.started > 1_700_000_000
    assert found.patches == ("kubeletconfiguration.yaml",)


def test_a_node_without_a_kubelet_says_so_by_saying_nothing(control_plane: FakeNode) -> None:
    assert (
        parse_kubelet_files("".join("\t".join(r) for r in look(control_plane, "kubelet-config"))).config
        is None
    )


def test_the_directory_its_links_and_processes(control_plane: FakeNode, process: int) -> None:
    manifests = control_plane.root / "fs/etc/kubernetes/manifests"
    manifests.chmod(0o755)
    elsewhere = control_plane.root / "vip.yaml"
    elsewhere.touch()
    elsewhere.chmod(0o664)
    (manifests / "vip.yaml").symlink_to(elsewhere)
    (manifests / "gone.yaml").symlink_to("/nowhere")
    control_plane.pretend_process("kube-apiserver|kube-controller|kube-scheduler|etcd", process, 999_999_999)
    text = "".join("\t".join(row) + "\n" for row in look(control_plane, "static-pods"))
    found = parse_static_pods(text)
    assert found.directory is not None
    assert (found.directory.mode, found.directory.owner) == ("755", "root:root")
    assert {name: link.mode for name, link in found.links.items()} == {"vip.yaml": "664"}
    assert list(found.processes) == [process]
    assert found.processes[process].started > 1_700_000_000
    assert found.processes[process].uid == ""


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ("version -o short", False),
        ("config images list --config x", False),
        ("config images pull --config x", True),
        ("init phase etcd local --config x --dry-run", False),
        ("init phase etcd local --config x", True),
        ("upgrade apply v1.35.4 --dry-run", True),
    ],
)
def test_our_own_dry_run_is_nobodys_kubeadm(control_plane: FakeNode, words: str, counts: bool) -> None:
    command = ["kubeadm", *words.split()]
    script = control_plane.root / command[1]
    script.write_text("import time; time.sleep(300)\n")
    with subprocess.Popen(command, executable=sys.executable, cwd=control_plane.root) as running:
        control_plane.pretend_process("kubeadm", running.pid)
        said = control_plane.shell("kubeadm.sh", "kubeadm_pids").stdout.strip()
        running.kill()
    assert said == (str(running.pid) if counts else "")


def test_a_kubeadm_that_has_ended_and_is_not_reaped_yet_is_nobodys(control_plane: FakeNode) -> None:
    """The look beside it may have run `kubeadm version`: a dead process has a name still, and no arguments."""
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        control_plane.pretend_process("kubeadm", ended.pid)
        said = control_plane.shell("kubeadm.sh", "kubeadm_pids")
    assert (said.returncode, said.stdout) == (0, "")


WANTED = CONFIGURATION + "apiServer:\n  extraArgs:\n  - name: oidc-client-id\n    value: kubernetes\n"


def handed_over(node: FakeNode, step: str, content: str) -> str:
    """As start-job hands over what came on its standard input; returns the argument."""
    inputs = node.root / "fs/run/nightshift/inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    (inputs / step).write_text(content)
    return f"@{hashlib.sha256(content.encode()).hexdigest()}"


def upload(
    node: FakeNode, fingerprint: str | None = None, text: str = WANTED
) -> subprocess.CompletedProcess[str]:
    now = (node.systemd / "cluster-configuration").read_bytes()
    content = handed_over(node, "upload-config", base64.b64encode(text.encode()).decode())
    words = [fingerprint or hashlib.sha256(now).hexdigest(), content]
    command = [str(NODE_SCRIPTS / "jobs" / "upload-config"), *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=node.variables(), timeout=60, check=False
    )


def test_the_job_writes_and_keeps_what_was_there(control_plane: FakeNode) -> None:
    done = upload(control_plane)
    assert done.returncode == 0, done.stderr
    assert (control_plane.systemd / "cluster-configuration").read_text() == WANTED
    told = json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))
    kept = Path(told["kept"])
    assert kept.read_text() == CONFIGURATION
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "+  - name: oidc-client-id" in done.stdout  # the log shows the change


def test_the_job_refuses_what_was_changed_meanwhile(control_plane: FakeNode) -> None:
    done = upload(control_plane, fingerprint="0" * 64)
    assert done.returncode == ExitCode.REFUSED
    assert "changed since it was read" in done.stderr
    assert (control_plane.systemd / "cluster-configuration").read_text() == CONFIGURATION


def test_the_job_says_when_kubeadm_refuses(control_plane: FakeNode) -> None:
    (control_plane.systemd / "kubeadm-refuses").touch()
    assert upload(control_plane).returncode == ExitCode.KUBEADM_FAILED


@pytest.mark.parametrize("text", ["kind: Secret\n", ""])
def test_the_job_takes_a_cluster_configuration_only(control_plane: FakeNode, text: str) -> None:
    assert upload(control_plane, text=text).returncode == ExitCode.USAGE
